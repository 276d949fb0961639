"""Lane bits: comparisons, classes, selects, and the division sequence that is built on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

M64 = 2**64 - 1
VALUES = [0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 1e-40, -1e-40, 2.0, 3e38, -7.5, 0.5, 100.0, -100.0, 1e-30]


def lanes(bits: int) -> list[bool]:
    return [bool(bits >> lane & 1) for lane in range(64)]


@pytest.mark.parametrize(("name", "formula"), [
    ("lt", lambda a, b: a < b), ("eq", lambda a, b: a == b), ("neq", lambda a, b: a != b), ("nlt", lambda a, b: not a < b),
    ("nge", lambda a, b: not a >= b), ("lg", lambda a, b: a < b or a > b), ("nlg", lambda a, b: not (a < b or a > b)),
    ("o", lambda a, b: not (math.isnan(a) or math.isnan(b))), ("u", lambda a, b: math.isnan(a) or math.isnan(b)),
])  # fmt: skip
def test_float_comparison(name: str, formula: Callable[[float, float], bool], bench: Callable[..., Any]) -> None:
    run = bench()
    run.floats(0, np.tile(np.array(VALUES, np.float32), 4))
    run.floats(1, np.repeat(np.array(VALUES, np.float32), 4))
    run.run(f"v_cmp_{name}_f32_e32 vcc, v0, v1", f"v_cmp_{name}_f32_e64 s[8:9], v0, v1")
    wanted = [formula(float(a), float(b)) for a, b in zip(run.f32(0)[0], run.f32(1)[0], strict=True)]
    assert lanes(run.pair(106)) == wanted == lanes(run.pair(8))


@pytest.mark.parametrize(("text", "formula"), [
    ("v_cmp_gt_i32_e64 s[8:9], v0, v1", lambda a, b: (a ^ 2**31) > (b ^ 2**31)),
    ("v_cmp_gt_u32_e64 s[8:9], v0, v1", lambda a, b: a > b),
    ("v_cmp_le_u32_e64 s[8:9], 64, v0", lambda a, b: a >= 64),
    ("v_cmp_eq_u16_e64 s[8:9], v0, v1", lambda a, b: a & 0xFFFF == b & 0xFFFF),
    ("v_cmp_eq_u16_sdwa s[8:9], v0, v1 src0_sel:BYTE_1 src1_sel:BYTE_2", lambda a, b: a >> 8 & 255 == b >> 16 & 255),
    ("v_cmp_ne_u32_sdwa s[8:9], v0, v1 src0_sel:WORD_0 src1_sel:DWORD", lambda a, b: a & 0xFFFF != b),
])  # fmt: skip
def test_integer_comparison(text: str, formula: Callable[[int, int], bool], bench: Callable[..., Any]) -> None:
    run = bench()
    run.batch.vector[1, :, 20:30] = run.batch.vector[0, :, 20:30]
    wanted = [formula(a, b) for a, b in zip(run.words(0), run.words(1), strict=True)]
    assert lanes(run.run(text).pair(8)) == wanted[:64]


def test_inactive_lanes_compare_false_and_cmpx_narrows(bench: Callable[..., Any], special: dict[str, int]) -> None:
    run = bench()
    run.batch.vector[0] = np.arange(64)
    run.exec_mask(0x0F0F)
    run.run("v_cmp_lt_u32_e32 vcc, 1, v0")
    assert run.pair(special["vcc"]) == 0x0F0C
    run.run("v_cmpx_lt_u32_e32 vcc, 8, v0")
    assert run.pair(special["exec"]) == 0x0E00


def test_classes(bench: Callable[..., Any]) -> None:
    run = bench()
    run.floats(0, np.tile(np.array(VALUES, np.float32), 4))
    kinds = {
        0x3: math.isnan,
        0x4: lambda x: x == -math.inf,
        0x200: lambda x: x == math.inf,
        0x60: lambda x: x == 0,
        0x20: lambda x: x == 0 and math.copysign(1, x) < 0,
        0x90: lambda x: 0 < abs(x) < 2**-126,
        0x108: lambda x: 2**-126 <= abs(x) < math.inf,
    }
    for mask, formula in kinds.items():
        run.scalar(4, mask)
        run.run("v_cmp_class_f32_e64 s[8:9], v0, s4")
        assert lanes(run.pair(8)) == [formula(float(x)) for x in run.f32(0)[0]], hex(mask)


def test_select_takes_the_second_source_where_the_bit_is_set(bench: Callable[..., Any]) -> None:
    run = bench()
    run.pair(106, 0xAAAA_5555_F0F0_0F0F), run.pair(8, 0x1234_5678_9ABC_DEF0)
    a, b = run.words(0), run.words(1)
    run.run("v_cndmask_b32_e32 v10, v0, v1, vcc", "v_cndmask_b32_e64 v11, v0, -v1, s[8:9]")
    assert run.words(10)[:64] == [b[at] if bit else a[at] for at, bit in enumerate(lanes(0xAAAA_5555_F0F0_0F0F))]
    chosen = [b[at] ^ 2**31 if bit else a[at] for at, bit in enumerate(lanes(0x1234_5678_9ABC_DEF0))]
    assert run.words(11)[:64] == chosen


def test_division_sequence_is_correctly_rounded(bench: Callable[..., Any]) -> None:
    """The compiler's sequence for n / d, over magnitudes that need scaling up and down."""
    run = bench()
    exponents = run.random.integers(-140, 120, (2, 2, 64)).astype(float)
    numbers = run.random.uniform(1, 2, (2, 2, 64)) * np.exp2(exponents)
    special = np.array([0, np.inf, np.nan, 1e-45, 3e38, 1.0], np.float32)
    n, d = (values.astype(np.float32) for values in numbers)
    n[:, :36], d[:, :36] = np.tile(special, 6), np.repeat(special, 6)
    run.floats(0, n), run.floats(1, d)
    run.run(
        "v_div_scale_f32 v2, s[4:5], v1, v1, v0",
        "v_rcp_f32_e32 v3, v2",
        "v_fma_f32 v4, -v2, v3, 1.0",
        "v_fmac_f32_e32 v3, v4, v3",
        "v_div_scale_f32 v5, vcc, v0, v1, v0",
        "v_mul_f32_e32 v6, v5, v3",
        "v_fma_f32 v7, -v2, v6, v5",
        "v_fmac_f32_e32 v6, v7, v3",
        "v_fma_f32 v2, -v2, v6, v5",
        "v_div_fmas_f32 v2, v2, v3, v6",
        "v_div_fixup_f32 v10, v2, v1, v0",
    )
    with np.errstate(all="ignore"):
        wanted = n / d
    normal = ~((np.abs(wanted) < 2**-126) & (wanted != 0))
    np.testing.assert_array_equal(run.f32(10)[normal], wanted[normal])
    np.testing.assert_allclose(run.f32(10)[~normal], wanted[~normal], rtol=0, atol=2.0**-148)
