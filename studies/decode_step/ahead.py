"""36 layers with their way to attention, with and without asking L2 ahead: whether o's weights come in while attention leaves memory idle.

Attention is a stand-in: torch's own over 1024 keys a token, in buffers of its own; everything else is what decode_step launches. Weights rotate past L2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from studies.decode_step.chain import COPIES, LAYERS
from studies.decode_step.ops import EPS, EXPERTS, HIDDEN, pages, randn
from tunefork.bench.kernels import cases
from tunefork.bench.kernels.timing import compare
from tunefork.kernels.add_norm_router import add_norm_moe, make_done
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.moe_a16w4 import make_workspace
from tunefork.kernels.qkv_rope import qkv_rope_cache
from tunefork.kernels.skinny import linear
from tunefork.kernels.skinny.launch import add_norm

KEYS = 1024
VARIANTS = {"today": (0.0, 0.0), "o 25": (0.25, 0.0), "o 50": (0.5, 0.0), "o": (1.0, 0.0), "qkv 50": (0.0, 0.5), "qkv": (0.0, 1.0), "both": (1.0, 1.0)}
"""Name -> shares of o's weight that the qkv launch asks for, and of qkv's that the launch of its norm asks for."""


def share(weight: torch.Tensor, part: float) -> torch.Tensor | None:
    """The first rows of a weight, None for none."""
    return weight[: int(weight.shape[0] * part)] if part else None


def steps(tp: int, tokens: int) -> dict[str, Callable[[], torch.Tensor]]:
    """Variant -> a whole step without the head and all-reduces; all give the same bits."""
    heads, kv_heads, dim = MODEL.heads // tp, MODEL.kv_heads // tp, MODEL.head_dim
    rows = (heads + 2 * kv_heads) * dim
    qkv, o, routers = ([randn(*shape) for _ in range(COPIES)] for shape in ((rows, HIDDEN), (HIDDEN, heads * dim), (EXPERTS, HIDDEN)))
    qkv_bias, o_bias, router_bias, norm, done = randn(rows), randn(HIDDEN), randn(EXPERTS), randn(HIDDEN), make_done("cuda")
    keys, values = (torch.randn(COPIES, tokens, kv_heads, KEYS, dim, device="cuda").bfloat16() for _ in range(2))
    found = cases.layers(cases.random_plain(tp, "cuda"), tp)[:COPIES]
    space, where = make_workspace(found[0], tokens), pages(tp, tokens)
    x0, residual0 = randn(tokens, HIDDEN), randn(tokens, HIDDEN)

    def step(o_part: float, qkv_part: float) -> Callable[[], torch.Tensor]:
        def go() -> torch.Tensor:
            x, residual = x0, residual0
            for layer in range(LAYERS):
                at = layer % COPIES
                normed, residual = add_norm(x, residual, norm, EPS, ahead=share(qkv[at], qkv_part))
                query, _ = qkv_rope_cache(normed, qkv[at], qkv_bias, *where, ahead=share(o[at], o_part))
                query = query.view(tokens, kv_heads, heads // kv_heads, dim)  # the queries of a kv head as rows of one product
                attended = functional.scaled_dot_product_attention(query, keys[at], values[at]).reshape(tokens, heads * dim)
                x = linear(attended, o[at], o_bias)
                x, residual = add_norm_moe(x, residual, norm, EPS, routers[at], router_bias, found[at % len(found)], done=done, workspace=space)
            return x

        return go

    return {name: step(*parts) for name, parts in VARIANTS.items()}


def ahead_rows(tp: int, tokens: int, rounds: int) -> list[dict[str, Any]]:
    """For each variant: microseconds of a layer, and the ratio to today's of the same round; ``equal``: the same bits as today's. With 0 rounds that alone."""
    calls, rows = steps(tp, tokens), []
    first = calls["today"]()
    equal = {name: bool((call() == first).all()) for name, call in calls.items()}
    if not rounds:
        return [{"tp": tp, "tokens": tokens, "impl": name, "equal": same} for name, same in equal.items()]
    times = compare({name: [call] for name, call in calls.items()}, rounds)
    for name, one in times.items():
        ratio = sorted(a / b for a, b in zip(one.rounds, times["today"].rounds, strict=True))
        rows.append({"tp": tp, "tokens": tokens, "impl": name, "layer_us": round(one.us / LAYERS, 2), "ratio": round(ratio[len(ratio) // 2], 4),
                     "ratio_least": round(ratio[0], 4), "ratio_most": round(ratio[-1], 4), "equal": equal[name]})  # fmt: skip
    torch.cuda.empty_cache()
    return rows
