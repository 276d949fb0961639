"""Bytes: what a layer at GPT-OSS-120B's sizes reads of its weights, counted by the executor, against the unpadded bytes of the hit experts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from loading import module

from tunefork.bench.kernels import cases
from tunefork.kernels.moe_a16w4 import MoeShape, pick, prepare_weights

layer = module("moe_layer_on_gfx950", Path(__file__).with_name("layer.py"))


@pytest.mark.slow
@pytest.mark.parametrize(("tp", "tokens", "experts"), [
    (8, 1, 4), (8, 4, 4),
    pytest.param(1, 1, 4, marks=pytest.mark.skipif("TUNEFORK_LONG" not in os.environ, reason="NOT TESTED: takes a minute; set TUNEFORK_LONG=1")),
])  # fmt: skip
def test_weights_are_read_once_and_nothing_beside_them(tp: int, tokens: int, experts: int) -> None:
    """Distinct bytes of values and scales within 2 % of what the hit experts hold, in the configuration that ships for 128 experts."""
    problem = cases.MoeProblem(tp, tokens)
    inter = problem.intermediate
    plain = layer.plain_weights(cases.HIDDEN, inter, experts)
    gen = torch.Generator().manual_seed(tokens)
    x, logits = torch.randn(tokens, cases.HIDDEN, generator=gen).bfloat16(), torch.randn(tokens, experts, generator=gen).bfloat16()
    config = pick("gfx950", MoeShape(cases.HIDDEN, inter, cases.EXPERTS), tokens)
    weights = prepare_weights(*plain, arch="gfx950")
    error, _, device = layer.run_layer(plain, x, logits, config, track=True, weights=weights)
    assert error <= layer.TOLERANCE
    needed = cases.hit_bytes(problem, cases.hit_experts(logits))
    places = {tensor.data_ptr() for tensor in (weights.w13, weights.s13, weights.w2, weights.s2)}
    buffers = [item for one in device.launches for item in one.launch.buffers if item.base in places]
    assert len(buffers) == 4
    unique, total = sum(item.loaded_unique() for item in buffers), sum(item.loaded for item in buffers)
    print(f"TP{tp} M={tokens}: {needed} bytes needed, {unique / needed:.4f} of it read once, {total / needed:.3f} asked for by lanes")
    assert abs(unique / needed - 1) <= 0.02
