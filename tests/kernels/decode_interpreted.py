"""Run in a process of its own by test_skinny.py, test_add_norm_router.py and test_qkv_rope.py (TRITON_INTERPRET holds for a whole process): one JSON line per case of a group.

Small whole numbers make every product, sum and result exact in bf16, so that what is compared does not depend on how the interpreter rounds.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"

import torch
import triton.language as tl

from tunefork.kernels.add_norm_router import RouterConfig, add_norm_moe, add_norm_route, make_done
from tunefork.kernels.add_norm_router.reference import add_norm_route_reference
from tunefork.kernels.moe_a16w4 import prepare_weights
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference, route
from tunefork.kernels.qkv_rope import qkv_rope_cache, rope_cache
from tunefork.kernels.qkv_rope.reference import rope_cache_reference
from tunefork.kernels.skinny import SkinnyConfig, add_norm_linear, best_logit, kernel, linear
from tunefork.kernels.skinny.reference import add_norm_reference, linear_reference

GEN = torch.Generator().manual_seed(5)


def whole(*size: int, most: int = 1, dense: float = 1.0) -> torch.Tensor:
    """Whole numbers of at most `most`, a share `dense` of them not zero by force."""
    found = torch.randint(-most, most + 1, size, generator=GEN)
    return (found * (torch.rand(size, generator=GEN) < dense)).bfloat16()


def randn(*size: int) -> torch.Tensor:
    return torch.randn(*size, generator=GEN).bfloat16()


def apart(got: torch.Tensor, want: torch.Tensor) -> float:
    return float((got.double() - want.double()).norm() / want.double().norm())


def strided(x: torch.Tensor) -> torch.Tensor:
    """The same rows, twice as far apart, with NaN between them."""
    wide = torch.full((x.shape[0], 2 * x.shape[1]), float("nan")).bfloat16()
    wide[:, : x.shape[1]] = x
    return wide[:, : x.shape[1]]


def products(tokens: int, rows: int, cols: int, config: SkinnyConfig | None) -> dict[str, Any]:
    x, w, bias, before = strided(whole(tokens, cols)), whole(rows, cols, dense=0.2), whole(rows), strided(whole(tokens, rows))
    found: dict[str, Any] = {
        "linear": int((linear(x, w, bias, config=config).float() != linear_reference(x, w, bias)).sum()),
        "without bias": int((linear(x, w, config=config).float() != linear_reference(x, w)).sum()),
        "residual": int((linear(x, w, bias, before, config=config).float() != linear_reference(x, w, bias, before)).sum()),
        "largest": float(linear_reference(x, w, bias, before).abs().max()),
    }
    residual, norm = strided(whole(tokens, cols, most=2)), whole(cols, most=2)
    y, both = add_norm_linear(x, residual, norm, 1e-5, w, bias, config=config)
    found["sum"] = int((both != (x.float() + residual.float()).bfloat16()).sum())
    found["norm"] = apart(y, linear_reference(add_norm_reference(x, residual, norm, 1e-5)[0], w, bias))
    w[rows - 1] = w[0]
    x[0] = w[0] * 2  # the first and the last id tie, ahead of all
    found["best"] = int((best_logit(x, w, config=config) != linear_reference(x, w).max(1).indices).sum())
    return found


def routed(tokens: int, live: int, config: RouterConfig) -> dict[str, Any]:
    hidden, experts, topk, inter = 192, 16, 4, 32
    x, residual, norm, w, bias = strided(randn(tokens, hidden)), strided(randn(tokens, hidden)), randn(hidden), randn(experts, hidden), randn(experts)
    for twin in (5, 9):
        w[twin], bias[twin] = w[2], bias[2]  # three equal logits in every row
    done, count = make_done("cpu"), torch.tensor([live], dtype=torch.int32)
    normed, both, logits, ids, gates = add_norm_route(x, residual, norm, 1e-5, w, bias, topk, done=done, num_live=count, config=config)
    want_normed, want_both, want_logits, _, _ = add_norm_route_reference(x, residual, norm, 1e-5, w, bias, topk)
    want_ids, want_gates = route(logits[:live], topk)

    def matrix(rows: int, cols: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return (torch.randint(0, 256, (experts, rows, cols // 2), dtype=torch.uint8, generator=GEN),
                torch.randint(121, 125, (experts, rows, -(-cols // 32)), dtype=torch.uint8, generator=GEN), randn(experts, rows))

    plain = (*matrix(2 * inter, hidden), *matrix(hidden, inter))
    y, again = add_norm_moe(x, residual, norm, 1e-5, w, bias, prepare_weights(*plain, arch="sm90"), topk, done=done, num_live=count, config=config)
    return {
        "normed": apart(normed, want_normed), "sum": apart(both, want_both), "logits": apart(logits, want_logits), "done": int(done),
        "ids": int((ids[:live] != want_ids).sum()), "dead": int((ids[live:] != -1).sum() + (gates[live:] != 0).sum()),
        "ties": int((logits[:, 2] != logits[:, 5]).sum()), "gates": apart(gates[:live], want_gates), "again": bool((again == both).all()),
        "moe": apart(y[:live], fused_moe_reference(normed[:live], logits[:live], plain, topk)),
    }  # fmt: skip


def attended(tokens: int, heads: int, kv_heads: int, dim: int, hidden: int, fp8: bool, config: SkinnyConfig | None = None) -> dict[str, Any]:
    """Quarter turns and whole numbers: nothing is rounded, so every value has to be equal."""
    rows, page, blocks, dtype = (heads + 2 * kv_heads) * dim, 4, 5, torch.float8_e4m3fn if fp8 else torch.bfloat16
    x, w, bias = strided(whole(tokens, hidden)), whole(rows, hidden, dense=0.02), whole(rows)
    turn = torch.randint(0, 4, (16, dim // 2), generator=GEN) * (torch.pi / 2)
    rope = torch.cat((turn.cos().round(), turn.sin().round()), dim=1)
    positions, slots = torch.randint(0, 16, (tokens,), generator=GEN), torch.randperm(blocks * page, generator=GEN)[: max(1, tokens - 1)].contiguous()
    if tokens > 3:
        slots[1] = -1  # besides the last, whose slot is not even told
    scales = (torch.tensor(0.5), torch.tensor(1.0), torch.tensor(2.0))
    nhd, hnd = torch.full((blocks, page, kv_heads, 2 * dim), 3.0).to(dtype).transpose(1, 2), torch.full((blocks, kv_heads, page, 2 * dim), 3.0).to(dtype)
    qkv = linear_reference(x, w, bias).bfloat16()
    want_cache = hnd.clone()
    want = rope_cache_reference(qkv, positions, rope, slots, want_cache, scales, heads, dtype)
    one, other = nhd.clone(), hnd.clone()
    got, none = qkv_rope_cache(x, w, bias, positions, rope, slots, one, scales, q_dtype=dtype, config=config)
    apart_ = rope_cache(strided(qkv), positions, rope, slots, other, scales, q_dtype=dtype)
    bare = qkv_rope_cache(x, w, None, positions, rope.bfloat16(), slots, nhd.clone(), scales, q_dtype=dtype, config=config)[0]
    want_bare = rope_cache_reference(linear_reference(x, w).bfloat16(), positions, rope, slots, hnd.clone(), scales, heads, dtype)
    residual, norm = strided(whole(tokens, hidden, most=2)), whole(hidden, most=2)
    normed, both = add_norm_reference(x, residual, norm, 1e-5)
    after, added = qkv_rope_cache(x, w, bias, positions, rope, slots, nhd.clone(), scales, residual=residual, norm_weight=norm, eps=1e-5)
    want_after = rope_cache_reference(linear_reference(normed, w, bias).bfloat16(), positions, rope, slots, hnd.to(torch.bfloat16), scales, heads)
    return {
        "q": int((got.float() != want.float()).sum()), "cache": int((one.float() != want_cache.float()).sum()), "none": none is None,
        "q apart": int((apart_.float() != want.float()).sum()), "cache apart": int((other.float() != want_cache.float()).sum()),
        "bare": int((bare.float() != want_bare.float()).sum()), "kept": int((want_cache.float() != hnd.float()).any(-1).sum()),
        "largest": float(want.float().abs().max()), "sum": int((added != both).sum()), "norm": apart(after, want_after),
    }  # fmt: skip


def main() -> None:
    skinny = {
        "rule": lambda: products(3, 48, 192, None),
        "one token, short last step": lambda: products(1, 32, 320, SkinnyConfig(4, 1, 8, 2)),
        "short last program": lambda: products(9, 80, 448, SkinnyConfig(2, 4, 16, 3)),
        "one part, two launches": lambda: products(17, 32, 128, None),
    }
    router = {
        "slot": lambda: routed(2, 2, RouterConfig(4, 2)),
        "slot, dead tokens": lambda: routed(4, 3, RouterConfig(2, 1)),
        "sorted": lambda: routed(12, 12, RouterConfig(16, 4)),
        "sorted, apart, dead tokens": lambda: routed(17, 14, RouterConfig(4, 2, apart=True, split=3)),
    }
    qkv = {
        "rule": lambda: attended(3, 4, 2, 64, 192, False),
        "fp8": lambda: attended(4, 2, 2, 64, 192, True),
        "one token, a head in one program": lambda: attended(1, 2, 1, 32, 320, False, SkinnyConfig(4, 2, 8, 2)),
        "four strips, sixteen columns": lambda: attended(9, 3, 1, 64, 448, False, SkinnyConfig(2, 4, 16, 3)),
    }
    if sys.argv[2:] == ["halves"]:  # as under Triton 3.8.0 and newer
        kernel.BY_HALVES = tl.constexpr(True)
    for name, case in {"skinny": skinny, "router": router, "qkv": qkv}[sys.argv[1]].items():
        print(json.dumps({"name": name, **case()}), flush=True)


if __name__ == "__main__":
    sys.exit(main())
