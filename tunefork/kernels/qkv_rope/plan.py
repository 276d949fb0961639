"""From a configuration to the launches of qkv + RoPE + cache. The launcher runs these steps; the gate compiles them."""

from __future__ import annotations

from typing import Any

from tunefork.kernels.arch import ARCHES
from tunefork.kernels.deferred import Deferred
from tunefork.kernels.moe_a16w4.plan import Step
from tunefork.kernels.qkv_rope.config import QkvShape
from tunefork.kernels.skinny.config import SkinnyConfig
from tunefork.kernels.skinny.plan import launch_options, programs

kernel = Deferred(f"{__package__}.kernel")  # planning, and so listing what we ship, imports no Triton
GROUP = 16  # heads of a program of RoPE alone

POINTERS = {
    "x": "*bf16", "w": "*bf16", "bias": "*bf16", "res": "*bf16", "norm": "*bf16", "sum": "*bf16", "positions": "*i64", "rope": "*fp32", "slot": "*i64",
    "q": "*bf16", "cache": "*bf16", "k_scale": "*fp32", "v_scale": "*fp32", "q_scale": "*fp32", "qkv": "*bf16",
}  # fmt: skip
FP8 = POINTERS | {"q": "*fp8e4nv", "cache": "*fp8e4nv"}
PAGES = {"slot_ptr": "slot", "slots": "slots", "q_ptr": "q", "cache_ptr": "cache", "block_stride": "block_stride", "head_stride": "head_stride",
         "place_stride": "place_stride", "k_scale_ptr": "k_scale", "v_scale_ptr": "v_scale", "q_scale_ptr": "q_scale",
         "pos_ptr": "positions", "rope_ptr": "rope"}  # fmt: skip
"""Arguments that both kernels have."""


def sizes(shape: QkvShape) -> tuple[int, int, int, int]:
    """As the kernels take them."""
    return shape.heads, shape.kv_heads, shape.head_dim, shape.page


def fused(arch: str, shape: QkvShape, config: SkinnyConfig, asm: bool = True) -> Step:
    """The product with everything behind it; `config` must be legal for the case (config.illegal)."""
    overlap = config.overlap and asm
    constants: dict[str, Any] = {
        "K": shape.hidden, "SIZES": sizes(shape), "TILE": (config.parts, config.strips, config.bm), "CODE": (ARCHES[arch].fragment, asm),
        "STREAM": (config.depth, config.cache), "NORM": shape.norm, "OVERLAP": overlap,
    }  # fmt: skip
    norm = {"res_ptr": "res", "norm_ptr": "norm", "sum_ptr": "sum"} if shape.norm else dict.fromkeys(("res_ptr", "norm_ptr", "sum_ptr"))
    bind: dict[str, str | None] = {"x_ptr": "x", "x_stride": "x_stride", "w_ptr": "w", "bias_ptr": "bias" if shape.bias else None, **norm,
                                   "res_stride": "res_stride", **PAGES, "M": "M", "eps": "eps"}  # fmt: skip
    return Step(kernel.qkv_rope_kernel, (programs(shape.linear, config),), config.parts, constants, bind, launch_options(arch, overlap))


def apart(shape: QkvShape, tokens: int, overlap: bool) -> Step:
    """RoPE and the cache write behind a product of any tokens."""
    constants: dict[str, Any] = {"SIZES": sizes(shape), "GROUP": GROUP, "OVERLAP": overlap}
    bind: dict[str, str | None] = {"qkv_ptr": "qkv", "qkv_stride": "qkv_stride", **PAGES}
    groups = -(-(shape.heads + 2 * shape.kv_heads) // GROUP)
    return Step(kernel.rope_cache_kernel, (tokens, groups), 4, constants, bind, {"launch_pdl": True} if overlap else {})
