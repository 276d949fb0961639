"""From a configuration to the launches of add + norm + router. The launcher runs these steps; the gate compiles them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tunefork.kernels.add_norm_router.config import RouterConfig, RouterShape
from tunefork.kernels.arch import ARCHES
from tunefork.kernels.deferred import Deferred
from tunefork.kernels.moe_a16w4.plan import Step
from tunefork.kernels.skinny.config import columns
from tunefork.kernels.skinny.plan import launch_options, norm_step

kernel = Deferred(f"{__package__}.kernel")  # planning, and so listing what we ship, imports no Triton

POINTERS = {
    "x": "*bf16", "res": "*bf16", "norm": "*bf16", "sum": "*bf16", "normed": "*bf16", "w": "*bf16", "bias": "*bf16",
    "part": "*fp32", "logits": "*bf16", "live": "*i32",
    "ids": "*i32", "gates": "*fp32", "pairs": "*i32", "block_expert": "*i32", "block_start": "*i32", "block_rows": "*i32", "block_count": "*i32",
    "counters": "*i32", "done": "*i32",
}  # fmt: skip
SORTED = ("pairs", "block_expert", "block_start", "block_rows", "block_count")


@dataclass(frozen=True)
class Wanted:
    """What the MoE layer behind wants besides ids and gates. block: rows of its blocks, 0 where it does not sort. counters: of its own that have to be
    zero. has_live: the count of live tokens is on the device."""

    block: int = 0
    counters: int = 0
    has_live: bool = False


def part_size(arch: str, shape: RouterShape, tokens: int, config: RouterConfig) -> int:
    """float32 elements of the parts that the last program adds up."""
    return config.split * columns(arch, tokens) * shape.experts


def plan(arch: str, shape: RouterShape, tokens: int, config: RouterConfig, wanted: Wanted, asm: bool = True) -> list[Step]:
    """The launches, in order; `config` must be legal for the case (config.illegal)."""
    overlap = config.overlap and asm
    options = launch_options(arch, overlap)
    norm: dict[str, str | None] = {"res_ptr": "res", "res_stride": "res_stride", "norm_ptr": "norm", "sum_ptr": "sum", "normed_ptr": "normed"}
    steps = []
    if config.apart:
        steps.append(norm_step(tokens, shape.hidden, overlap))
    padded = 1 << (tokens - 1).bit_length()
    constants: dict[str, Any] = {
        "K": shape.hidden, "E": shape.experts, "TOPK": shape.topk, "TILE": (config.parts, columns(arch, tokens), config.split),
        "SORT": (wanted.block > 0, max(padded, config.parts, 128 // shape.experts), max(wanted.block, 1)), "CODE": (ARCHES[arch].fragment, asm),
        "STREAM": (config.depth, config.cache), "NORM": not config.apart, "HAS_LIVE": wanted.has_live, "COUNTERS": wanted.counters, "OVERLAP": overlap,
    }  # fmt: skip
    bind: dict[str, str | None] = {
        "x_ptr": "normed" if config.apart else "x", "x_stride": "hidden" if config.apart else "x_stride",
        **(dict.fromkeys(norm) | {"res_stride": "res_stride"} if config.apart else norm), "w_ptr": "w", "bias_ptr": "bias", "part_ptr": "part",
        "logits_ptr": "logits",
        "live_ptr": "live" if wanted.has_live else None, "ids_ptr": "ids", "gates_ptr": "gates",
        **{f"{name}_ptr": name if wanted.block else None for name in SORTED}, "counters_ptr": "counters" if wanted.counters else None, "done_ptr": "done",
        "M": "M", "eps": "eps",
    }  # fmt: skip
    steps.append(Step(kernel.router_kernel, (shape.experts // 16 * config.split,), config.parts, constants, bind, options))
    return steps
