"""Every kernel on the GPU at hand at GPT-OSS-120B's sizes: against float32, and bit for bit against its own repeats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from studies.decode_step.ops import EPS, EXPERTS, HIDDEN, pages, randn
from tunefork.kernels.add_norm_router import RouterConfig, add_norm_route, make_done
from tunefork.kernels.add_norm_router.reference import add_norm_route_reference
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.qkv_rope import qkv_rope_cache, rope_cache
from tunefork.kernels.qkv_rope.reference import rope_cache_reference
from tunefork.kernels.skinny import add_norm_linear, best_logit, linear
from tunefork.kernels.skinny.reference import add_norm_reference, linear_reference

REPEATS = 20
ATTEND = [(tp, tokens, fp8) for tp in (1, 8) for tokens in (1, 4, 16) for fp8 in (False, True)] + [(1, 64, False), (8, 64, True)]


def error(got: torch.Tensor, want: torch.Tensor) -> float:
    """Relative, 2-norms."""
    return float((got.float() - want.float()).norm() / want.float().norm())


def route_row(tokens: int, apart: bool) -> dict[str, Any]:
    """Experts chosen otherwise than the reference, and the largest gap of float32 logits between what was left out and what was taken for it."""
    x, residual, norm, w, bias = randn(tokens, HIDDEN), randn(tokens, HIDDEN), randn(HIDDEN), randn(EXPERTS, HIDDEN), randn(EXPERTS)
    done = make_done("cuda")

    def once() -> tuple[torch.Tensor, ...]:
        return add_norm_route(x, residual, norm, EPS, w, bias, done=done, config=RouterConfig(apart=apart))

    normed, both, logits, ids, gates = once()
    want_normed, want_both, want_logits, want_ids, _ = add_norm_route_reference(x, residual, norm, EPS, w, bias)
    cut = want_logits.topk(4).values[:, -1:]
    gap = float((cut - want_logits.gather(1, ids.long())).max())
    same = all(bool((a == b).all()) for _ in range(REPEATS) for a, b in zip(once(), (normed, both, logits, ids, gates), strict=True))
    return {"op": "router", "tokens": tokens, "apart": apart, "error": max(error(normed, want_normed), error(logits, want_logits)),
            "residual_equal": bool((both == want_both).all()), "others": int((ids.sort(1).values != want_ids.sort(1).values).any(1).sum()),
            "gap": gap, "repeats": same, "done": int(done)}  # fmt: skip


def places(slots: torch.Tensor, cache: torch.Tensor) -> torch.Tensor:
    """Which elements of (blocks, kv_heads, 16, 2 * D) pages the tokens of these slots have: by the slots, since a right value may equal what lay there."""
    kept = torch.zeros_like(cache, dtype=torch.bool)
    for slot in slots[slots >= 0].tolist():
        kept[slot // 16, :, slot % 16] = True
    return kept


def strays(got: torch.Tensor, before: torch.Tensor, kept: torch.Tensor) -> int:
    """Elements outside `kept` that are not as before."""
    return int((got.float() != before.float())[~kept].sum())


def attend_row(tp: int, tokens: int, fp8: bool) -> dict[str, Any]:
    """qkv + RoPE + cache in one launch, in one with its norm, and behind torch's product, against float32: q, and the cache's places that were written;
    ``torch_error``: the reference's own steps on torch's bf16 product. ``strays``: places that nobody should have written."""
    dtype = torch.float8_e4m3fn if fp8 else torch.bfloat16
    heads, width = MODEL.heads // tp, (MODEL.heads + 2 * MODEL.kv_heads) * MODEL.head_dim // tp
    x, residual, norm, w, bias = randn(tokens, HIDDEN), randn(tokens, HIDDEN), randn(HIDDEN), randn(width, HIDDEN), randn(width)
    positions, rope, slots, cache = pages(tp, tokens)
    scales = tuple(torch.tensor(value, device="cuda") for value in (0.5, 0.25, 2.0))
    cache = (cache + 0.75).to(dtype)
    if tokens > 2:
        slots[1] = -1
    normed, _ = add_norm_reference(x, residual, norm, EPS)
    first, want_cache, empty = normed.bfloat16(), cache.clone(), cache.float()

    def told(product: torch.Tensor, into: torch.Tensor) -> torch.Tensor:
        return rope_cache_reference(product.bfloat16(), positions, rope, slots, into, scales, heads, dtype)

    want = told(linear_reference(first, w, bias), want_cache)
    kept = places(slots, cache)
    torch_cache = cache.clone()
    shipped = told(torch.nn.functional.linear(first, w, bias), torch_cache)
    front: dict[str, Any] = {"residual": residual, "norm_weight": norm, "eps": EPS}
    calls: dict[str, Callable[[torch.Tensor], torch.Tensor]]
    calls = {"fused": lambda into: qkv_rope_cache(first, w, bias, positions, rope, slots, into, scales, q_dtype=dtype)[0],
             "one": lambda into: qkv_rope_cache(x, w, bias, positions, rope, slots, into, scales, q_dtype=dtype, **front)[0],
             "apart": lambda into: rope_cache(torch.nn.functional.linear(first, w, bias), positions, rope, slots, into, scales, q_dtype=dtype)}  # fmt: skip
    if tokens > 16:
        del calls["one"]
    found: dict[str, Any] = {"op": "attend", "tp": tp, "tokens": tokens, "fp8": fp8, "strays": 0, "repeats": True,
                             "torch_error": max(error(shipped, want), error(torch_cache.float()[kept], want_cache.float()[kept]))}  # fmt: skip
    for name, call in calls.items():
        into = cache.clone()
        got = call(into)
        found[name] = max(error(got, want), error(into.float()[kept], want_cache.float()[kept]))
        found["strays"] += strays(into, empty, kept)
        for _ in range(REPEATS):
            again = cache.clone()
            found["repeats"] &= bool((call(again).float() == got.float()).all()) and bool((again.float() == into.float()).all())
    return found


def rows() -> list[dict[str, Any]]:
    """One row for each op, TP and M."""
    torch.manual_seed(0)
    found = []
    for tp in (1, 8):
        inner, qkv = MODEL.heads * MODEL.head_dim // tp, (MODEL.heads + 2 * MODEL.kv_heads) * MODEL.head_dim // tp
        for tokens in (1, 4, 16, 64):
            x, w, bias, residual = randn(tokens, 2 * inner)[:, :inner], randn(HIDDEN, inner), randn(HIDDEN), randn(tokens, HIDDEN)
            got = linear(x, w, bias, residual)
            same = all(bool((linear(x, w, bias, residual) == got).all()) for _ in range(REPEATS))
            shipped = torch.nn.functional.linear(x, w, bias) + residual
            want = linear_reference(x, w, bias, residual)
            found.append({"op": "o", "tp": tp, "tokens": tokens, "error": error(got, want), "torch_error": error(shipped, want), "repeats": same})
            h, w, bias, norm = randn(tokens, HIDDEN), randn(qkv, HIDDEN), randn(qkv), randn(HIDDEN)
            got, both = add_norm_linear(h, residual, norm, EPS, w, bias)
            normed, want_both = add_norm_reference(h, residual, norm, EPS)
            want = linear_reference(normed, w, bias)
            shipped = torch.nn.functional.linear(normed.bfloat16(), w, bias)
            found.append({"op": "qkv", "tp": tp, "tokens": tokens, "error": error(got, want), "torch_error": error(shipped, want),
                          "residual_equal": bool((both == want_both).all())})  # fmt: skip
    for tokens in (1, 4, 16, 33, 64):
        found += [route_row(tokens, apart) for apart in (False, True)]
    found += [attend_row(*case) for case in ATTEND]
    w = randn(MODEL.vocabulary, HIDDEN)
    for tokens in (1, 4, 16):
        x = randn(tokens, HIDDEN)
        logits = linear_reference(x, w)
        found.append({"op": "head", "tokens": tokens, "gap": float((logits.max(1).values - logits.gather(1, best_logit(x, w)[:, None])[:, 0]).max())})
    return found
