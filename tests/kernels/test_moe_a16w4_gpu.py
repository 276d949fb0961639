"""The MoE layer on a GPU, at GPT-OSS-120B's sizes, with the shipped configurations."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
import torch

from tunefork.bench.kernels.tune import candidates, warm
from tunefork.kernels.moe_a16w4 import GemmConfig, LayerConfig, MoeShape, fused_moe, make_workspace, pick, prepare_weights, restore_weights
from tunefork.kernels.moe_a16w4.launch import Workspace, _run, prepare, workspace_size
from tunefork.kernels.moe_a16w4.plan import Case, buffers, held, interleaved, plan
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference
from tunefork.kernels.moe_a16w4.weights import Weights
from tunefork.kernels.mxfp4 import dequantize

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]

H, E = 2880, 128
TOLERANCE = 4e-3
TOKENS = (1, 2, 3, 4, 7, 8, 16, 31, 32, 64, 128, 256, 1024, 4096)
TPS = (1, 2, 4, 8)
Plain = tuple[torch.Tensor, ...]
_CACHE: dict[int, tuple[Plain, Weights]] = {}


@pytest.fixture(autouse=True)
def full_precision_reference() -> None:
    torch.backends.cuda.matmul.allow_tf32 = False


def layer(tp: int) -> tuple[Plain, Weights]:
    """Weights of one size; only one size is kept."""
    if tp not in _CACHE:
        _CACHE.clear()
        gen = torch.Generator("cuda").manual_seed(tp)

        def matrix(rows: int, cols: int) -> Plain:
            return (torch.randint(0, 256, (E, rows, cols // 2), dtype=torch.uint8, device="cuda", generator=gen),
                    torch.randint(116, 122, (E, rows, -(-cols // 32)), dtype=torch.uint8, device="cuda", generator=gen),
                    torch.randn(E, rows, device="cuda", generator=gen).bfloat16())

        plain = (*matrix(2 * H // tp, H), *matrix(H, H // tp))
        _CACHE[tp] = plain, prepare_weights(*plain)
    return _CACHE[tp]


def tokens_like(count: int, routing: str) -> tuple[torch.Tensor, torch.Tensor]:
    gen = torch.Generator("cuda").manual_seed(count)
    x = torch.randn(count, H, device="cuda", generator=gen).bfloat16()
    logits = torch.randn(count, E, device="cuda", generator=gen)
    if routing == "one set":
        logits[:, 5:9] += 50
    elif routing == "each its own":
        logits = torch.full_like(logits, -5.0)
        start = torch.arange(count, device="cuda") * 4
        for choice in range(4):
            logits[torch.arange(count), (start + choice) % E] = 4.0 - choice
    elif routing == "few experts":
        logits[:, 10:] -= 50
    elif routing == "ties":
        logits = (logits * 1.5).round()
    return x, logits.bfloat16() if routing != "random fp32" else logits


def run(plain: Plain, weights: Weights, x: torch.Tensor, logits: torch.Tensor, **options: Any) -> float:
    """Poisoned output and workspace -> relative error."""
    out = torch.full((x.shape[0], H), float("nan"), device="cuda").bfloat16()
    space = make_workspace(weights, x.shape[0], experts=logits.shape[1])
    space.memory.fill_(255)
    fused_moe(x, logits, weights, out=out, workspace=space, **options)
    want = fused_moe_reference(x, logits, plain, **{k: v for k, v in options.items() if k in ("alpha", "limit", "expert_map")})
    assert out.isfinite().all(), "an element was not written, or is not finite"
    return float((out.float() - want).norm() / want.norm())


@pytest.mark.parametrize("tp", TPS)
@pytest.mark.parametrize("count", TOKENS)
def test_random_routing(tp: int, count: int) -> None:
    assert run(*layer(tp), *tokens_like(count, "random")) <= TOLERANCE


@pytest.mark.parametrize("tp", TPS)
@pytest.mark.parametrize("routing", ["one set", "each its own", "few experts", "ties", "random fp32"])
@pytest.mark.parametrize("count", [1, 4, 8, 16, 64, 200, 1024])
def test_adversarial_routing(tp: int, routing: str, count: int) -> None:
    assert run(*layer(tp), *tokens_like(count, routing)) <= TOLERANCE


@pytest.mark.parametrize("tp", TPS)
def test_weights_come_back_exactly(tp: int) -> None:
    plain, weights = layer(tp)
    assert all(torch.equal(a, b) for a, b in zip(restore_weights(weights), plain, strict=True))


@pytest.mark.parametrize(("count", "live"), [(8, 3), (16, 9), (64, 40), (256, 130), (1024, 1), (4, 0), (5000, 4099)])
def test_padded_rows_may_hold_nan_and_are_left_alone(count: int, live: int) -> None:
    plain, weights = layer(8)
    x, logits = tokens_like(count, "random")
    x[live:], logits[live:] = float("nan"), float("nan")
    out = torch.full_like(x, float("nan"))
    space = make_workspace(weights, count)
    space.memory.fill_(255)
    fused_moe(x, logits, weights, out=out, workspace=space, num_live=torch.tensor([live], dtype=torch.int32, device="cuda"))
    assert out[live:].isnan().all()
    if live:
        want = fused_moe_reference(x[:live], logits[:live], plain)
        assert float((out[:live].float() - want).norm() / want.norm()) <= TOLERANCE


@pytest.mark.parametrize("count", [1, 5, 8, 40, 300, 1024])
def test_expert_parallel_ranks_add_up(count: int) -> None:
    plain, _ = layer(8)
    x, logits = tokens_like(count, "random")
    total = torch.zeros(count, H, device="cuda")
    for rank in range(2):
        mine = slice(rank * 64, rank * 64 + 64)
        emap = torch.full((E,), -1, dtype=torch.int32, device="cuda")
        emap[mine] = torch.arange(64, dtype=torch.int32, device="cuda")
        part = tuple(t[mine].contiguous() for t in plain)
        weights = prepare_weights(*part)
        assert run(part, weights, x, logits, expert_map=emap) <= TOLERANCE
        total += fused_moe(x, logits, weights, expert_map=emap).float()
    want = fused_moe_reference(x, logits, plain)
    assert float((total - want).norm() / want.norm()) <= 1.5 * TOLERANCE


@pytest.mark.parametrize("count", [1, 8, 64, 300])
def test_rows_may_be_strided(count: int) -> None:
    plain, weights = layer(8)
    x, logits = tokens_like(count, "random")
    wide = torch.full((count, 2 * H), float("nan"), device="cuda").bfloat16()
    wide[:, :H] = x
    out = torch.full((count, 3 * H), 7.0, device="cuda").bfloat16()
    fused_moe(wide[:, :H], torch.cat((logits, logits), 1)[:, :E], weights, out=out[:, H : 2 * H])
    want = fused_moe_reference(x, logits, plain)
    assert float((out[:, H : 2 * H].float() - want).norm() / want.norm()) <= TOLERANCE
    assert bool((out[:, :H] == 7).all() & (out[:, 2 * H :] == 7).all())


@pytest.mark.parametrize("count", [1, 8, 16, 64, 128, 1024])
def test_graph_replay_follows_its_inputs_and_repeats_bit_for_bit(count: int) -> None:
    plain, weights = layer(8)
    x, logits = tokens_like(count, "random")
    live = torch.tensor([count], dtype=torch.int32, device="cuda")
    out, space = torch.empty_like(x), make_workspace(weights, count)
    fused_moe(x, logits, weights, out=out, workspace=space, num_live=live)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        fused_moe(x, logits, weights, out=out, workspace=space, num_live=live)
    x.copy_(x.flip(0) * 0.5)
    logits.copy_(logits.flip(1))
    graph.replay()
    first = out.clone()
    want = fused_moe_reference(x, logits, plain)
    assert float((first.float() - want).norm() / want.norm()) <= TOLERANCE
    for _ in range(20):
        graph.replay()
        assert torch.equal(out, first)


@pytest.mark.parametrize("given", [True, False])
def test_a_plan_made_during_capture_serves_and_is_served(given: bool) -> None:
    """The first call after the plans are forgotten is captured; calls of another size share its workspace before the replay."""
    _, weights = layer(8)
    (x, logits), (wide, more) = tokens_like(8, "random"), tokens_like(300, "random")
    space = make_workspace(weights, 300) if given else None
    out, other = torch.empty_like(x), torch.empty_like(wide)
    for _ in range(2):  # compiled and loaded; a capture may do neither
        fused_moe(x, logits, weights, out=out)
        fused_moe(wide, more, weights, out=other)
    alone = out.clone(), other.clone()
    prepare.cache_clear()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        fused_moe(x, logits, weights, out=out, workspace=space)
    for _ in range(3):
        out.fill_(float("nan")), other.fill_(float("nan"))
        fused_moe(wide, more, weights, out=other, workspace=space)
        graph.replay()
        assert torch.equal(out, alone[0]) and torch.equal(other, alone[1])
        fused_moe(x, logits, weights, out=out, workspace=space)
        assert torch.equal(out, alone[0])


@pytest.mark.parametrize("count", [1, 16, 64, 1024])
def test_limits_clamp_on_both_sides(count: int) -> None:
    plain, weights = layer(8)
    x, logits = tokens_like(count, "random")
    assert run(plain, weights, x * 40, logits) <= TOLERANCE
    assert run(plain, weights, x, logits, alpha=0.9, limit=1.5) <= TOLERANCE


@pytest.mark.parametrize("count", [1, 8, 16, 1024])
def test_scales_over_their_whole_range(count: int) -> None:
    """Down to 2**-127 and, where 6 * 2**(s - 127) is finite, up to 252: activations are scaled so that the sums stay finite."""
    small, cols = 8, 40
    gen = torch.Generator("cuda").manual_seed(3)

    def matrix(rows: int, k: int, low: int, high: int) -> Plain:
        return (torch.randint(0, 256, (small, rows, k // 2), dtype=torch.uint8, device="cuda", generator=gen),
                torch.randint(low, high, (small, rows, -(-k // 32)), dtype=torch.uint8, device="cuda", generator=gen),
                torch.zeros(small, rows, device="cuda").bfloat16())

    logits = torch.randn(count, small, device="cuda")
    for low, high, factor in ((0, 60, 1.0), (200, 230, 2.0**-110), (126, 132, 0.01)):
        plain = (*matrix(2 * cols, H, low, high), *matrix(H, cols, 110, 130))
        weights = prepare_weights(*plain)
        assert weights.layout13.wide == (high > 129)
        x = (torch.randn(count, H, device="cuda") * factor).bfloat16()
        out = fused_moe(x, logits, weights)
        want = fused_moe_reference(x, logits, plain)
        assert float((out.float() - want).norm() / want.norm().clamp(min=1e-30)) <= TOLERANCE or float(want.abs().max()) == 0


@pytest.mark.slow
@pytest.mark.parametrize(("inter", "count"), [(360, 64), (360, 1024), (360, 2048), (2880, 64), (2880, 1024)])
def test_the_whole_space_of_the_tuner_repeats_bit_for_bit(inter: int, count: int) -> None:
    """Each GEMM in a layer as it would be shipped; the workspace is poisoned in two ways, so that a read of what nobody wrote shows as well."""
    shape = MoeShape(H, inter, E)
    layers = [found.layer(shape.topk) for found in candidates("sm90", shape, count) if found.order == "sorted"]
    layers = list(dict.fromkeys(replace(found, overlap=True, partial="bf16" if found.down.tiled else "fp32") for found in layers))
    assert len(layers) >= 40
    warm([(Case("sm90", shape, count, E), found) for found in layers], os.cpu_count() or 1)
    _, weights = layer(H // inter)
    x, logits = tokens_like(count, "random")
    changed = []
    for config in layers:
        out, space = torch.empty_like(x), make_workspace(weights, count, config=config)
        first = None
        differ = torch.zeros((), dtype=torch.int64, device="cuda")
        for repeat in range(60):
            space.memory.fill_(255 if repeat % 2 else 0x3F)
            fused_moe(x, logits, weights, out=out, workspace=space, config=config)
            first = out.clone() if first is None else first
            differ += (out.view(torch.int16) != first.view(torch.int16)).any()
        if int(differ) or not bool(out.isfinite().all()):
            changed.append((int(differ), config))
    assert not changed, f"{len(changed)} of {len(layers)} layers: {changed[:3]}"


@pytest.mark.parametrize("count", [1024, 2048])
def test_the_row_that_raced_repeats_bit_for_bit(count: int) -> None:
    """Before each chunk's products were waited for, 24 to 100 % of its repeats differed from the first (H200, Triton 3.6.0)."""
    up = GemmConfig(4, 1, 2, 64, ahead=False, tiled=True, rest=32)
    config = LayerConfig("sorted", up, replace(up, wn=8, r=1), partial="bf16", overlap=True)
    _, weights = layer(8)
    x, logits = tokens_like(count, "random")
    first = fused_moe(x, logits, weights, config=config)
    for _ in range(300):
        assert torch.equal(fused_moe(x, logits, weights, config=config), first)


@pytest.mark.parametrize(("hidden", "inter", "experts", "topk"), [(4096, 1536, 128, 8), (2880, 2880, 32, 4), (2880, 360, 32, 4), (4096, 1792, 8, 2), (2048, 768, 16, 1)])
@pytest.mark.parametrize("count", [1, 2, 4, 8, 16, 64, 300, 1024])
def test_other_layers_are_right_by_the_rule(hidden: int, inter: int, experts: int, topk: int, count: int) -> None:
    gen = torch.Generator("cuda").manual_seed(1)

    def matrix(rows: int, cols: int) -> Plain:
        return (torch.randint(0, 256, (experts, rows, cols // 2), dtype=torch.uint8, device="cuda", generator=gen),
                torch.randint(116, 122, (experts, rows, cols // 32 + (cols % 32 > 0)), dtype=torch.uint8, device="cuda", generator=gen),
                torch.randn(experts, rows, device="cuda", generator=gen).bfloat16())

    plain = (*matrix(2 * inter, hidden), *matrix(hidden, inter))
    weights = prepare_weights(*plain)
    x = torch.randn(count, hidden, device="cuda", generator=gen).bfloat16()
    logits = torch.randn(count, experts, device="cuda", generator=gen)
    out, space = torch.full_like(x, float("nan")), make_workspace(weights, count, topk=topk)
    space.memory.fill_(255)
    fused_moe(x, logits, weights, topk, out=out, workspace=space)
    want = fused_moe_reference(x, logits, plain, topk)
    assert float((out.float() - want).norm() / want.norm()) <= TOLERANCE


def one_hot(size: int, interleave: bool) -> torch.Tensor:
    """Rows of the identity, as the down GEMM reads them."""
    rows = torch.eye(size, device="cuda").bfloat16()
    if not interleave:
        return rows
    rows = torch.nn.functional.pad(rows, (0, held(size) - size))
    return rows.view(size, -1, 4, 4, 2).transpose(2, 3).reshape(size, -1)


@pytest.mark.parametrize("config", [
    LayerConfig("sorted", GemmConfig(1, 4, 1, 16), GemmConfig(2, 2, 2, 16)),
    *(LayerConfig("sorted", GemmConfig(4, 1, 1, 32, ahead=False, tiled=True), GemmConfig(4, 1, 2, 32, ahead=False, unroll=parts, tiled=True, rest=16))
      for parts in (1, 2, 4)),
], ids=["streamed", "tiled", "tiled in 2 parts", "tiled in 4 parts"])  # fmt: skip
@pytest.mark.parametrize("inter", [360, 136, 2880])
def test_one_hot_activations_decode_every_weight_bit_exactly(config: LayerConfig, inter: int) -> None:
    """The down GEMM alone, gates 1, biases 0: row k of its output is column k of w2."""
    experts = 4
    gen = torch.Generator("cuda").manual_seed(5)
    values = torch.randint(0, 256, (experts, H, inter // 2), dtype=torch.uint8, device="cuda", generator=gen)
    scales = torch.randint(0, 129, (experts, H, -(-inter // 32)), dtype=torch.uint8, device="cuda", generator=gen)
    up = torch.zeros(experts, 2 * inter, H // 2, dtype=torch.uint8, device="cuda")
    weights = prepare_weights(up, torch.full((experts, 2 * inter, 90), 127, dtype=torch.uint8, device="cuda"),
                              torch.zeros(experts, 2 * inter, device="cuda").bfloat16(), values, scales, torch.zeros(experts, H, device="cuda").bfloat16())
    case = Case(weights.layout13.arch, MoeShape(H, inter, experts), inter, experts)
    sizes = buffers(case, config)
    env: dict[str, Any] = {
        **Workspace(torch.zeros(workspace_size(sizes), dtype=torch.uint8, device="cuda")).views(sizes), "x": torch.zeros(inter, H, device="cuda").bfloat16(),
        "x_stride": H, "logits": torch.zeros(inter, experts, device="cuda").bfloat16(), "logits_stride": experts, "out": None, "out_stride": H,
        "w13": weights.w13, "s13": weights.s13, "s13_32": weights.s13.view(torch.int32), "b13": weights.b13, "w2": weights.w2, "s2": weights.s2,
        "s2_32": weights.s2.view(torch.int32), "b2": weights.b2, "M": inter, "programs": -(-inter // 16), "alpha": 1.702, "limit": 7.0,
    }  # fmt: skip
    env["out"] = torch.empty(inter, H, device="cuda").bfloat16()
    steps = plan(case, config)
    for step in steps:
        if step.kernel.__name__.startswith("route"):
            _run(step, env)
    env["gates"].fill_(1.0)
    # Every token takes all four experts; in expert order token t of expert e stands at e * inter + t.
    env["h"].view(experts, inter, -1).copy_(one_hot(inter, interleaved(case, config.down)))
    _run(next(step for step in steps if step.kernel.__name__.startswith("down")), env)
    ids, want = env["ids"].view(inter, 4).long(), dequantize(values, scales)
    token = torch.arange(inter, device="cuda")[:, None].expand(inter, 4)
    got = env["part"].view(inter, 4, H)
    pairs = env["pairs"].view(experts, inter)
    assert torch.equal(pairs // 4, torch.arange(inter, device="cuda").expand(experts, inter).int())
    assert torch.equal(got, want[ids, :, token])


def test_the_table_of_this_gpu_is_used() -> None:
    _, weights = layer(8)
    assert pick(weights.layout13.arch, MoeShape(H, 360, E), 1).order == "slot"
