"""From a configuration to the launches of one layer: kernels, grids, constants, and which buffer each argument is.

The launcher runs these steps; the gate compiles them; neither knows more about a kernel than what stands here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tunefork.kernels.moe_a16w4 import kernel, routing
from tunefork.kernels.moe_a16w4.config import COLUMNS, SINGLE_PROGRAM_TOKENS, XCDS, GemmConfig, LayerConfig, MoeShape

COMBINE_COLUMNS = 1024
SORT_TOKENS = 16
HIST_ROWS = 32

POINTERS = {
    "x": "*bf16", "logits": "*bf16", "out": "*bf16", "w13": "*i32", "s13": "*u8", "s13_32": "*i32", "b13": "*bf16", "w2": "*i32", "s2": "*u8",
    "s2_32": "*i32", "b2": "*bf16", "h": "*bf16", "part": "*fp32", "ids": "*i32", "gates": "*fp32", "pairs": "*i32", "block_expert": "*i32",
    "block_start": "*i32", "block_rows": "*i32", "block_count": "*i32", "hist": "*i32", "counters": "*i32", "live": "*i32", "map": "*i32",
}  # fmt: skip
_SORT = {f"{name}_ptr": name for name in ("pairs", "block_expert", "block_start", "block_rows", "block_count")}


@dataclass(frozen=True)
class Case:
    """Everything a plan depends on besides the configuration. experts: global count, the router's width."""

    arch: str
    shape: MoeShape
    tokens: int
    experts: int
    asm: bool = True
    wide13: bool = False
    wide2: bool = False
    has_live: bool = False
    has_map: bool = False


@dataclass(frozen=True)
class Step:
    """One launch. bind: kernel parameter -> buffer or scalar by name; None passes None."""

    kernel: Any
    grid: tuple[int, ...]
    warps: int
    constants: dict[str, Any]
    bind: dict[str, str | None]
    options: dict[str, Any] = field(default_factory=dict)


def padded(count: int) -> int:
    """The power of two that holds `count`."""
    return 1 << (count - 1).bit_length()


def tiles(rows: int, config: GemmConfig) -> int:
    """Programs along N."""
    return -(-(rows // 16) // (config.wn * config.r))


def max_blocks(case: Case, bm: int) -> int:
    """The most row blocks any routing can make."""
    pairs = case.tokens * case.shape.topk
    return min(pairs, (pairs + min(case.shape.experts, pairs) * (bm - 1)) // bm)


def counters(case: Case, config: LayerConfig) -> int:
    """How many completion counters the fused reduction or the split needs."""
    if config.order == "slot":
        return case.tokens * case.shape.topk * tiles(2 * case.shape.intermediate, config.up) if config.up.split > 1 else 0
    return case.tokens * tiles(case.shape.hidden, config.down) if config.fused else 0


def _gemm(case: Case, config: GemmConfig, rows: int, cols: int, wide: bool) -> dict[str, Any]:
    return {
        "N": rows, "K": cols, "TOPK": case.shape.topk, "WN": config.wn, "WK": config.wk, "R": config.r, "BM": config.bm, "LAYOUT": case.arch,
        "ASM": case.asm, "WIDE": wide, "AHEAD": config.ahead, "UNROLL": config.unroll, "CACHE": config.cache, "XCDS": XCDS[case.arch],
        "TILED": config.tiled, "STAGES": config.stages,
    }  # fmt: skip


def _options(case: Case, config: GemmConfig) -> dict[str, Any]:
    if case.arch == "gfx950":
        return {"waves_per_eu": config.waves, "matrix_instr_nonkdim": 16}
    return {}


def _route(case: Case, config: LayerConfig) -> list[Step]:
    many = case.tokens > SINGLE_PROGRAM_TOKENS
    sort = "none" if config.order == "slot" else "count" if many else "here"
    tokens = SORT_TOKENS if many else padded(case.tokens)
    programs = -(-case.tokens // tokens)
    common = {"E_PAD": padded(case.experts), "TOPK": case.shape.topk, "BT": tokens, "BM": config.up.bm}
    constants = {**common, "E": case.experts, "SORT": sort, "HAS_MAP": case.has_map, "HAS_LIVE": case.has_live, "COUNTERS": counters(case, config)}
    bind: dict[str, str | None] = {
        "logits_ptr": "logits", "stride": "logits_stride", "live_ptr": "live" if case.has_live else None,
        "map_ptr": "map" if case.has_map else None, "ids_ptr": "ids", "gates_ptr": "gates", **_SORT, "hist_ptr": "hist",
        "counters_ptr": "counters", "M": "M",
    }  # fmt: skip
    warps = max(4, tokens // 4)
    steps = [Step(routing.route_kernel, (programs,), warps, constants, bind)]
    if sort == "count":
        constants = {**common, "E": case.shape.experts, "PB": HIST_ROWS}
        bind = {"ids_ptr": "ids", "hist_ptr": "hist", **_SORT, "M": "M", "programs": "programs"}
        # gfx950: with 8 waves the scan keeps its lane masks; with 4 it parks scalar registers in vector lanes (8 spills, Triton 3.7.1).
        steps.append(Step(routing.route_sort_kernel, (programs,), 8 if case.arch == "gfx950" else warps, constants, bind))
    return steps


def _up(case: Case, config: LayerConfig) -> Step:
    rows, gemm = 2 * case.shape.intermediate, config.up
    slots = case.tokens * case.shape.topk if config.order == "slot" else max_blocks(case, gemm.bm)
    constants = {**_gemm(case, gemm, rows, case.shape.hidden, case.wide13), "SORTED": config.order == "sorted",
                 "SPLIT": gemm.split}
    bind: dict[str, str | None] = {
        "x_ptr": "x", "x_stride": "x_stride", "w_ptr": "w13", "s_ptr": "s13", "s32_ptr": "s13_32", "bias_ptr": "b13", "h_ptr": "h",
        "ids_ptr": "ids", **_SORT, "part_ptr": "part", "counters_ptr": "counters", "M": "M", "alpha": "alpha", "limit": "limit",
    }  # fmt: skip
    return Step(kernel.up_kernel, (slots * tiles(rows, gemm) * gemm.split,), gemm.warps, constants, bind, _options(case, gemm))


def _down(case: Case, config: LayerConfig) -> list[Step]:
    hidden, gemm = case.shape.hidden, config.down
    constants = _gemm(case, gemm, hidden, case.shape.intermediate, case.wide2)
    bind: dict[str, str | None] = {
        "h_ptr": "h", "w_ptr": "w2", "s_ptr": "s2", "s32_ptr": "s2_32", "bias_ptr": "b2", "gates_ptr": "gates", "ids_ptr": "ids", "out_ptr": "out",
        "out_stride": "out_stride",
    }  # fmt: skip
    live = {"live_ptr": "live" if case.has_live else None}
    if config.order == "slot":
        constants = {k: v for k, v in constants.items() if k not in ("TILED", "STAGES")} | {"HAS_LIVE": case.has_live}
        grid = (case.tokens * tiles(hidden, gemm),)
        return [Step(kernel.down_token_kernel, grid, gemm.warps, constants, {**bind, **live, "M": "M"}, _options(case, gemm))]
    constants = {**constants, "FUSED": config.fused}
    grid = (max_blocks(case, gemm.bm) * tiles(hidden, gemm),)
    bind = {**bind, "part_ptr": "part", "counters_ptr": "counters", **_SORT}
    steps = [Step(kernel.down_sorted_kernel, grid, gemm.warps, constants, bind, _options(case, gemm))]
    if not config.fused:
        constants = {"N": hidden, "TOPK": case.shape.topk, "BN": COMBINE_COLUMNS, "HAS_LIVE": case.has_live}
        bind = {"part_ptr": "part", "ids_ptr": "ids", "out_ptr": "out", "out_stride": "out_stride", **live}
        steps.append(Step(kernel.combine_kernel, (case.tokens, -(-hidden // COMBINE_COLUMNS)), 4, constants, bind))
    return steps


def plan(case: Case, config: LayerConfig) -> list[Step]:
    """The launches of one layer, in order."""
    return [*_route(case, config), _up(case, config), *_down(case, config)]


def buffers(case: Case, config: LayerConfig) -> dict[str, tuple[int, str]]:
    """Workspace: name -> (elements, torch dtype name). What a kernel reads, an earlier one of the same layer wrote."""
    pairs = case.tokens * case.shape.topk
    sizes = {"h": (pairs * case.shape.intermediate, "bfloat16"), "ids": (pairs, "int32"), "gates": (pairs, "float32")}
    blocks = max_blocks(case, config.up.bm) if config.order == "sorted" else 1
    sizes |= {name: (blocks, "int32") for name in ("block_expert", "block_start", "block_rows")}
    sizes |= {"pairs": (pairs, "int32"), "block_count": (1, "int32"), "counters": (max(1, counters(case, config)), "int32")}
    sizes["hist"] = (-(-case.tokens // SORT_TOKENS) * padded(case.experts), "int32")
    if config.order == "sorted":
        sizes["part"] = (pairs * case.shape.hidden, "float32" if config.partial == "fp32" else "bfloat16")
    else:
        cells = counters(case, config) * config.up.split * 16 * config.up.wn * config.up.r * config.up.bm
        sizes["part"] = (max(1, cells), "float32")
    return sizes


__all__ = ["COLUMNS", "Case", "Step", "buffers", "max_blocks", "plan", "tiles"]
