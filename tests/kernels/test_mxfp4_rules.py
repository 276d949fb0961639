"""Rounding rules: what each gives on inputs computed by hand, and what none of them may do. The libraries themselves: test_mxfp4_conformance.py."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tunefork.base.errors import BadInput
from tunefork.kernels.mxfp4 import RULES, dequantize, quantize
from tunefork.kernels.mxfp4.format import nibbles

# OCP MX v1.0, table 5: e2m1 by code.
E2M1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0]


def block(*values: float) -> torch.Tensor:
    dense = torch.zeros(1, 32)
    dense[0, : len(values)] = torch.tensor(values)
    return dense


def byte(rule: str, amax: float) -> int:
    return int(quantize(block(amax), rule)[1].item())


@pytest.mark.slow
@given(st.lists(st.floats(-100, 100, width=32), min_size=32, max_size=40).filter(lambda v: len(v) % 2 == 0))
@settings(max_examples=60, deadline=None)
def test_quantize_takes_the_nearest_value_and_saturates(numbers: list[float]) -> None:
    dense = torch.tensor([numbers])
    values, scales = quantize(dense)
    back = dequantize(values, scales)
    spread = torch.exp2(scales.double() - 127).repeat_interleave(32, -1)[:, : dense.shape[1]]
    grid = torch.tensor(E2M1, dtype=torch.float64)[None, None, :] * spread[..., None]
    best = (grid - dense.double()[..., None]).abs().amin(-1)
    assert torch.allclose((back.double() - dense.double()).abs(), best, rtol=0, atol=1e-30)



FLOOR = ("ocp-floor", "torchao-floor", "gguf")
EVEN = ("ocp-even", "torchao-even", "compressed-tensors", "quark-even")
CEIL = ("ocp-ceil", "torchao-ceil")
SIXTH_UP = ("ocp-rceil", "torchao-rceil", "quark-up")


def test_every_rule_is_of_one_family() -> None:
    assert {*FLOOR, *EVEN, *CEIL, *SIXTH_UP, "quark-down"} == set(RULES)


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("amax", "floor", "even", "ceil", "up", "down"), [
    (4.0, 127, 127, 127, 127, 126), (5.9, 127, 127, 128, 127, 126), (6.0, 127, 127, 128, 127, 127), (6.9, 127, 127, 128, 128, 127),
    (7.0, 127, 128, 128, 128, 127), (8.0, 128, 128, 128, 128, 127), (2.0**120, 245, 245, 245, 245, 244), (2.0**-120, 5, 5, 5, 5, 4),
])  # fmt: skip
def test_the_scale_of_a_block(rule: str, amax: float, floor: int, even: int, ceil: int, up: int, down: int) -> None:
    want = floor if rule in FLOOR else even if rule in EVEN else ceil if rule in CEIL else up if rule in SIXTH_UP else down
    assert byte(rule, amax) == want


@pytest.mark.parametrize("rule", RULES)
def test_ties_and_signs(rule: str) -> None:
    """Every middle between two values, both signs, in a block whose scale is 1; 4.0 sets it for each rule but quark-down, which needs 6."""
    middles = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0]
    top = 6.0 if rule in (*SIXTH_UP, "quark-down") else 5.0
    if rule in CEIL:
        top, middles = 4.0, middles[:-1]
    values, scale = quantize(block(top, *middles, *(-m for m in middles)), rule)
    assert scale.item() == 127
    codes = nibbles(values)[0, 1 : 1 + 2 * len(middles)].tolist()
    even = [0, 2, 2, 4, 4, 6, 6][: len(middles)]
    want = [i for i, _ in enumerate(middles)] if rule == "gguf" else [i + 1 for i, _ in enumerate(middles)] if rule.startswith("quark") else even
    negative = [code | 8 if code or rule != "gguf" else 0 for code in want]
    assert codes == want + negative


@pytest.mark.parametrize(("rule", "small", "zero"), [("ocp-floor", 8, 8), ("torchao-even", 8, 8), ("compressed-tensors", 8, 0), ("gguf", 0, 0), ("quark-up", 8, 8)])
def test_negative_zero_and_what_rounds_to_it(rule: str, small: int, zero: int) -> None:
    codes = nibbles(quantize(block(6.0, -0.1, -0.0), rule)[0])[0, :3].tolist()
    assert codes == [7, small, zero]


@pytest.mark.parametrize("rule", RULES)
def test_an_all_zero_block_is_zero(rule: str) -> None:
    values, scales = quantize(torch.zeros(2, 64), rule)
    assert not values.any() and not scales.any()


@pytest.mark.parametrize("rule", [name for name in RULES if name.startswith("ocp-")])
def test_ocp_rules_are_exact_to_the_ends_of_float32(rule: str) -> None:
    """Within half a step of the grid at 2**-149 and at the largest float32, and the bound is that of the scale that is written."""
    for amax in (2.0**-149, 2.0**-130, 2.0**-126, 1.5 * 2.0**-124, torch.finfo(torch.float32).max):
        dense = block(amax, amax / 2, -amax)
        values, scales = quantize(dense, rule)
        step = 2.0 ** (int(scales.item()) - 127)
        back = torch.tensor([E2M1[code] * step for code in nibbles(values)[0].tolist()], dtype=torch.float64)  # 2**128 can come, and is no float32
        saturated = (dense.double().abs() > 6 * step).any()
        assert saturated or (back - dense.double()).abs().max() <= step, amax
        assert scales.item() < 255


def test_a_block_at_byte_0_is_where_libraries_part() -> None:
    """amax 2**-126: the specification's scale is 2**-127, and torchao divides by 2**-126 all the same; amd-quark leaves nothing; gguf wraps."""
    tiny = block(2.0**-126)
    assert nibbles(quantize(tiny, "ocp-floor")[0])[0, 0] == 4 and nibbles(quantize(tiny, "torchao-floor")[0])[0, 0] == 2
    assert nibbles(quantize(tiny, "quark-down")[0])[0, 0] == 0 and nibbles(quantize(tiny, "torchao-rceil")[0])[0, 0] == 0
    assert [byte("gguf", 2.0**-n) for n in (125, 126, 130, 149)] == [0, 255, 251, 232]
    assert byte("quark-up", 2.0**-140) == 1 and byte("ocp-rceil", 2.0**-140) == 0


def test_a_logarithm_in_float32_rounds_up_below_a_power_of_two() -> None:
    below = float(torch.nextafter(torch.tensor(256.0), torch.tensor(0.0)))
    assert byte("gguf", below) == byte("gguf", 256.0) == byte("ocp-floor", below) + 1
    above = float(torch.nextafter(torch.tensor(6.0 * 2**20), torch.tensor(1e9)))
    assert byte("ocp-rceil", above) == byte("torchao-rceil", above) + 1


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_refused_or_nan(rule: str, bad: float) -> None:
    dense = torch.ones(2, 64)
    dense[1, 40] = bad
    with pytest.raises(BadInput, match=rf"1 of 128 values are not finite in float32, the first at \(1, 40\): {bad}") as error:
        quantize(dense, rule)
    assert 'nonfinite="nan"' in error.value.remedy
    values, scales = quantize(dense, rule, nonfinite="nan")
    assert scales[1, 1] == 255 and (scales == 255).sum() == 1 and not values[1, 16:].any()
    assert dequantize(values, scales)[1, 32:].isnan().all() and dequantize(values, scales).isnan().sum() == 32


def test_a_float64_beyond_float32_is_refused() -> None:
    with pytest.raises(BadInput, match="not finite in float32"):
        quantize(torch.full((1, 32), 1e300, dtype=torch.float64))


@pytest.mark.parametrize("rule", ["compressed-tensors", "gguf", "quark-even"])
def test_where_a_library_overflows_its_rule_refuses(rule: str) -> None:
    with pytest.raises(BadInput, match="overflows in .*"):
        quantize(block(torch.finfo(torch.float32).max), rule)
    quantize(block(torch.finfo(torch.float32).max), "ocp-even")


def test_words_that_are_no_rule_or_no_input() -> None:
    with pytest.raises(BadInput, match="no rounding rule 'floor'") as error:
        quantize(torch.ones(1, 32), "floor")
    assert "ocp-floor" in error.value.remedy
    with pytest.raises(BadInput, match="even last dimension"):
        quantize(torch.ones(1, 31))
    with pytest.raises(BadInput, match="even last dimension"):
        quantize(torch.ones(1, 32, dtype=torch.int32))
    with pytest.raises(BadInput, match="nonfinite="):
        quantize(torch.ones(1, 32), nonfinite="zero")
