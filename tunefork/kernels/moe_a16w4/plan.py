"""From a configuration to the launches of one layer: kernels, grids, constants, and which buffer each argument is.

The launcher runs these steps; the gate compiles them; neither knows more about a kernel than what stands here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

from tunefork.kernels.arch import ARCHES, GFX950, SM90
from tunefork.kernels.deferred import Deferred
from tunefork.kernels.moe_a16w4.config import SINGLE_PROGRAM_TOKENS, GemmConfig, LayerConfig, MoeShape

# Planning, and so listing what we ship, imports no Triton.
kernel, routing, tiled, tiled_kernel, ring_kernel = (
    Deferred(f"{__package__}.{name}") for name in ("kernel", "routing", "tiled", "tiled_kernel", "ring_kernel")
)

COMBINE_COLUMNS = 1024
TILE_COLUMNS, LEAST_TILE = 64, 8  # of a ring: bf16 columns of a tile, 128 bytes; rows of the tiles of what has no extra and is never read
SORT_TOKENS = 16
MANY_SORT_TOKENS, MANY = 64, 4096  # sm90, above so many tokens: a pass reads the counts of all programs (M = 16384: 78 us of 1,295 with 16, H200)
SORT_CELLS = 128
HIST_ROWS = {GFX950.name: 32, SM90.name: 128}

POINTERS = {
    "x": "*bf16", "logits": "*bf16", "out": "*bf16", "w13": "*i32", "s13": "*u8", "s13_32": "*i32", "b13": "*bf16", "w2": "*i32", "s2": "*u8",
    "s2_32": "*i32", "b2": "*bf16", "h": "*bf16", "part": "*fp32", "xi": "*bf16", "ids": "*i32", "gates": "*fp32", "pairs": "*i32", "block_expert": "*i32",
    "block_start": "*i32", "block_rows": "*i32", "block_count": "*i32", "hist": "*i32", "counters": "*i32", "live": "*i32", "map": "*i32",
    "xs": "*bf16", "places": "*i32",
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
class Tiles:
    """A buffer of bf16 as TMA reads it: rows of `columns`, in tiles of `rows` by TILE_COLUMNS."""

    buffer: str
    columns: int
    rows: int


@dataclass(frozen=True)
class Step:
    """One launch. bind: kernel parameter -> buffer or scalar by name; None passes None. tiles: kernel parameter -> what it reads by TMA; only kernels in
    Gluon have such."""

    kernel: Any
    grid: tuple[int, ...]
    warps: int
    constants: dict[str, Any]
    bind: dict[str, str | None]
    options: dict[str, Any] = field(default_factory=dict)
    tiles: dict[str, Tiles] = field(default_factory=dict)


def padded(count: int) -> int:
    """The power of two that holds `count`."""
    return 1 << (count - 1).bit_length()


def tiles(rows: int, config: GemmConfig) -> int:
    """Programs along N, of which a GEMM has `rows`; each has wn * r strips of 16."""
    return -(-(rows // 16) // (config.wn * config.r))


def max_blocks(case: Case, bm: int) -> int:
    """The most row blocks any routing can make."""
    pairs = case.tokens * case.shape.topk
    return min(pairs, (pairs + min(case.shape.experts, pairs) * (bm - 1)) // bm)


@cache
def settle_keys() -> None:
    """Hash all kernels in one order, once in a process, before any is compiled or launched: whatever compiles or launches a step calls `settle` first.

    Up to 3.7.1 Triton's key of a kernel depends on whether another kernel that shares a helper with it was hashed before (the helper's constants enter
    it only then), so that a process that launches them in another order misses what lies in the cache.
    """
    for each in (routing.route_kernel, routing.route_sort_kernel, tiled.interleave_kernel, kernel.up_kernel, kernel.down_token_kernel,
                 kernel.down_sorted_kernel, kernel.combine_kernel, tiled_kernel.up_tiled_kernel, tiled_kernel.down_tiled_kernel,
                 tiled.sorted_copy_kernel):  # fmt: skip
        getattr(each, "cache_key", None)  # the interpreter's functions have none


@cache
def settle_ring_keys() -> None:
    """The same for the kernels in Gluon, which share no helper with the others: a Triton without Gluon is met only where one of them is asked for."""
    for each in (ring_kernel.up_ring_kernel, ring_kernel.down_ring_kernel):
        getattr(each, "cache_key", None)


def settle(step: Step) -> None:
    """What whoever compiles or launches a step calls first."""
    settle_keys()
    if step.tiles:
        settle_ring_keys()


def sort_tokens(arch: str, tokens: int) -> int:
    """Tokens that one program of the two routing passes takes, of more than SINGLE_PROGRAM_TOKENS."""
    return MANY_SORT_TOKENS if arch == SM90.name and tokens > MANY else SORT_TOKENS


def sort_programs(arch: str, tokens: int) -> int:
    """Programs of the routing passes."""
    return -(-tokens // sort_tokens(arch, tokens))


def counters(case: Case, config: LayerConfig) -> int:
    """How many completion counters the fused reduction or the split needs."""
    if config.order == "slot":
        return case.tokens * case.shape.topk * tiles(2 * case.shape.intermediate, config.up) if config.up.split > 1 else 0
    return case.tokens * tiles(case.shape.hidden, config.down) if config.fused else 0


def _gemm(case: Case, rows: int, cols: int, overlap: bool) -> dict[str, Any]:
    """The constants that streamed and tiled kernels share."""
    return {"N": rows, "K": cols, "TOPK": case.shape.topk, "XCDS": ARCHES[case.arch].xcds, "OVERLAP": overlap}


def _streamed(case: Case, config: GemmConfig, wide: bool) -> dict[str, Any]:
    """The further constants of a streamed kernel, as kernel.py bundles them."""
    return {"WARPS": (config.wn, config.wk, config.r, config.bm), "CODE": (ARCHES[case.arch].fragment, case.asm, wide),
            "STREAM": (config.ahead, config.unroll, config.cache, config.depth)}  # fmt: skip


def _tiled(case: Case, config: GemmConfig, wide: bool) -> dict[str, Any]:
    """The further constants of a tiled kernel."""
    return {"WN": config.wn, "R": config.r, "BM": config.bm, "LAYOUT": ARCHES[case.arch].fragment, "ASM": case.asm, "WIDE": wide, "CACHE": config.cache,
            "REST": config.rest, "STAGES": config.stages, "PARTS": config.unroll}  # fmt: skip


def _options(case: Case, config: GemmConfig, overlap: bool) -> dict[str, Any]:
    if case.arch == GFX950.name:
        return {"waves_per_eu": config.waves, "matrix_instr_nonkdim": 16}
    arch = ARCHES[case.arch]
    limit = {"maxnreg": min(255, arch.register_file // (arch.lanes * config.warps * config.waves) // 8 * 8)} if config.waves else {}
    return _launch(overlap) | limit


def _launch(overlap: bool) -> dict[str, Any]:
    return {"launch_pdl": True} if overlap else {}


def _overlap(case: Case, config: LayerConfig) -> bool:
    return config.overlap and case.asm


def held(cols: int) -> int:
    """Columns of an interleaved row: whole groups of 32."""
    return -(-cols // 32) * 32


def _ring(case: Case, config: GemmConfig, wide: bool) -> dict[str, Any]:
    """The further constants of a kernel with a ring."""
    return {"WN": config.wn, "R": config.r, "BM": config.bm, "EXTRA": config.extra, "RING": config.ring, "WIDE": wide}


def _ring_tiles(config: GemmConfig, names: tuple[str, str], buffer: str, columns: int) -> dict[str, Tiles]:
    return dict(zip(names, (Tiles(buffer, held(columns), config.bm), Tiles(buffer, held(columns), config.extra or LEAST_TILE)), strict=True))


def _sorted_x(case: Case, config: LayerConfig) -> str:
    """The buffer that has x in expert order. `up` alone reads it and `down` alone writes the parts, as large and as wide: they share one."""
    return "part" if config.partial == "bf16" and held(case.shape.hidden) == case.shape.hidden else "xs"


def interleaved(case: Case, config: GemmConfig) -> bool:
    """Whether this GEMM reads activations in operand order."""
    return config.tiled and ARCHES[case.arch].fragment == SM90.fragment


def _route(case: Case, config: LayerConfig) -> list[Step]:
    many = case.tokens > SINGLE_PROGRAM_TOKENS
    sort = "none" if config.order == "slot" else "count" if many else "here"
    # Triton 3.6.0 cannot compile route_kernel over fewer than 128 cells with topk > 1 (its sums of chosen experts); 3.7.1 can.
    least = SORT_CELLS // padded(case.experts) if sort == "here" else 1
    tokens = sort_tokens(case.arch, case.tokens) if many else max(padded(case.tokens), least)
    programs = -(-case.tokens // tokens)
    common = {"E_PAD": padded(case.experts), "TOPK": case.shape.topk, "BT": tokens, "BM": config.up.bm, "EXTRA": config.up.extra}
    overlap = _overlap(case, config)
    places: dict[str, str | None] = {"places_ptr": "places" if config.up.ring else None}
    constants = {**common, "E": case.experts, "SORT": sort, "HAS_MAP": case.has_map, "HAS_LIVE": case.has_live, "COUNTERS": counters(case, config),
                 "OVERLAP": overlap}
    bind: dict[str, str | None] = {
        "logits_ptr": "logits", "stride": "logits_stride", "live_ptr": "live" if case.has_live else None,
        "map_ptr": "map" if case.has_map else None, "ids_ptr": "ids", "gates_ptr": "gates", **_SORT, **places, "hist_ptr": "hist",
        "counters_ptr": "counters", "M": "M",
    }  # fmt: skip
    warps = max(4, tokens // 4)
    steps = [Step(routing.route_kernel, (programs,), warps, constants, bind)]
    if sort == "count":
        constants = {**common, "E": case.shape.experts, "PB": HIST_ROWS[case.arch], "OVERLAP": overlap}
        bind = {"ids_ptr": "ids", "hist_ptr": "hist", **_SORT, **places, "M": "M", "programs": "programs"}
        # gfx950: with 8 waves the scan keeps its lane masks; with 4 it parks scalar registers in vector lanes (8 spills, Triton 3.7.1).
        steps.append(Step(routing.route_sort_kernel, (programs,), 8 if case.arch == GFX950.name else warps, constants, bind, _launch(overlap)))
    return steps


def _up(case: Case, config: LayerConfig) -> Step:
    rows, gemm = 2 * case.shape.intermediate, config.up
    slots = case.tokens * case.shape.topk if config.order == "slot" else max_blocks(case, gemm.bm)
    overlap = _overlap(case, config)
    constants = _gemm(case, rows, case.shape.hidden, overlap)
    grid = (slots * tiles(rows, gemm) * gemm.split,)
    bind: dict[str, str | None] = {
        "x_ptr": "xi" if interleaved(case, gemm) else "x", "x_stride": "x_stride", "w_ptr": "w13", "s_ptr": "s13", "s32_ptr": "s13_32",
        "bias_ptr": "b13", "h_ptr": "h", **_SORT, "alpha": "alpha", "limit": "limit",
    }  # fmt: skip
    options = _options(case, gemm, overlap)
    if gemm.ring:
        constants = {"N": rows, "K": case.shape.hidden, **_ring(case, gemm, case.wide13), "OVERLAP": overlap}
        del bind["x_ptr"], bind["x_stride"], bind["pairs_ptr"]
        return Step(ring_kernel.up_ring_kernel, grid, gemm.warps, constants, bind, options,
                    _ring_tiles(gemm, ("xd", "xe"), _sorted_x(case, config), case.shape.hidden))  # fmt: skip
    if gemm.tiled:
        constants |= {**_tiled(case, gemm, case.wide13), "INTERLEAVE": interleaved(case, config.down)}
        return Step(tiled_kernel.up_tiled_kernel, grid, gemm.warps, constants, bind, options)
    constants |= {**_streamed(case, gemm, case.wide13), "SORTED": config.order == "sorted", "SPLIT": gemm.split}
    bind |= {"ids_ptr": "ids", "part_ptr": "part", "counters_ptr": "counters", "M": "M"}
    return Step(kernel.up_kernel, grid, gemm.warps, constants, bind, options)


def _interleave(case: Case, config: LayerConfig) -> list[Step]:
    if not interleaved(case, config.up):
        return []
    overlap = _overlap(case, config)
    if config.up.ring:
        constants = {"H": case.shape.hidden, "TOPK": case.shape.topk, "HAS_LIVE": case.has_live, "OVERLAP": overlap}
        bind: dict[str, str | None] = {"x_ptr": "x", "x_stride": "x_stride", "out_ptr": _sorted_x(case, config), "ids_ptr": "ids", "places_ptr": "places",
                                       "live_ptr": "live" if case.has_live else None}  # fmt: skip
        return [Step(tiled.sorted_copy_kernel, (case.tokens,), 4, constants, bind, _launch(overlap))]
    constants = {"H": case.shape.hidden, "HAS_LIVE": case.has_live, "OVERLAP": overlap}
    bind = {"x_ptr": "x", "x_stride": "x_stride", "out_ptr": "xi", "live_ptr": "live" if case.has_live else None}
    return [Step(tiled.interleave_kernel, (case.tokens,), 4, constants, bind, _launch(overlap))]


def _down(case: Case, config: LayerConfig) -> list[Step]:
    hidden, gemm = case.shape.hidden, config.down
    overlap = _overlap(case, config)
    constants = _gemm(case, hidden, case.shape.intermediate, overlap)
    bind: dict[str, str | None] = {"h_ptr": "h", "w_ptr": "w2", "s_ptr": "s2", "s32_ptr": "s2_32", "bias_ptr": "b2", "gates_ptr": "gates"}
    options = _options(case, gemm, overlap)
    result: dict[str, str | None] = {"ids_ptr": "ids", "out_ptr": "out", "out_stride": "out_stride"}
    live = {"live_ptr": "live" if case.has_live else None}
    if config.order == "slot":
        constants |= {**_streamed(case, gemm, case.wide2), "HAS_LIVE": case.has_live}
        grid = (case.tokens * tiles(hidden, gemm),)
        return [Step(kernel.down_token_kernel, grid, gemm.warps, constants, {**bind, **result, **live, "M": "M"}, options)]
    grid = (max_blocks(case, gemm.bm) * tiles(hidden, gemm),)
    bind |= {"part_ptr": "part", **_SORT}
    if gemm.ring:
        del bind["h_ptr"]
        constants = {"N": hidden, "K": case.shape.intermediate, **_ring(case, gemm, case.wide2), "OVERLAP": overlap}
        steps = [Step(ring_kernel.down_ring_kernel, grid, gemm.warps, constants, bind, options,
                      _ring_tiles(gemm, ("hd", "he"), "h", case.shape.intermediate))]  # fmt: skip
    elif gemm.tiled:
        del constants["TOPK"]
        steps = [Step(tiled_kernel.down_tiled_kernel, grid, gemm.warps, constants | _tiled(case, gemm, case.wide2), bind, options)]
    else:
        bind |= {**result, "counters_ptr": "counters"}
        constants |= {**_streamed(case, gemm, case.wide2), "FUSED": config.fused}
        steps = [Step(kernel.down_sorted_kernel, grid, gemm.warps, constants, bind, options)]
    if not config.fused:
        constants = {"N": hidden, "TOPK": case.shape.topk, "BN": COMBINE_COLUMNS, "HAS_LIVE": case.has_live, "OVERLAP": overlap}
        bind = {"part_ptr": "part", **result, **live}
        steps.append(Step(kernel.combine_kernel, (case.tokens, -(-hidden // COMBINE_COLUMNS)), 4, constants, bind, _launch(overlap)))
    return steps


def plan(case: Case, config: LayerConfig) -> list[Step]:
    """The launches of one layer, in order; `config` must be legal for the case (config.illegal), which is not asked again."""
    return [*_route(case, config), *_interleave(case, config), _up(case, config), *_down(case, config)]


def buffers(case: Case, config: LayerConfig) -> dict[str, tuple[int, str]]:
    """Workspace: name -> (elements, torch dtype name), for exactly this number of tokens. What a kernel reads, an earlier one of the same layer wrote."""
    pairs = case.tokens * case.shape.topk
    inter = held(case.shape.intermediate) if interleaved(case, config.down) else case.shape.intermediate
    sizes = {"h": (pairs * inter, "bfloat16"), "ids": (pairs, "int32"), "gates": (pairs, "float32")}
    blocks = max_blocks(case, config.up.bm) if config.order == "sorted" else 1
    sizes |= {name: (blocks, "int32") for name in ("block_expert", "block_start", "block_rows")}
    sizes |= {"pairs": (pairs, "int32"), "block_count": (1, "int32"), "counters": (max(1, counters(case, config)), "int32")}
    sizes["hist"] = (sort_programs(case.arch, case.tokens) * padded(case.experts), "int32")
    if config.order == "sorted":
        sizes["part"] = (pairs * case.shape.hidden, "float32" if config.partial == "fp32" else "bfloat16")
    else:
        cells = counters(case, config) * config.up.split * 16 * config.up.wn * config.up.r * config.up.bm
        sizes["part"] = (max(1, cells), "float32")
    if config.up.ring:
        sizes["places"] = (pairs, "int32")
        if (name := _sorted_x(case, config)) == "xs":
            sizes[name] = (pairs * held(case.shape.hidden), "bfloat16")
    elif interleaved(case, config.up):
        sizes["xi"] = (case.tokens * held(case.shape.hidden), "bfloat16")
    return sizes
