"""What random weights are: seeded by their names, told apart by them, at a scale that routes like a model."""

from __future__ import annotations

from typing import Any

import pytest

from vllm_overrides.random_mxfp4 import SCALES, fill

torch = pytest.importorskip("torch", reason="NOT TESTED: needs torch (`python3 build.py develop`)")

LAYER = "model.layers.3.mlp.experts.routed_experts."


def filled(name: str, *shape: int, dtype: Any = None) -> Any:
    data = torch.full(shape, 7, dtype=dtype or torch.bfloat16)
    fill(name, data)
    return data


def test_a_name_is_a_seed() -> None:
    first, again, other = (filled(f"model.layers.{n}.attn.qkv.weight", 64, 256) for n in (0, 0, 1))
    assert bool((first == again).all()) and float((first == other).float().mean()) < 0.1


def test_codes_fill_the_byte_and_scales_their_range() -> None:
    codes = filled(LAYER + "w13_weight", 64, 256, dtype=torch.uint8)
    assert codes.unique().numel() == 256
    scales = filled(LAYER + "w13_weight_scale", 64, 256, dtype=torch.uint8)
    assert (int(scales.min()), int(scales.max())) == SCALES


@pytest.mark.parametrize(
    ("name", "spread"),
    [("model.embed_tokens.weight", 1.0), ("model.layers.0.mlp.router.weight", 2880**-0.5), (LAYER + "w2_bias", 0.02), ("model.layers.0.attn.sinks", 0.02)],
)
def test_spreads(name: str, spread: float) -> None:
    assert float(filled(name, 64, 2880).float().std()) == pytest.approx(spread, rel=0.02)


def test_norms_are_ones() -> None:
    assert bool((filled("model.layers.0.input_layernorm.weight", 64) == 1).all())


def test_routing_spreads_as_a_models() -> None:
    """16 tokens of unit activations reach about the experts that 64 even draws would: 128 (1 - (1 - 4/128)^16) = 51."""
    router = filled("model.layers.5.mlp.router.weight", 128, 2880).float()
    generator = torch.Generator().manual_seed(1)
    reached = [torch.randn(16, 2880, generator=generator).matmul(router.T).topk(4).indices.unique().numel() for _ in range(20)]
    assert 46 < sum(reached) / len(reached) < 56
