"""From a configuration to the launches of one skinny product. The launcher runs these steps; the gate compiles them."""

from __future__ import annotations

from typing import Any

from tunefork.kernels.arch import ARCHES, GFX950
from tunefork.kernels.deferred import Deferred
from tunefork.kernels.moe_a16w4.plan import Step
from tunefork.kernels.skinny.config import Linear, SkinnyConfig

kernel = Deferred(f"{__package__}.kernel")  # planning, and so listing what we ship, imports no Triton
BEST_BLOCK = 1024

POINTERS = {"x": "*bf16", "w": "*bf16", "bias": "*bf16", "res": "*bf16", "norm": "*bf16", "sum": "*bf16", "out": "*bf16", "keys": "*i64", "ids": "*i64",
            "normed": "*bf16"}  # fmt: skip


def programs(shape: Linear, config: SkinnyConfig) -> int:
    """Programs of the product."""
    return -(-shape.rows // (16 * config.strips))


def launch_options(arch: str, overlap: bool) -> dict[str, Any]:
    """Triton's launch options besides warps and stages."""
    if arch == GFX950.name:
        return {"matrix_instr_nonkdim": 16}
    return {"launch_pdl": True} if overlap else {}


def norm_step(tokens: int, hidden: int, overlap: bool) -> Step:
    """add + RMSNorm as a launch of its own, one program per token."""
    constants = {"K": hidden, "BLOCK": 1 << (hidden - 1).bit_length(), "OVERLAP": overlap}
    bind: dict[str, str | None] = {"x_ptr": "x", "x_stride": "x_stride", "res_ptr": "res", "res_stride": "res_stride", "norm_ptr": "norm", "sum_ptr": "sum",
                                   "normed_ptr": "normed", "eps": "eps"}  # fmt: skip
    return Step(kernel.add_norm_kernel, (tokens,), 8, constants, bind, {"launch_pdl": True} if overlap else {})


def plan(arch: str, shape: Linear, tokens: int, config: SkinnyConfig, asm: bool = True) -> list[Step]:
    """The launches, in order; `config` must be legal for the case (config.illegal)."""
    overlap = config.overlap and asm
    constants: dict[str, Any] = {
        "N": shape.rows, "K": shape.cols, "TILE": (config.parts, config.strips, config.bm), "CODE": (ARCHES[arch].fragment, asm),
        "STREAM": (config.depth, config.cache), "TAIL": (shape.norm, shape.bias, shape.residual, shape.best), "OVERLAP": overlap,
    }  # fmt: skip
    bind: dict[str, str | None] = {
        "x_ptr": "x", "x_stride": "x_stride", "w_ptr": "w", "bias_ptr": "bias" if shape.bias else None,
        "res_ptr": "res" if shape.norm or shape.residual else None, "res_stride": "res_stride", "norm_ptr": "norm" if shape.norm else None,
        "sum_ptr": "sum" if shape.norm else None, "out_ptr": "keys" if shape.best else "out", "out_stride": "out_stride", "M": "M", "eps": "eps",
    }  # fmt: skip
    options = launch_options(arch, overlap)
    steps = [Step(kernel.skinny_kernel, (programs(shape, config),), config.parts, constants, bind, options)]
    if shape.best:
        constants = {"COUNT": programs(shape, config), "BM": config.bm, "BLOCK": BEST_BLOCK, "OVERLAP": overlap}
        steps.append(Step(kernel.best_kernel, (tokens,), 8, constants, {"keys_ptr": "keys", "ids_ptr": "ids"}, options if overlap else {}))
    return steps
