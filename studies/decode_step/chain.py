"""All 36 layers of a decode step without attention and all-reduce in one graph, as torch and launches of their own (B) and with the new kernels (F)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from studies.decode_step.ops import EPS, EXPERTS, HIDDEN, add_norm, randn
from tunefork.bench.kernels import cases
from tunefork.bench.kernels.timing import capture, compare
from tunefork.kernels.add_norm_router import add_norm_moe, make_done
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.moe_a16w4 import fused_moe, make_workspace
from tunefork.kernels.skinny import add_norm_linear, linear

LAYERS, COPIES = MODEL.layers, 6
SHOWN = ("B", "B + o, moe", "F")
Step = Callable[[], object]


def steps(tp: int, tokens: int) -> dict[str, Step]:
    """Variant -> a whole step. Attention's place is taken by nothing: o reads the queries."""
    inner = MODEL.heads * MODEL.head_dim // tp
    rows = inner + 2 * MODEL.kv_heads * MODEL.head_dim // tp
    qkv, o, routers = ([randn(*shape) for _ in range(COPIES)] for shape in ((rows, HIDDEN), (HIDDEN, inner), (EXPERTS, HIDDEN)))
    qkv_bias, o_bias, router_bias, norm, done = randn(rows), randn(HIDDEN), randn(EXPERTS), randn(HIDDEN), make_done("cuda")
    found = cases.layers(cases.random_plain(tp, "cuda"), tp)[:COPIES]
    space = make_workspace(found[0], tokens)
    x0, residual0 = randn(tokens, HIDDEN), randn(tokens, HIDDEN)

    def step(fused_qkv: bool, our_o: bool, fused_moe_: bool) -> Step:
        def go() -> object:
            x, residual = x0, residual0
            for layer in range(LAYERS):
                at = layer % COPIES
                if fused_qkv:
                    both, residual = add_norm_linear(x, residual, norm, EPS, qkv[at], qkv_bias)
                else:
                    normed, residual = add_norm(x, residual, norm)
                    both = functional.linear(normed, qkv[at], qkv_bias)
                attended = both[:, :inner]
                x = linear(attended, o[at], o_bias) if our_o else functional.linear(attended, o[at], o_bias)
                if fused_moe_:
                    x, residual = add_norm_moe(x, residual, norm, EPS, routers[at], router_bias, found[at % len(found)], done=done, workspace=space)
                else:
                    normed, residual = add_norm(x, residual, norm)
                    logits = functional.linear(normed, routers[at], router_bias)
                    x = fused_moe(normed, logits, found[at % len(found)], out=torch.empty_like(normed), workspace=space)
            return x

        return go

    return {"B": step(False, False, False), "F": step(True, True, True), "B + qkv": step(True, False, False), "B + o": step(False, True, False),
            "B + moe": step(False, False, True), "B + o, moe": step(False, True, True)}  # fmt: skip


def chain_rows(rounds: int) -> list[dict[str, Any]]:
    """Milliseconds of a step by TP, M and variant, and the ratio to B of the same round."""
    rows = []
    for tp in (1, 8):
        for tokens in (1, 4, 16, 32):
            for name, one in (times := compare({name: [call] for name, call in steps(tp, tokens).items()}, rounds)).items():
                ratio = sorted(a / b for a, b in zip(one.rounds, times["B"].rounds, strict=True))
                rows.append({"tp": tp, "tokens": tokens, "impl": name, "ms": one.us / 1000, "lo": one.us_lo / 1000, "hi": one.us_hi / 1000,
                             "ratio": ratio[len(ratio) // 2], "ratio_least": ratio[0], "ratio_most": ratio[-1]})  # fmt: skip
            torch.cuda.empty_cache()
    return rows


def timeline(tp: int = 1, tokens: int = 4) -> list[dict[str, Any]]:
    """Kernels of two layers in the middle of a replayed step, B and F, by torch's profiler: microseconds from the first one's begin."""
    rows: list[dict[str, Any]] = []
    for name, call in steps(tp, tokens).items():
        if name not in SHOWN:
            continue
        graph = capture([call])
        graph.replay()
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
            graph.replay()
            torch.cuda.synchronize()
        found = sorted((event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA), key=lambda event: event.time_range.start)
        count = len(found) // LAYERS
        shown = found[18 * count : 20 * count]
        rows += [{"tp": tp, "tokens": tokens, "impl": name, "launches": len(found), "name": event.name[:60],
                  "begin": round(event.time_range.start - shown[0].time_range.start, 2), "us": round(event.time_range.end - event.time_range.start, 2)}
                 for event in shown]  # fmt: skip
    return rows
