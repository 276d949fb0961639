"""The skinny bf16 products without a GPU: in Triton's interpreter; configurations, rules, errors. The gate executes them as gfx950 machine code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tunefork.base.errors import BadInput
from tunefork.kernels.arch import ARCHES
from tunefork.kernels.skinny import Linear, SkinnyConfig, illegal, pick
from tunefork.kernels.skinny.config import wins
from tunefork.kernels.skinny.entries import shapes
from tunefork.kernels.skinny.launch import add_norm_linear, best_logit, linear
from tunefork.kernels.skinny.plan import plan

NAMES = ("rule", "one token, short last step", "short last program", "one part, two launches")


@pytest.fixture(scope="module", params=["as the installed Triton has it", "halves"])
def interpreted(cases: Any, request: pytest.FixtureRequest) -> dict[str, dict[str, Any]]:
    """The second: warps' sums added by halves, as under Triton 3.8.0 and newer on NVIDIA."""
    return cases("decode_interpreted.py", "skinny", *(["halves"] if request.param == "halves" else []))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_whole_numbers_come_out_exactly(name: str, interpreted: dict[str, dict[str, Any]]) -> None:
    found = interpreted[name]
    assert found["largest"] > 8, "sums so small would hide a wrong one"
    assert {key: found[key] for key in ("linear", "without bias", "residual", "sum")} == dict.fromkeys(("linear", "without bias", "residual", "sum"), 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_norm_and_best_logit(name: str, interpreted: dict[str, dict[str, Any]]) -> None:
    """1e-2: the interpreter cuts bf16 off instead of rounding it (findings/triton_interpreter_bf16_truncates.sh). Of equal logits the lower id wins."""
    found = interpreted[name]
    assert 0 < found["norm"] < 1e-2 and found["best"] == 0


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("tokens", [1, 2, 5, 16, 17, 64])
def test_the_rule_is_legal_for_every_product_of_the_model(arch: str, tokens: int) -> None:
    for shape in shapes().values():
        one = replace(shape, norm=shape.norm and tokens <= 16)
        assert illegal(pick(arch, one, tokens), one, tokens, arch) is None


@pytest.mark.parametrize("tp", [1, 8])
def test_a_product_is_one_launch_and_the_best_logit_two(tp: int) -> None:
    found = {name: [step.kernel.__name__ for step in plan("gfx950", shape, 4, pick("gfx950", shape, 4))] for name, shape in shapes().items()}
    assert found[f"o-tp{tp}"] == found[f"qkv-tp{tp}"] == ["skinny_kernel"] and found["head-tp1"] == ["skinny_kernel", "best_kernel"]


@pytest.mark.parametrize(
    ("config", "shape", "says"),
    [
        (SkinnyConfig(8, 1, 16), Linear(24, 128), "multiple of 16"),
        (SkinnyConfig(8, 1, 16), Linear(32, 96), "of 64"),
        (SkinnyConfig(3, 1, 16), Linear(32, 128), "powers of two"),
        (SkinnyConfig(32, 1, 16), Linear(32, 128), "at most 16"),
        (SkinnyConfig(8, 1, 8), Linear(32, 128), "bm 8"),
        (SkinnyConfig(8, 1, 32), Linear(32, 128, norm=True), "bm <= 16"),
        (SkinnyConfig(8, 1, 16), Linear(32, 128, norm=True, residual=True), "not both"),
        (SkinnyConfig(8, 1, 16), Linear(32, 128, best=True, residual=True), "plain product"),
        (SkinnyConfig(8, 1, 16, cache=".ca"), Linear(32, 128), "cache"),
        (SkinnyConfig(8, 1, 16, overlap=True), Linear(32, 128), "overlap"),
    ],
)
def test_what_cannot_run_is_refused(config: SkinnyConfig, shape: Linear, says: str) -> None:
    assert says in str(illegal(config, shape, 4, "gfx950"))


def test_bad_input_is_said_before_anything_is_launched() -> None:
    x, w, vector = torch.zeros(4, 128).bfloat16(), torch.zeros(32, 128).bfloat16(), torch.zeros(32).bfloat16()
    for call, says in (
        (lambda: linear(x, w.float()), "weight: expected"),
        (lambda: linear(x.float(), w), "x: expected"),
        (lambda: linear(x[:, :64], w), "x: expected"),
        (lambda: linear(x, w, vector[:16]), "bias: expected"),
        (lambda: linear(x, w, vector, x), "residual: expected"),
        (lambda: add_norm_linear(x, x[:2], x[0], 1e-5, w), "residual: expected"),
        (lambda: add_norm_linear(x, x, vector, 1e-5, w), "norm_weight: expected"),
        (lambda: best_logit(x.T, w), "x: expected"),
    ):
        with pytest.raises(BadInput, match=says):
            call()


@pytest.mark.parametrize("tokens", [0, 65])
def test_too_many_tokens_are_refused(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunefork.kernels.moe_a16w4.device import Target
    from tunefork.kernels.skinny import launch

    monkeypatch.setattr(launch, "target", lambda: Target("sm90", False))
    with pytest.raises(BadInput, match=r"1\.\.64"):
        linear(torch.zeros(tokens, 128).bfloat16(), torch.zeros(32, 128).bfloat16())


@pytest.mark.parametrize(
    ("arch", "rows", "cols", "tokens", "ours"),
    [("sm90", 2880, 4096, 4, True), ("sm90", 2880, 4096, 1, False), ("sm90", 2880, 4096, 16, True), ("sm90", 5120, 2880, 17, False), ("sm90", 2880, 512, 16, True),
     ("sm90", 640, 2880, 1, True), ("sm90", 640, 2880, 17, False), ("sm90", 2880, 500, 4, False), ("gfx950", 2880, 512, 4, False)],
)  # fmt: skip
def test_ours_only_where_it_was_measured_to_be_faster(arch: str, rows: int, cols: int, tokens: int, ours: bool) -> None:
    assert wins(arch, rows, cols, tokens) is ours
