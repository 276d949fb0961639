"""`fused_moe` called again: nothing is made twice, nothing is held, and what calls of other sizes and layers did in between does not show."""

from __future__ import annotations

import gc
import weakref
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from loading import module

from tunefork.base.errors import BadInput
from tunefork.kernels.amdgcn.driver import on_gfx950
from tunefork.kernels.arch import GFX950
from tunefork.kernels.moe_a16w4 import GemmConfig, LayerConfig, Weights, fused_moe, launch, make_workspace, prepare_weights
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference

layer = module("moe_layer_on_gfx950", Path(__file__).with_name("layer.py"))

HIDDEN, INTER, EXPERTS, TOPK = 64, 40, 8, layer.TOPK


def inputs(tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    gen = torch.Generator().manual_seed(tokens)
    return torch.randn(tokens, HIDDEN, generator=gen).bfloat16(), torch.randn(tokens, EXPERTS, generator=gen)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is made, by name; no kernel runs."""
    names: list[str] = []

    def counted(name: str) -> Any:
        real = getattr(launch, name)

        def call(*arguments: Any) -> Any:
            names.append(name)
            return real(*arguments)

        return call

    for name in ("plan", "buffers", "illegal", "pick"):
        monkeypatch.setattr(launch, name, counted(name))
    monkeypatch.setattr(launch, "_run", lambda step, env: None)
    launch.prepare.cache_clear()
    return names


@pytest.fixture
def weights() -> Weights:
    return prepare_weights(*layer.plain_weights(HIDDEN, INTER, EXPERTS), GFX950.name)


def test_a_second_call_makes_nothing(made: list[str], weights: Weights) -> None:
    (x, logits), (wide, more) = inputs(1), inputs(20)
    space = make_workspace(weights, 20)
    made.clear()
    with on_gfx950():
        fused_moe(x, logits, weights, TOPK, workspace=space)
        assert sorted(made) == ["buffers", "illegal", "pick", "plan"]
        fused_moe(wide, more, weights, TOPK, workspace=space)
        held, tensors = dict(space._carved), weights.arguments
        made.clear()
        for _ in range(3):
            fused_moe(x, logits, weights, TOPK, workspace=space)
            fused_moe(wide, more, weights, TOPK, workspace=space)
            fused_moe(x, logits, weights, TOPK)
    assert made == [] and weights.arguments is tensors
    assert len(held) == 2 and all(space._carved[prepared] is buffers for prepared, buffers in held.items())


def test_another_layer_of_the_same_shape_makes_no_other_plan(made: list[str], weights: Weights) -> None:
    x, logits = inputs(1)
    with on_gfx950():
        fused_moe(x, logits, weights, TOPK)
        made.clear()
        fused_moe(x, logits, prepare_weights(*layer.plain_weights(HIDDEN, INTER, EXPERTS, seed=1), GFX950.name), TOPK)
    assert made == []


def test_neither_weights_nor_workspaces_are_kept(made: list[str], weights: Weights) -> None:
    x, logits = inputs(1)
    other = prepare_weights(*layer.plain_weights(HIDDEN, INTER, EXPERTS, seed=1), GFX950.name)
    space = make_workspace(other, 1)
    watched = [weakref.ref(part) for part in (other, other.w13, other.s13, space, space.memory)]
    with on_gfx950():
        fused_moe(x, logits, other, TOPK, workspace=space)
    del other, space
    gc.collect()
    assert launch.prepare.cache_info().currsize == 1 and [part() for part in watched] == [None] * len(watched)


def test_what_is_kept_is_bounded(made: list[str], weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    """More sizes than the limit: the workspace forgets their buffers together with their plans."""
    assert launch.prepare.cache_info().maxsize == launch.PREPARED
    monkeypatch.setattr(launch, "prepare", lru_cache(maxsize=3)(launch.prepare.__wrapped__))
    space = make_workspace(weights, 8)
    with on_gfx950():
        for tokens in range(1, 9):
            fused_moe(*inputs(tokens), weights, TOPK, workspace=space)
    gc.collect()
    assert len(space._carved) == launch.prepare.cache_info().currsize == 3


def test_a_refused_configuration_is_refused_again(made: list[str], weights: Weights) -> None:
    slot = LayerConfig("slot", GemmConfig(1, 1, 1, 16), GemmConfig(1, 4, 1, 16))
    with on_gfx950():
        for _ in range(2):
            with pytest.raises(BadInput, match="slot order needs M <= up.bm"):
                fused_moe(*inputs(20), weights, TOPK, config=slot)


@pytest.mark.slow
def test_sizes_and_layers_in_turn_give_what_each_gave_alone() -> None:
    """Two layers, two sizes of different order, one workspace for all: the bits of the first round come back."""
    plains = [layer.plain_weights(HIDDEN, INTER, EXPERTS, seed=seed) for seed in (0, 1)]
    layers = [prepare_weights(*plain, GFX950.name) for plain in plains]
    space = make_workspace(layers[0], 20)
    first: dict[tuple[int, int], torch.Tensor] = {}
    with on_gfx950():
        for turn in range(2):
            for tokens in (1, 20):
                for at, weights in enumerate(layers):
                    x, logits = inputs(tokens)
                    found = fused_moe(x, logits, weights, TOPK, workspace=space if turn else None)
                    want = fused_moe_reference(x, logits, plains[at], TOPK)
                    assert float((found.float() - want).norm() / want.norm()) <= layer.TOLERANCE
                    assert torch.equal(found, first.setdefault((tokens, at), found))
    assert not torch.equal(first[1, 0], first[1, 1])
