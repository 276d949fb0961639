"""Kernels compiled beside a server's start: one process for a model, asked for what its layers will launch."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
import torch

from tunefork.kernels import warming
from tunefork.kernels.moe_a16w4 import Weights
from tunefork.kernels.moe_a16w4.config import MoeShape
from tunefork.kernels.mxfp4 import FragmentLayout
from vllm_overrides.moe_a16w4 import ahead


@pytest.fixture
def weights() -> Weights:
    none = torch.zeros(64, 0)
    return Weights(none, none, none, none, none, none, FragmentLayout("sm90", 768, 2880, interleaved=True, wide=True), FragmentLayout("sm90", 2880, 384))


def test_the_command_asks_for_the_layer_as_it_is(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def wanted(arch: str, shape: MoeShape, tokens: Any, **more: Any) -> list[Any]:
        asked.update(arch=arch, shape=shape, tokens=list(tokens), **{**more, "live": tuple(more["live"])})
        return []

    monkeypatch.setattr(warming, "wanted", wanted)
    monkeypatch.setattr(warming, "warm", lambda _jobs, _processes: [])
    words = ahead.command(weights, (1, 2, 4), 4, 128)
    assert words[1:3] == ["-m", "tunefork.kernels.warming"]
    assert warming.main(words[3:]) == 0
    assert asked == {"arch": "sm90", "shape": MoeShape(2880, 384, weights.experts), "tokens": [1, 2, 4], "wide": (True, False), "live": (True, False),
                     "routed": 128}  # fmt: skip
    assert "--routed" not in ahead.command(weights, (1,), 4, None)


def test_one_process_for_all_layers_and_none_without_capture_sizes(weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(subprocess, "Popen", lambda argv, **_: started.append(argv))
    ahead.start.cache_clear()
    ahead.compile_ahead(weights, (), 4, None)
    assert started == []
    for _ in range(3):
        ahead.compile_ahead(weights, (1, 2), 4, None)
    assert len(started) == 1 and started[0][-2:] == ["1", "2"]
    ahead.start.cache_clear()
