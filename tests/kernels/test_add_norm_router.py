"""add + RMSNorm + router without a GPU: in Triton's interpreter, alone and before the MoE layer; configurations, errors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tunefork.base.errors import BadInput
from tunefork.kernels.add_norm_router import RouterConfig, RouterShape, illegal, pick
from tunefork.kernels.add_norm_router.launch import add_norm_moe, add_norm_route, make_done
from tunefork.kernels.add_norm_router.plan import Wanted, plan
from tunefork.kernels.moe_a16w4 import MoeShape, prepare_weights
from tunefork.kernels.moe_a16w4 import pick as pick_layer
from tunefork.kernels.moe_a16w4.plan import Case
from tunefork.kernels.moe_a16w4.plan import plan as layer_plan

NAMES = ("slot", "slot, dead tokens", "sorted", "sorted, apart, dead tokens")
SHAPE = RouterShape(2880, 128, 4)


@pytest.fixture(scope="module")
def interpreted(cases: Any) -> dict[str, dict[str, Any]]:
    return cases("decode_interpreted.py", "router")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_choice_is_that_of_the_logits_and_ties_go_to_the_lower_id(name: str, interpreted: dict[str, dict[str, Any]]) -> None:
    found = interpreted[name]
    assert found["ties"] == 0, "the case has no ties"
    assert found["ids"] == 0 and found["dead"] == 0 and found["done"] == 0 and found["gates"] < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_values_and_the_whole_layer(name: str, interpreted: dict[str, dict[str, Any]]) -> None:
    """1e-2: the interpreter cuts bf16 off instead of rounding it."""
    found = interpreted[name]
    assert max(found[key] for key in ("normed", "sum", "logits", "moe")) < 1e-2 and found["again"]


@pytest.mark.parametrize(("arch", "tokens", "launches"), [("gfx950", 1, 1), ("gfx950", 16, 1), ("gfx950", 17, 2), ("gfx950", 64, 2), ("sm90", 1, 2), ("sm90", 64, 2)])
def test_launches_before_the_experts(arch: str, tokens: int, launches: int) -> None:
    config = pick(arch, SHAPE, tokens)
    assert illegal(config, SHAPE, tokens, arch) is None
    assert len(plan(arch, SHAPE, tokens, config, Wanted())) == launches


@pytest.mark.parametrize("tp", [1, 8])
@pytest.mark.parametrize("tokens", [1, 4, 8, 16])
def test_with_the_experts_it_is_three_launches(tp: int, tokens: int) -> None:
    shape = MoeShape(2880, 2880 // tp, 128, 4)
    case = Case("gfx950", shape, tokens, 128)
    behind = layer_plan(case, pick_layer("gfx950", shape, tokens))[1:]
    assert len(plan("gfx950", SHAPE, tokens, pick("gfx950", SHAPE, tokens), Wanted())) + len(behind) == 3


@pytest.mark.parametrize(
    ("config", "shape", "tokens", "says"),
    [
        (RouterConfig(), RouterShape(2880, 120), 4, "power of two"),
        (RouterConfig(), RouterShape(2880, 8), 4, "power of two"),
        (RouterConfig(), RouterShape(2880, 16, 17), 4, "topk"),
        (RouterConfig(), RouterShape(2900, 16), 4, "multiple of 64"),
        (RouterConfig(), SHAPE, 65, r"1..64"),
        (RouterConfig(parts=3), SHAPE, 4, "parts"),
        (RouterConfig(split=3), SHAPE, 4, "split"),
        (RouterConfig(split=4, apart=True), SHAPE, 4, "split"),
        (RouterConfig(overlap=True), SHAPE, 4, "overlap"),
    ],
)
def test_what_cannot_run_is_refused(config: RouterConfig, shape: RouterShape, tokens: int, says: str) -> None:
    assert says in str(illegal(config, shape, tokens, "gfx950"))


def test_bad_input_is_said_before_anything_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunefork.kernels.add_norm_router import launch
    from tunefork.kernels.moe_a16w4.device import Target

    monkeypatch.setattr(launch, "target", lambda: Target("sm90", False))
    x, norm, router = torch.zeros(4, 128).bfloat16(), torch.zeros(128).bfloat16(), torch.zeros(16, 128).bfloat16()
    bias, done = torch.zeros(16).bfloat16(), make_done("cpu")
    for call, says in (
        (lambda: add_norm_route(x, x, norm, 1e-5, router.float(), bias, done=done), "router: expected"),
        (lambda: add_norm_route(x, x[:3], norm, 1e-5, router, bias, done=done), "residual: expected"),
        (lambda: add_norm_route(x, x, norm, 1e-5, router, norm, done=done), "router_bias: expected"),
        (lambda: add_norm_route(x, x, norm, 1e-5, router, bias, done=done.long()), "done: expected"),
        (lambda: add_norm_route(x, x, norm, 1e-5, router, bias, done=done, config=RouterConfig(parts=3)), "parts"),
    ):
        with pytest.raises(BadInput, match=says):
            call()
    values = torch.zeros(8, 64, 64, dtype=torch.uint8), torch.zeros(8, 64, 4, dtype=torch.uint8), torch.zeros(8, 64).bfloat16()
    down = torch.zeros(8, 128, 16, dtype=torch.uint8), torch.zeros(8, 128, 1, dtype=torch.uint8), torch.zeros(8, 128).bfloat16()
    with pytest.raises(BadInput, match=r"expected \(8, 128\)"):
        add_norm_moe(x, x, norm, 1e-5, router, bias, prepare_weights(*values, *down, arch="sm90"), done=done)
