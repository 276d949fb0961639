"""The gate's rows of qkv + RoPE + cache: GPT-OSS-120B's at TP 1 and 8, bf16 and fp8 pages, and their checks at small sizes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache, partial
from typing import Any

from tunefork.kernels.entry import entry, relative_difference
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.qkv_rope.config import QkvShape, illegal, pick
from tunefork.kernels.qkv_rope.plan import FP8, POINTERS, apart, fused
from tunefork.kernels.shipped import Shipped
from tunefork.kernels.skinny.config import CHUNK, SkinnyConfig

PAGE = 16  # of the gate's rows
CASES = ((1, 4, False, False), (1, 16, False, False), (1, 4, True, False), (1, 4, False, True), (8, 4, False, False), (8, 16, False, False),
         (1, 0, False, False), (1, 0, False, True), (8, 0, False, False))  # fmt: skip
"""(TP, tokens, with a norm in front, fp8 pages); 0 tokens: RoPE and the cache write alone."""


def shape(tp: int, norm: bool = False) -> QkvShape:
    """One rank's."""
    return QkvShape(MODEL.hidden, MODEL.heads // tp, MODEL.kv_heads // tp, MODEL.head_dim, PAGE, norm)


@lru_cache(maxsize=64)
def relative_error(norm: bool, fp8: bool, config: SkinnyConfig | None) -> float:
    """The greatest of the relative errors (2-norms) of q, of the cache and of x + residual; 1 where a place is written that no token has. Without a
    configuration: RoPE and cache alone. On CPU tensors, through whatever driver is active, at small sizes: a short last step of K, a token that is not kept."""
    import torch

    from tunefork.kernels.qkv_rope.launch import qkv_rope_cache, rope_cache
    from tunefork.kernels.qkv_rope.reference import rope_cache_reference
    from tunefork.kernels.skinny.reference import add_norm_reference, linear_reference

    gen = torch.Generator().manual_seed(7)
    heads, kv_heads, dim, tokens, blocks, page = 3, 2, MODEL.head_dim, 3, 2, 4

    def randn(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=gen).bfloat16()

    dtype = torch.float8_e4m3fn if fp8 else torch.bfloat16
    hidden = CHUNK * (2 * config.parts - (config.parts > 1)) if config else CHUNK
    rows = (heads + 2 * kv_heads) * dim
    x, residual, weight = randn(tokens, hidden), randn(tokens, hidden), randn(hidden)
    w, bias = (randn(rows, hidden).float() * hidden**-0.5).bfloat16(), randn(rows)
    positions, rope, slots = torch.tensor([9, 0, 30]), torch.randn(32, dim, generator=gen), torch.tensor([6, -1, 1])
    scales = (torch.tensor(0.5), torch.tensor(0.25), torch.tensor(2.0))
    normed, both = add_norm_reference(x, residual, weight, 1e-5)
    qkv = linear_reference(normed if norm else x, w, bias).bfloat16()
    empty = torch.full((blocks, page, kv_heads, 2 * dim), 1.5).to(dtype).transpose(1, 2)
    got_cache, want_cache = empty.clone(), empty.clone()
    want = rope_cache_reference(qkv, positions, rope, slots, want_cache, scales, heads, dtype)
    added = None
    if config is None:
        got = rope_cache(qkv, positions, rope, slots, got_cache, scales, q_dtype=dtype)
    else:
        front: dict[str, Any] = {"residual": residual, "norm_weight": weight, "eps": 1e-5} if norm else {}
        got, added = qkv_rope_cache(x, w, bias, positions, rope, slots, got_cache, scales, q_dtype=dtype, config=config, **front)
    untouched = want_cache.float() == empty.float()
    if bool((got_cache.float() != empty.float())[untouched].any()):
        return 1.0
    errors = [relative_difference(got, want), relative_difference(got_cache.float()[~untouched], want_cache.float()[~untouched])]
    return max(errors + ([relative_difference(added, both)] if added is not None else []))


def entries(arch: str) -> Iterator[Shipped]:
    """Every distinct compilation once. fp8's tolerance: where the bf16 value before it is another's neighbour, so may be the fp8 value, 1/8 away."""
    for tp, tokens, norm, fp8 in CASES:
        one = shape(tp, norm)
        name, kinds, tolerance = f"tp{tp}-m{tokens}{'-norm' if norm else ''}{'-fp8' if fp8 else ''}", FP8 if fp8 else POINTERS, 2e-2 if fp8 else 6e-3
        if not tokens:
            yield entry(apart(one, 4, False), "qkv_rope", name, f"N{one.rows}", kinds, arch, partial(relative_error, norm, fp8, None), tolerance=tolerance)
            continue
        config = pick(arch, one, tokens)
        assert illegal(config, one, tokens, arch) is None
        where = f"N{one.rows} K{one.hidden} M{tokens}"
        yield entry(fused(arch, one, config), "qkv_rope", name, where, kinds, arch, partial(relative_error, norm, fp8, config), ("w_ptr",), tolerance=tolerance)
