"""qkv + RoPE + KV-cache write on the active device: one launch, with a norm in front too; no host synchronisation, safe under graph capture."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch

from tunefork.base.errors import BadInput
from tunefork.kernels.arch import SM90
from tunefork.kernels.moe_a16w4.device import target
from tunefork.kernels.moe_a16w4.plan import Step
from tunefork.kernels.qkv_rope import plan
from tunefork.kernels.qkv_rope.config import QkvShape, illegal, pick, unfit
from tunefork.kernels.skinny.config import SkinnyConfig
from tunefork.kernels.skinny.launch import check_rows, check_vector, run

Scales = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@lru_cache(maxsize=256)
def _fused(arch: str, shape: QkvShape, tokens: int, config: SkinnyConfig | None, asm: bool) -> Step:
    config = config or pick(arch, shape, tokens)
    if reason := illegal(config, shape, tokens, arch):
        raise BadInput(f"this configuration cannot run M={tokens}: {reason}", "use torch.nn.functional.linear and rope_cache")
    return plan.fused(arch, shape, config, asm)


@lru_cache(maxsize=256)
def _apart(shape: QkvShape, tokens: int, overlap: bool) -> Step:
    return plan.apart(shape, tokens, overlap)


def _pages(tokens: int, positions: torch.Tensor, rope: torch.Tensor, slots: torch.Tensor, cache: torch.Tensor, scales: Scales | None) -> dict[str, Any]:
    """Arguments that both kernels have, checked. Errors: BadInput."""
    for name, one in (("positions", positions), ("slots", slots)):
        if one.dim() != 1 or one.dtype != torch.int64 or not one.is_contiguous() or (name == "positions" and one.shape[0] != tokens):
            raise BadInput(f"{name}: expected one int64 a token ({tokens}), contiguous, got {tuple(one.shape)} {one.dtype}", "pass vLLM's own")
    if cache.dim() != 4 or cache.dtype not in (torch.bfloat16, torch.float8_e4m3fn) or cache.stride(3) != 1:
        raise BadInput(f"cache: expected (blocks, kv_heads, page, 2 * D) bfloat16 or float8_e4m3fn, got {tuple(cache.shape)} {cache.dtype}", "pass vLLM's view")
    if rope.dim() != 2 or 2 * rope.shape[1] != cache.shape[3] or rope.dtype not in (torch.bfloat16, torch.float32) or not rope.is_contiguous():
        raise BadInput(f"rope: expected (positions, {cache.shape[3] // 2}) bfloat16 or float32, got {tuple(rope.shape)} {rope.dtype}",
                       "all of a head is rotated: cos, then sin")  # fmt: skip
    if scales is None and cache.dtype == torch.float8_e4m3fn:
        raise BadInput("scales: an fp8 cache needs k's and v's", "pass three float32 tensors: k's, v's, q's")
    return {"positions": positions, "rope": rope, "slot": slots, "slots": slots.shape[0], "cache": cache, "block_stride": cache.stride(0),
            "head_stride": cache.stride(1), "place_stride": cache.stride(2),
            **dict(zip(("k_scale", "v_scale", "q_scale"), scales or (None, None, None), strict=True))}  # fmt: skip


def _shape(hidden: int, rows: int, cache: torch.Tensor, norm: bool = False, bias: bool = True) -> QkvShape:
    _, kv_heads, page, width = cache.shape
    dim = width // 2
    shape = QkvShape(hidden, rows // dim - 2 * kv_heads, kv_heads, dim, page, norm, bias)
    if shape.rows != rows or (reason := unfit(shape)):
        raise BadInput(f"{rows} outputs are no q, k and v of {kv_heads} kv heads of {dim}" if shape.rows != rows else str(reason), "pass the rank's own")
    return shape


def _out(out: torch.Tensor | None, x: torch.Tensor, shape: QkvShape, dtype: torch.dtype) -> torch.Tensor:
    """q's tensor: the caller's, whose dtype counts, or a new one. Errors: BadInput."""
    size = x.shape[0], shape.heads * shape.head_dim
    if out is None:
        return torch.empty(size, dtype=dtype, device=x.device)
    if out.shape != size or out.dtype not in (torch.bfloat16, torch.float8_e4m3fn) or not out.is_contiguous():
        raise BadInput(f"out: expected {size} bfloat16 or float8_e4m3fn, contiguous, got {tuple(out.shape)} {out.dtype}", "leave it out")
    return out


def qkv_rope_cache(
    x: torch.Tensor,  # (M, K) bf16, rows may be strided
    weight: torch.Tensor,  # ((heads + 2 * kv_heads) * D, K) bf16
    bias: torch.Tensor | None,
    positions: torch.Tensor,  # [M] int64
    rope: torch.Tensor,  # (positions, D): cos, then sin; rounded to bf16 here
    slots: torch.Tensor,  # [up to M] int64: block * page + place; negative, or none: not kept
    cache: torch.Tensor,  # (blocks, kv_heads, page, 2 * D) bf16 or fp8, any strides but the last
    scales: Scales | None = None,  # k's, v's, q's, [1] or () float32; for fp8
    *,
    residual: torch.Tensor | None = None,  # (M, K) bf16: with it add + RMSNorm stand in front, in the same launch
    norm_weight: torch.Tensor | None = None,
    eps: float = 0.0,
    out: torch.Tensor | None = None,
    q_dtype: torch.dtype = torch.bfloat16,
    config: SkinnyConfig | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """-> (q (M, heads * D), rotated, in ``out`` where there is one; x + residual, or None). k, rotated, and v are in the cache. M is 1 to 64, with a norm
    1 to 16.

    Errors: BadInput for a shape, dtype, stride or alignment that the kernel cannot read.
    """
    if weight.dim() != 2 or weight.dtype != torch.bfloat16 or not weight.is_contiguous() or weight.data_ptr() % 16:
        raise BadInput(f"weight: expected (N, K) bfloat16, contiguous, got {tuple(weight.shape)} {weight.dtype}", "pass the layer's own weight")
    tokens, (rows, hidden) = x.shape[0], weight.shape
    check_rows("x", x, tokens, hidden)
    env = _pages(tokens, positions, rope, slots, cache, scales)
    env |= {"x": x, "x_stride": x.stride(0), "w": weight, "bias": bias, "res_stride": 0, "M": tokens, "eps": eps}
    if bias is not None:
        check_vector("bias", bias, rows)
    both = None
    if residual is not None:
        if norm_weight is None:
            raise BadInput("norm_weight: a residual is added in front of a norm", "pass both, or neither")
        check_rows("residual", residual, tokens, hidden)
        check_vector("norm_weight", norm_weight, hidden)
        both = torch.empty((tokens, hidden), dtype=torch.bfloat16, device=x.device)
        env |= {"res": residual, "res_stride": residual.stride(0), "norm": norm_weight, "sum": both}
    shape, found = _shape(hidden, rows, cache, residual is not None, bias is not None), target()
    env["q"] = _out(out, x, shape, q_dtype)
    run(_fused(found.arch, shape, tokens, config, found.asm), env)
    return env["q"], both


def rope_cache(
    qkv: torch.Tensor,  # (M, (heads + 2 * kv_heads) * D) bf16, rows may be strided
    positions: torch.Tensor,
    rope: torch.Tensor,
    slots: torch.Tensor,
    cache: torch.Tensor,
    scales: Scales | None = None,
    *,
    out: torch.Tensor | None = None,
    q_dtype: torch.dtype = torch.bfloat16,
) -> torch.Tensor:
    """-> q (M, heads * D), rotated; k, rotated, and v are in the cache. Any M, one launch. Arguments and errors as of `qkv_rope_cache`."""
    tokens = qkv.shape[0]
    check_rows("qkv", qkv, tokens, qkv.shape[1])
    env = _pages(tokens, positions, rope, slots, cache, scales)
    shape, found = _shape(0, qkv.shape[1], cache), target()
    env["q"] = _out(out, qkv, shape, q_dtype)
    if tokens:
        run(_apart(shape, tokens, found.arch == SM90.name and found.asm), env | {"qkv": qkv, "qkv_stride": qkv.stride(0)})
    return env["q"]
