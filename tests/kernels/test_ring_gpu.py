"""The layer with a ring on a GPU, at GPT-OSS-120B's sizes: errors, repeats, what it must leave alone. Slower and wider: sh studies/gluon_up/parts.sh checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.kernels.test_moe_a16w4_gpu import TOLERANCE, H, Plain, layer, tokens_like
from tunefork.kernels.moe_a16w4 import LayerConfig, fused_moe, make_workspace, prepare_weights
from tunefork.kernels.moe_a16w4.config import RINGS
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]

TILES = {f"128x{gemm.bm + gemm.extra}": LayerConfig("sorted", gemm, gemm, partial="bf16", overlap=True) for _, gemm in RINGS}


@pytest.fixture(autouse=True)
def full_precision_reference() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before


def run(plain: Plain, weights: Any, x: torch.Tensor, logits: torch.Tensor, config: LayerConfig, repeats: int = 3, **options: Any) -> float:
    """The error from a poisoned workspace; the other poison's results must be the same, bit for bit."""
    space = make_workspace(weights, x.shape[0], experts=logits.shape[1], config=config)
    out, first = torch.empty(x.shape[0], H, device="cuda").bfloat16(), None
    for repeat in range(repeats):
        space.memory.fill_(0x3F if repeat % 2 else 255)
        out.fill_(float("nan"))
        fused_moe(x, logits, weights, out=out, workspace=space, config=config, **options)
        first = out.clone() if first is None else first
        assert torch.equal(out, first), f"repeat {repeat} differs"
    want = fused_moe_reference(x, logits, plain, **{k: v for k, v in options.items() if k in ("alpha", "limit", "expert_map")})
    assert out.isfinite().all(), "an element was not written, or is not finite"
    return float((out.float() - want).norm() / want.norm())


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("count", [65, 300, 1000, 4096])
@pytest.mark.parametrize("tp", [8, 1, 2, 4])
def test_random_routing(tp: int, count: int, tile: str) -> None:
    assert run(*layer(tp), *tokens_like(count, "random"), TILES[tile], repeats=20) <= TOLERANCE


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("routing", ["one set", "each its own", "few experts", "ties", "random fp32"])
@pytest.mark.parametrize("count", [64, 200, 1024])
def test_adversarial_routing(routing: str, count: int, tile: str) -> None:
    assert run(*layer(8), *tokens_like(count, routing), TILES[tile]) <= TOLERANCE


@pytest.mark.parametrize("tile", TILES)
def test_padded_rows_may_hold_nan_and_are_left_alone(tile: str) -> None:
    plain, weights = layer(8)
    x, logits = tokens_like(5000, "random")
    x[4099:], logits[4099:] = float("nan"), float("nan")
    out, space = torch.full_like(x, float("nan")), make_workspace(weights, 5000, config=TILES[tile])
    space.memory.fill_(255)
    fused_moe(x, logits, weights, out=out, workspace=space, config=TILES[tile], num_live=torch.tensor([4099], dtype=torch.int32, device="cuda"))
    assert out[4099:].isnan().all()
    want = fused_moe_reference(x[:4099], logits[:4099], plain)
    assert float((out[:4099].float() - want).norm() / want.norm()) <= TOLERANCE


@pytest.mark.parametrize("tile", TILES)
def test_an_expert_parallel_rank_has_its_part(tile: str) -> None:
    plain, _ = layer(8)
    emap = torch.full((128,), -1, dtype=torch.int32, device="cuda")
    emap[64:] = torch.arange(64, dtype=torch.int32, device="cuda")
    part = tuple(each[64:].contiguous() for each in plain)
    assert run(part, prepare_weights(*part), *tokens_like(1024, "random"), TILES[tile], expert_map=emap) <= TOLERANCE


@pytest.mark.parametrize("tile", TILES)
def test_limits_strides_and_parts_in_fp32(tile: str) -> None:
    plain, weights = layer(8)
    x, logits = tokens_like(700, "random")
    assert run(plain, weights, x * 40, logits, TILES[tile]) <= TOLERANCE
    assert run(plain, weights, x, logits, TILES[tile], alpha=0.9, limit=1.5) <= TOLERANCE
    wide = torch.full((700, 2 * H), float("nan"), device="cuda").bfloat16()
    wide[:, :H] = x
    assert run(plain, weights, wide[:, :H], logits, TILES[tile]) <= TOLERANCE
    gemm = TILES[tile].up
    least = replace(gemm, ring=max(gemm.ring, gemm.wn * gemm.r // 2))
    assert run(plain, weights, x, logits, replace(TILES[tile], up=least, down=least, partial="fp32")) <= TOLERANCE


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(("hidden", "inter", "high"), [(4096, 1536, 122), (2880, 136, 122), (2048, 768, 130)])
def test_other_ends_of_k_and_wide_scales(hidden: int, inter: int, high: int, tile: str) -> None:
    gen = torch.Generator("cuda").manual_seed(1)

    def matrix(rows: int, cols: int) -> Plain:
        return (torch.randint(0, 256, (8, rows, cols // 2), dtype=torch.uint8, device="cuda", generator=gen),
                torch.randint(116, high, (8, rows, -(-cols // 32)), dtype=torch.uint8, device="cuda", generator=gen),
                torch.randn(8, rows, device="cuda", generator=gen).bfloat16())

    plain = (*matrix(2 * inter, hidden), *matrix(hidden, inter))
    weights = prepare_weights(*plain)
    assert weights.layout13.wide == (high > 129)
    x = (torch.randn(700, hidden, device="cuda", generator=gen) * (0.01 if high > 129 else 1.0)).bfloat16()
    logits = torch.randn(700, 8, device="cuda", generator=gen)
    out, space = torch.full_like(x, float("nan")), make_workspace(weights, 700, config=TILES[tile])
    space.memory.fill_(255)
    fused_moe(x, logits, weights, out=out, workspace=space, config=TILES[tile])
    want = fused_moe_reference(x, logits, plain)
    assert float((out.float() - want).norm() / want.norm()) <= TOLERANCE


@pytest.mark.parametrize("tile", TILES)
def test_graph_replay_follows_its_inputs_and_repeats_bit_for_bit(tile: str) -> None:
    """A descriptor of TMA is a launch's argument: the replay has the one that was captured."""
    plain, weights = layer(8)
    x, logits = tokens_like(1024, "random")
    out, space = torch.empty_like(x), make_workspace(weights, 1024, config=TILES[tile])
    fused_moe(x, logits, weights, out=out, workspace=space, config=TILES[tile])
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(2):  # a layer behind another: the copy of x lies where the parts were
            fused_moe(x, logits, weights, out=out, workspace=space, config=TILES[tile])
    x.copy_(x.flip(0) * 0.5)
    logits.copy_(logits.flip(1))
    graph.replay()
    first = out.clone()
    want = fused_moe_reference(x, logits, plain)
    assert float((first.float() - want).norm() / want.norm()) <= TOLERANCE
    for _ in range(20):
        graph.replay()
        assert torch.equal(out, first)
