"""qkv + RoPE + KV-cache write in plain torch, with vLLM's places of rounding: what both kernels are compared with."""

from __future__ import annotations

import torch

FP8_MOST = 448.0  # of float8_e4m3fn


def rope_reference(x: torch.Tensor, positions: torch.Tensor, rope: torch.Tensor) -> torch.Tensor:
    """(M, heads, D) bf16 -> rotated bf16: halves of a head (NeoX), cos and sin of (positions, D) rounded to bf16, products in float32."""
    cos, sin = rope[positions].bfloat16().float()[:, None, :].chunk(2, dim=-1)
    one, two = x.float().chunk(2, dim=-1)
    return torch.cat((one * cos - two * sin, two * cos + one * sin), dim=-1).bfloat16()


def stored(x: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """bf16, or fp8 of x / scale, saturating."""
    return (x.float() / scale).clamp(-FP8_MOST, FP8_MOST).to(dtype) if dtype == torch.float8_e4m3fn else x.to(dtype)


def rope_cache_reference(
    qkv: torch.Tensor,  # (M, (heads + 2 * kv_heads) * D) bf16
    positions: torch.Tensor,  # [M] int64
    rope: torch.Tensor,  # (positions, D)
    slots: torch.Tensor,  # [at most M] int64
    cache: torch.Tensor,  # (blocks, kv_heads, page, 2 * D), written to
    scales: tuple[torch.Tensor, ...],  # k's, v's, q's, float32
    heads: int,
    q_dtype: torch.dtype = torch.bfloat16,
) -> torch.Tensor:
    """-> q (M, heads * D); k and v of tokens whose slot is not negative are in the cache."""
    tokens, (_, kv_heads, page, width) = qkv.shape[0], cache.shape
    dim = width // 2
    q, k, v = (part.view(tokens, -1, dim) for part in qkv.split([heads * dim, kv_heads * dim, kv_heads * dim], dim=1))
    k = stored(rope_reference(k, positions, rope), scales[0], cache.dtype)
    v = stored(v, scales[1], cache.dtype)
    for token, slot in enumerate(slots.tolist()[:tokens]):
        if slot >= 0:
            cache[slot // page, :, slot % page] = torch.cat((k[token], v[token]), dim=-1)
    return stored(rope_reference(q, positions, rope), scales[2], q_dtype).view(tokens, heads * dim)
