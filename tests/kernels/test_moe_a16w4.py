"""The MoE layer without a GPU: in Triton's interpreter, on both weight layouts; configurations, tables, errors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tunefork.base.errors import BadInput
from tunefork.kernels.moe_a16w4.config import GemmConfig, LayerConfig, MoeShape, ends, illegal, is_tuned, pick, table
from tunefork.kernels.moe_a16w4.launch import fused_moe, make_workspace, workspace_size
from tunefork.kernels.moe_a16w4.plan import Case, buffers, plan
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference, route, swiglu_oai
from tunefork.kernels.moe_a16w4.weights import prepare_weights, restore_weights
from tunefork.kernels.mxfp4 import dequantize

TPS = (360, 720, 1440, 2880)
NAMES = [f"{arch} {kind}" for arch in ("sm90", "gfx950") for kind in ("slot", "slot split", "sorted fused", "sorted mapped")] + ["sm90 tiled", "sm90 tiled rest"]
NAMES += ["sm90 tiled in 2 parts", "sm90 tiled in 4 parts", "sm90 slot other K_WIDTH", "sm90 sorted fused other K_WIDTH"]


@pytest.fixture(scope="module")
def interpreted(cases: Any) -> dict[str, dict[str, Any]]:
    return cases("moe_a16w4_interpreted.py")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_element_lies_where_the_arithmetic_puts_it_in_the_interpreter(name: str, interpreted: dict[str, dict[str, Any]]) -> None:
    """enclosure.py derives the intervals, the interpreter's way of storing bf16 included; most are single points, or they would say little."""
    found = interpreted[name]
    assert found["finite"] and found["outside"] == 0
    assert found["wide"] < 0.5
    assert found["untouched"], "a padded row was written"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_intervals_tell_truncation_from_rounding(name: str, interpreted: dict[str, dict[str, Any]]) -> None:
    assert interpreted[name]["outside_other"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["nibble order", "scale off by one", "missing bias", "gate and up swapped"])
@pytest.mark.parametrize("name", NAMES)
def test_the_comparison_sees_seeded_faults(name: str, fault: str, interpreted: dict[str, dict[str, Any]]) -> None:
    assert interpreted[name]["faults"][fault] > 0.04


def test_reference_against_a_loop_over_tokens() -> None:
    torch.manual_seed(0)
    weights = tiny()
    x, logits = torch.randn(3, 48), torch.randn(3, 6)
    w13, w2 = dequantize(weights[0], weights[1]), dequantize(weights[3], weights[4])
    got = fused_moe_reference(x, logits, weights, topk=2)
    for token in range(3):
        best = sorted(range(6), key=lambda e: -float(logits[token, e]))[:2]
        power = torch.exp(logits[token, best].double())
        want = torch.zeros(48, dtype=torch.float64)
        for expert, weight in zip(best, power / power.sum(), strict=True):
            a = w13[expert].double() @ x[token].double() + weights[2][expert].double()
            gate, up = a[0::2].clamp(max=7), a[1::2].clamp(-7, 7)
            h = (up + 1) * gate / (1 + torch.exp(-1.702 * gate))
            want += weight * (w2[expert].double() @ h + weights[5][expert].double())
        assert torch.allclose(got[token].double(), want, rtol=1e-4, atol=1e-5)


def tiny() -> tuple[torch.Tensor, ...]:
    def matrix(rows: int, cols: int) -> tuple[torch.Tensor, ...]:
        return (torch.randint(0, 256, (6, rows, cols // 2), dtype=torch.uint8), torch.randint(118, 126, (6, rows, -(-cols // 32)), dtype=torch.uint8),
                torch.randn(6, rows).bfloat16())

    return (*matrix(32, 48), *matrix(48, 16))


@pytest.mark.slow
def test_the_float32_reference_stands_for_float64_at_the_models_depth() -> None:
    """An error against the reference is one against float64 to within 2e-6 of the result, at GPT-OSS-120B's full K in both products."""
    gen, size = torch.Generator().manual_seed(3), 2880

    def matrix(rows: int) -> tuple[torch.Tensor, ...]:
        return (torch.randint(0, 256, (2, rows, size // 2), dtype=torch.uint8, generator=gen),
                torch.randint(119, 124, (2, rows, size // 32), dtype=torch.uint8, generator=gen), torch.randn(2, rows, generator=gen).bfloat16())

    plain = (*matrix(2 * size), *matrix(size))
    w13, s13, b13, w2, s2, b2 = plain
    x, logits = torch.randn(3, size, generator=gen).bfloat16(), torch.randn(3, 2, generator=gen).bfloat16()
    want = torch.zeros(3, size, dtype=torch.float64)
    for expert, gate in enumerate(torch.softmax(logits.double(), 1).T):
        both = x.double() @ dequantize(w13[expert], s13[expert]).double().T + b13[expert].double()
        g, up = both[:, 0::2].clamp(max=7.0), both[:, 1::2].clamp(-7.0, 7.0)
        part = ((up + 1) * g / (1 + torch.exp(-1.702 * g))) @ dequantize(w2[expert], s2[expert]).double().T + b2[expert].double()
        want += gate[:, None] * part
    got = fused_moe_reference(x, logits, plain, topk=2)
    assert float((got.double() - want).norm() / want.norm()) <= 2e-6


def test_ties_go_to_the_lower_expert_and_weights_sum_to_one() -> None:
    ids, weights = route(torch.tensor([[1.0, 3.0, 3.0, 1.0, 1.0, 0.0]]), 4)
    assert ids.tolist() == [[1, 2, 0, 3]]
    assert torch.allclose(weights.sum(1), torch.ones(1))


def test_swiglu_clamps_both_sides_and_keeps_nan() -> None:
    nan = float("nan")
    got = swiglu_oai(torch.tensor([100.0, 100.0, 100.0, -100.0, -100.0, 0.0, nan, 1.0]), 1.702, 7.0)
    top = 7 / (1 + torch.exp(torch.tensor(-1.702 * 7)))
    assert torch.allclose(got[:2], torch.stack((8 * top, -6 * top)))
    assert abs(float(got[2])) < 1e-6 and got[3].isnan()


@pytest.mark.parametrize("arch", ["sm90", "gfx950"])
def test_preparing_weights_is_undone_exactly(arch: str) -> None:
    weights = tiny()
    assert all(torch.equal(a, b) for a, b in zip(restore_weights(prepare_weights(*weights, arch=arch)), weights, strict=True))


@pytest.mark.parametrize(("index", "change", "match"), [
    (0, lambda t: t.to(torch.int8), "w13"), (1, lambda t: t[..., :1], "s13"), (2, lambda t: t.float(), "b13"), (4, lambda t: t[:, :-1], "s2"),
    (3, lambda t: t[0], "3-dimensional"),
])  # fmt: skip
def test_wrong_weights_are_named(index: int, change: Any, match: str) -> None:
    weights = list(tiny())
    weights[index] = change(weights[index])
    with pytest.raises(BadInput, match=match):
        prepare_weights(*weights, arch="gfx950")


@pytest.mark.parametrize(("change", "match"), [
    ({"x": torch.zeros(0, 48).bfloat16(), "router_logits": torch.zeros(0, 6)}, "M = 0"), ({"x": torch.zeros(2, 96).bfloat16()[:, ::2]}, "x: expected"),
    ({"router_logits": torch.zeros(3, 6)}, "router_logits"), ({"router_logits": torch.zeros(2, 8)}, "8 logits for 6 experts"),
    ({"topk": 7}, "topk = 7 of 6"), ({"topk": 0}, "topk = 0"), ({"expert_map": torch.zeros(5, dtype=torch.int32)}, "expert_map"),
    ({"expert_map": torch.zeros(6, dtype=torch.int64)}, "expert_map"), ({"num_live": torch.tensor([1])}, "num_live"),
    ({"num_live": torch.ones(2, dtype=torch.int32)}, "num_live"), ({"out": torch.zeros(2, 48)}, "out: expected"),
])  # fmt: skip
def test_wrong_inputs_are_named_before_anything_is_launched(change: dict[str, Any], match: str) -> None:
    """A seventh of six experts, or a map that is too short, would be read past without a word."""
    given = {"x": torch.zeros(2, 48).bfloat16(), "router_logits": torch.zeros(2, 6), "weights": prepare_weights(*tiny(), arch="gfx950")}
    with pytest.raises(BadInput, match=match):
        fused_moe(**{**given, **change})


@pytest.mark.parametrize("arch", ["sm90", "gfx950"])
@pytest.mark.parametrize("inter", TPS)
def test_the_table_covers_every_size_legally_and_small_m_takes_three_launches(arch: str, inter: int) -> None:
    shape = MoeShape(2880, inter, 128)
    for tokens in (1, 2, 3, 4, 7, 8, 9, 16, 31, 32, 64, 65, 128, 256, 1000, 4096, 16384):
        for mapped in (False, True):
            config = pick(arch, shape, tokens, mapped)
            assert illegal(config, shape, tokens, arch, mapped) is None
            launches = len(plan(Case(arch, shape, tokens, 128, has_map=mapped), config))
            assert launches <= (3 if tokens <= 64 and not mapped else 6 if arch == "sm90" else 5)
            assert all(count > 0 for count, _ in buffers(Case(arch, shape, tokens, 128), config).values())


TUNED_AT = {"sm90": (192, 700, 1152, 2048, 4096, 16384), "gfx950": (64, 256, 1024, 16384)}


@pytest.mark.parametrize("arch", ["sm90", "gfx950"])
@pytest.mark.parametrize(("experts", "topk"), [(32, 4), (128, 8), (256, 8), (8, 2), (16, 1), (64, 6)])
def test_other_layers_take_the_row_of_as_many_pairs_per_expert(arch: str, experts: int, topk: int) -> None:
    """And not the row of as many tokens: at E = 32, M = 128 that one took 1.6 times the time (H200, 2026-11-29)."""
    tuned, other = MoeShape(2880, 2880, 128), MoeShape(2880, 2880, experts, topk)
    assert is_tuned(arch, tuned) and not is_tuned(arch, other)
    for tokens in TUNED_AT[arch]:
        same = tokens * 4 * experts // (128 * topk)
        if same * topk > 64 and same > 64:
            assert pick(arch, other, same) == pick(arch, tuned, tokens), (tokens, same)


@pytest.mark.parametrize(("experts", "topk", "tokens"), [(32, 4, 1), (32, 4, 8), (8, 2, 2), (8, 2, 8), (256, 8, 2), (16, 1, 8)])
def test_few_pairs_take_the_row_of_as_many_pairs(experts: int, topk: int, tokens: int) -> None:
    """At E = 32, M = 4 (TP8) the row of as many pairs per expert took 1.43 times the time (H200, 2026-11-29)."""
    shape = MoeShape(2880, 360, experts, topk)
    chosen = pick("sm90", shape, tokens)
    rows = [row.config for row in table("sm90") if row.intermediate == 360 and row.tokens >= tokens * topk / 4]
    assert chosen == next(row for row in rows if illegal(row, shape, tokens, "sm90") is None)


@pytest.mark.parametrize("arch", ["sm90", "gfx950"])
@pytest.mark.parametrize("shape", [MoeShape(4096, 1536, 128, 8), MoeShape(2880, 2880, 32), MoeShape(4096, 14336, 8, 2), MoeShape(2048, 768, 16, 1),
                                   MoeShape(7168, 2048, 256, 8), MoeShape(2048, 1408, 64, 6), MoeShape(256, 64, 2, 2)], ids=str)  # fmt: skip
def test_any_layer_gets_a_legal_configuration_and_buckets_in_order(arch: str, shape: MoeShape) -> None:
    limits = [limit for limit, _ in ends(arch, shape)]
    assert limits == sorted(limits)
    for tokens in (1, 2, 3, 5, 8, 9, 16, 17, 64, 65, 100, 300, 1000, 4096, 16384):
        for mapped in (False, True):
            assert illegal(pick(arch, shape, tokens, mapped), shape, tokens, arch, mapped) is None


def test_expert_parallel_ranks_count_the_experts_of_the_router() -> None:
    """64 of 128 experts are local: a token's pairs are spread over 128."""
    local, whole = MoeShape(2880, 2880, 64), MoeShape(2880, 2880, 128)
    assert is_tuned("sm90", local, 128)
    assert pick("sm90", local, 700, True, 128) == pick("sm90", whole, 700, True)
    assert pick("sm90", local, 700) != pick("sm90", local, 700, False, 128)


@pytest.mark.parametrize("experts", [1, 4, 8, 16, 32, 128])
@pytest.mark.parametrize("tokens", [1, 2, 7, 64])
def test_one_program_sorts_at_least_128_cells(experts: int, tokens: int) -> None:
    """Triton 3.6.0 cannot compile route_kernel on fewer where topk > 1: E = 8, M = 4 could not run at all."""
    config = LayerConfig("sorted", GemmConfig(2, 1, 1, 16), GemmConfig(2, 1, 1, 16))
    route = plan(Case("sm90", MoeShape(2880, 360, experts, 1), tokens, experts), config)[0]
    assert route.constants["BT"] * route.constants["E_PAD"] >= 128
    assert route.constants["BT"] >= tokens and route.grid == (1,)


@pytest.mark.parametrize(("arch", "tokens", "of_each"), [("sm90", 65, 16), ("sm90", 4096, 16), ("sm90", 4097, 64), ("sm90", 16384, 64), ("gfx950", 16384, 16)])
def test_more_tokens_share_a_program_of_the_routing_passes_where_there_are_many(arch: str, tokens: int, of_each: int) -> None:
    """Each program reads the counts of all: at M = 16384 the second pass took 78 us of a layer's 1,295 with 16 tokens in each (TP8, H200)."""
    shape = MoeShape(2880, 360, 128)
    case = Case(arch, shape, tokens, 128)
    config = pick(arch, shape, tokens)
    for step in plan(case, config)[:2]:
        assert step.constants["BT"] == of_each and step.grid == (-(-tokens // of_each),)
    assert buffers(case, config)["hist"][0] == -(-tokens // of_each) * 128


@pytest.mark.parametrize("most", [4096, 4097, 5000, 8192])
def test_a_workspace_serves_every_smaller_number_of_tokens(most: int) -> None:
    """The counts of the routing passes shrink where more tokens share a program."""
    weights = prepare_weights(*tiny(), arch="sm90")
    space = make_workspace(weights, most, topk=2)
    shape = MoeShape(weights.hidden, weights.intermediate, weights.experts, 2)
    for tokens in {most, 4096, 4095, 4097, 65, 1} & set(range(most + 1)):
        case = Case("sm90", shape, tokens, weights.experts)
        assert workspace_size(buffers(case, pick("sm90", shape, tokens))) <= space.memory.numel()


@pytest.mark.parametrize("parts", [3, 8])
def test_a_tiled_chunk_is_cut_into_1_2_or_4_products(parts: int) -> None:
    gemm = GemmConfig(4, 1, 2, 32, ahead=False, unroll=parts, tiled=True)
    assert "1, 2 or 4 products" in str(illegal(LayerConfig("sorted", gemm, gemm), MoeShape(2880, 360, 128), 512, "sm90"))


def test_gfx950_fills_the_chip_at_one_token() -> None:
    shape = MoeShape(2880, 360, 128)
    steps = plan(Case("gfx950", shape, 1, 128), pick("gfx950", shape, 1))
    assert steps[1].kernel.__name__ == "up_kernel" and steps[1].grid[0] >= 256


def test_every_row_says_where_it_comes_from() -> None:
    assert all(row.source.startswith("modelled") for row in table("gfx950"))
    assert all("H200" in row.source for row in table("sm90"))


@pytest.mark.parametrize(("change", "match"), [
    ({"order": "slot"}, "M <= up.bm"), ({"fused": True}, "fused"), ({"partial": "fp16"}, "partial"), ({"order": "other"}, "order"),
    ({"up": GemmConfig(3, 1, 1, 8)}, "powers of two"), ({"up": GemmConfig(8, 4, 1, 8)}, "warps"), ({"down": GemmConfig(1, 4, 1, 16)}, "one bm"),
    ({"up": GemmConfig(1, 4, 1, 8, split=2)}, "split"), ({"up": GemmConfig(1, 4, 1, 8, tiled=True)}, "tiled"),
    ({"up": GemmConfig(1, 4, 1, 8, depth=3)}, "depth"), ({"up": GemmConfig(1, 4, 1, 8, rest=16)}, "rest"),
    ({"up": GemmConfig(4, 1, 1, 32, tiled=True, rest=32), "down": GemmConfig(4, 1, 1, 32)}, "rest"),
    ({"up": GemmConfig(4, 1, 1, 32), "down": GemmConfig(4, 1, 1, 32, tiled=True)}, "needs a tiled up"),
    ({"up": GemmConfig(4, 1, 1, 16, tiled=True), "down": GemmConfig(4, 1, 1, 16, tiled=True), "fused": True}, "fused"),
])  # fmt: skip
def test_illegal_configurations_are_refused_with_the_reason(change: dict[str, Any], match: str) -> None:
    config = replace(LayerConfig("sorted", GemmConfig(1, 4, 1, 8), GemmConfig(1, 4, 1, 8)), **change)
    assert match in str(illegal(config, MoeShape(2880, 360, 128), 100, "sm90"))


def test_launches_overlap_on_nvidia_only() -> None:
    config = LayerConfig("sorted", GemmConfig(1, 4, 1, 16), GemmConfig(1, 4, 1, 16), overlap=True)
    shape = MoeShape(2880, 360, 128)
    assert illegal(config, shape, 100, "sm90") is None
    assert "sm90 only" in str(illegal(config, shape, 100, "gfx950"))
    steps = plan(Case("sm90", shape, 100, 128), config)
    # The first launch of a layer waits for all before it: it follows a layer that may still read the shared workspace.
    assert [step.options.get("launch_pdl", False) for step in steps] == [False, *[True] * (len(steps) - 1)]
    assert not any(step.constants["OVERLAP"] for step in plan(Case("sm90", shape, 100, 128, asm=False), config))
