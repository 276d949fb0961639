"""Float rules at their edges: NaNs of both kinds, signed zeros, denormals, one rounding. Values from Python's exact fractions."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

SIGNALLING, QUIET = 0x7F800001, 0x7FC00000
F32 = {"snan": SIGNALLING, "qnan": QUIET | 7, "-0": 0x80000000, "0": 0, "1": 0x3F800000, "-1": 0xBF800000, "2": 0x40000000, "inf": 0x7F800000}


def put(run: Any, index: int, words: list[int]) -> None:
    """The words in the first lanes, over and over."""
    run.batch.vector[index] = np.resize(np.array(words, np.uint32), (run.batch.waves, 64))


def put_wide(run: Any, index: int, values: list[float]) -> None:
    bits = np.resize(np.array(values, np.float64).view(np.uint64), (run.batch.waves, 64))
    run.batch.vector[index], run.batch.vector[index + 1] = bits.astype(np.uint32), (bits >> np.uint64(32)).astype(np.uint32)


def f64(run: Any, index: int, count: int) -> list[float]:
    return np.array(run.wide(index)[:count], np.uint64).view(np.float64).tolist()


@pytest.mark.parametrize(("text", "names", "wanted"), [
    ("v_max_f32_e32 v10, v0, v1", ["snan", "1"], SIGNALLING | 1 << 22),
    ("v_max_f32_e32 v10, v0, v1", ["1", "snan"], SIGNALLING | 1 << 22),
    ("v_max_f32_e32 v10, v0, v1", ["qnan", "1"], F32["1"]),
    ("v_min_f32_e32 v10, v0, v1", ["qnan", "snan"], SIGNALLING | 1 << 22),
    ("v_max_f32_e32 v10, v0, v1", ["-0", "0"], F32["0"]),
    ("v_max_f32_e32 v10, v0, v1", ["0", "-0"], F32["0"]),
    ("v_min_f32_e32 v10, v0, v1", ["0", "-0"], F32["-0"]),
    ("v_min_f32_e32 v10, v0, v1", ["-0", "0"], F32["-0"]),
    ("v_min_f32_e32 v10, v0, v1", ["-0", "-1"], F32["-1"]),
    ("v_max3_f32 v10, v0, v1, v2", ["snan", "1", "2"], F32["2"]),  # quiet after the first step
    ("v_max3_f32 v10, v0, v1, v2", ["1", "2", "snan"], SIGNALLING | 1 << 22),
    ("v_med3_f32 v10, v0, v1, v2", ["qnan", "2", "1"], F32["1"]),
    ("v_med3_f32 v10, v0, v1, v2", ["1", "2", "snan"], SIGNALLING | 1 << 22),
    ("v_med3_f32 v10, v0, v1, v2", ["-1", "0", "-0"], F32["-0"]),
    ("v_maximum3_f32 v10, v0, v1, v2", ["1", "qnan", "2"], F32["qnan"]),
    ("v_minimum3_f32 v10, v0, v1, v2", ["0", "-0", "1"], F32["-0"]),
])  # fmt: skip
def test_minimum_and_maximum(text: str, names: list[str], wanted: int, bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    for index, name in enumerate(names):
        put(run, index, [F32[name]])
    assert set(run.run(text).words(10)) == {wanted}


def test_minimum_and_maximum_of_packed_halves(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    put(run, 0, [0x7C01_8000]), put(run, 1, [0x3C00_0000])  # signalling NaN and -0 against 1 and +0
    run.run("v_pk_max_f16 v10, v0, v1", "v_pk_min_f16 v11, v0, v1")
    assert (run.words(10)[0], run.words(11)[0]) == (0x7E01_0000, 0x7E01_8000)


@pytest.mark.parametrize(("width", "signalling", "quiet", "denormal"), [(16, 0xFC01, 0xFE00, 0x8001), (32, 0xFF800001, 0xFFC00000, 0x80000001)])
def test_classes_tell_the_two_kinds_of_nan(width: int, signalling: int, quiet: int, denormal: int, bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    put(run, 0, [signalling, quiet, denormal, 0])
    for mask, lane in ((1, 0), (2, 1), (16, 2), (64, 3)):
        run.scalar(4, mask)
        assert run.run(f"v_cmp_class_f{width}_e64 s[8:9], v0, s4").pair(8) & 15 == 1 << lane


def test_classes_of_f64(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    put_wide(run, 0, [math.inf, -math.inf, 1.0, -5e-324, -0.0, math.nan])
    for mask, lanes in ((512, 0b1), (4, 0b10), (256, 0b100), (16, 0b1000), (32, 0b10000), (2, 0b100000), (3, 0b100000)):
        run.scalar(4, mask)
        assert run.run("v_cmp_class_f64_e64 s[8:9], v[0:1], s4").pair(8) & 63 == lanes


def test_division_fixup(bench: Callable[..., Any]) -> None:
    """A quotient below the smallest number is zero, a NaN quotient stays one, and only one beyond the largest is infinite."""
    run = bench(waves=1)
    cases = [
        (QUIET, 7.3e23, 6.2e-35, 0.0),  # quotient, denominator, numerator: far below the smallest
        (QUIET, -7.3e23, 6.2e-35, -0.0),
        (QUIET, 1e-30, 3e38, math.inf),
        (QUIET, 2.0, 3.0, math.nan),
        (0x3F000000, -2.0, 1.0, -0.5),
    ]
    put(run, 0, [case[0] for case in cases])
    for index, place in ((1, 1), (2, 2)):
        run.floats(index, np.resize(np.array([case[place] for case in cases], np.float32), (1, 64)))
    found = run.run("v_div_fixup_f32 v10, v0, v1, v2").f32(10)[0, : len(cases)]
    np.testing.assert_array_equal(found, [case[3] for case in cases])
    assert np.signbit(found[1]) and not np.signbit(found[0])


SIZES = [1.0, 1.5, 3.0, 1 + 2**-52, 1 - 2**-53, 2.0**-60, 1e300, 1e-300, 5e-324, 2.0**-1022, 1.7e308, 2.0**53, 0.1, 0.3, 7.0, 1e16]


def exactly(a: float, b: float, c: float) -> float:
    try:
        return float(Fraction(a) * Fraction(b) + Fraction(c))
    except OverflowError:
        return math.inf if Fraction(a) * Fraction(b) + Fraction(c) > 0 else -math.inf


def test_f64_multiply_add_is_rounded_once(bench: Callable[..., Any]) -> None:
    run = bench(waves=64)
    picks = run.random.choice([*SIZES, *(-x for x in SIZES)], (3, 4096))
    with np.errstate(over="ignore"):
        picks[2, ::3] = -(picks[0] * picks[1])[::3]  # what is left is the product's own rounding error
        picks[:, ::2] *= run.random.uniform(1, 2, (3, 2048))
    picks[~np.isfinite(picks)] = 1.0
    for index, values in zip((0, 2, 4), picks, strict=True):
        put_wide(run, index, values.tolist())
    found = f64(run.run("v_fma_f64 v[10:11], v[0:1], v[2:3], v[4:5]"), 10, 4096)
    assert found == [exactly(*case) for case in picks.T.tolist()]


def test_f32_and_f16_multiply_add_are_rounded_once(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    run.floats(0, 1 + 2.0**-12), run.floats(1, 1 + 2.0**-12), run.floats(2, 2.0**-80)
    assert run.run("v_fma_f32 v10, v0, v1, v2").f32(10)[0, 0] == np.float32(1 + 2**-11 + 2**-23)  # 1 + 2^-11 + 2^-24 is a tie
    run.halves(0, 1 + 2**-5, 1.0), run.halves(1, 1 + 2**-6, 1.0), run.halves(2, 2.0**-24, 1.0)
    assert run.run("v_fma_f16 v10, v0, v1, v2").words(10)[0] == int(np.float16(1 + 3 * 2**-6 + 2**-10).view(np.uint16))  # without 2^-24 a tie


def test_f64_powers_of_two_reach_every_exponent(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    put_wide(run, 0, [5e-324, 1.7e308, 2.0**-1022, 3.0])
    put(run, 2, [2000, -2000 & 0xFFFFFFFF, 2045, -5000 & 0xFFFFFFFF])
    assert f64(run.run("v_ldexp_f64 v[10:11], v[0:1], v2"), 10, 4) == [math.ldexp(5e-324, 2000), math.ldexp(1.7e308, -2000), 2.0**1023, 0.0]


def test_f64_parts(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    values = [3.0, -5e-324, 2.0**1000, -0.0, math.inf, 0.75]
    put_wide(run, 0, values)
    run.run("v_frexp_mant_f64_e32 v[10:11], v[0:1]", "v_frexp_exp_i32_f64_e32 v12, v[0:1]", "v_fract_f64_e32 v[14:15], v[0:1]")
    assert f64(run, 10, 6) == [0.75, -0.5, 0.5, -0.0, math.inf, 0.75]
    assert np.array(run.words(12)[:6], np.uint32).view(np.int32).tolist() == [2, -1073, 1001, 0, 0, 0]
    assert f64(run, 14, 6)[0] == 0.0 and f64(run, 14, 6)[5] == 0.75 and f64(run, 14, 6)[1] == 1 - 2**-53


def test_f64_division_sequence_is_correctly_rounded(bench: Callable[..., Any]) -> None:
    """The compiler's sequence for n / d, over magnitudes that need scaling up and down."""
    run = bench()
    exponents = run.random.integers(-1070, 1020, (2, 128)).astype(float)
    n, d = np.ldexp(run.random.uniform(1, 2, (2, 128)), exponents.astype(int))
    special = np.array([0, np.inf, np.nan, 5e-324, 1.7e308, 1.0])
    n[:36], d[:36] = np.tile(special, 6), np.repeat(special, 6)
    put_wide(run, 0, n.tolist()), put_wide(run, 2, d.tolist())
    run.run(
        "v_div_scale_f64 v[4:5], s[4:5], v[2:3], v[2:3], v[0:1]",
        "v_rcp_f64_e32 v[6:7], v[4:5]",
        "v_fma_f64 v[8:9], -v[4:5], v[6:7], 1.0",
        "v_fma_f64 v[6:7], v[6:7], v[8:9], v[6:7]",
        "v_fma_f64 v[8:9], -v[4:5], v[6:7], 1.0",
        "v_fma_f64 v[6:7], v[6:7], v[8:9], v[6:7]",
        "v_div_scale_f64 v[8:9], vcc, v[0:1], v[2:3], v[0:1]",
        "v_mul_f64 v[12:13], v[8:9], v[6:7]",
        "v_fma_f64 v[4:5], -v[4:5], v[12:13], v[8:9]",
        "v_div_fmas_f64 v[4:5], v[4:5], v[6:7], v[12:13]",
        "v_div_fixup_f64 v[10:11], v[4:5], v[2:3], v[0:1]",
    )
    with np.errstate(all="ignore"):
        wanted = n / d
    found = np.array(f64(run, 10, 128))
    normal = ~((np.abs(wanted) < 2.0**-1022) & (wanted != 0))
    np.testing.assert_array_equal(found[normal], wanted[normal])
    np.testing.assert_allclose(found[~normal], wanted[~normal], rtol=0, atol=1e-323)


def test_division_scales_by_the_power_that_the_document_names(bench: Callable[..., Any]) -> None:
    """2^128 (f64) and 2^64 (f32): a sequence scaled up and back by another power is right in most quotients."""
    run = bench(waves=1)
    put_wide(run, 0, [2.0**-1000]), put_wide(run, 2, [1.0]), put_wide(run, 4, [2.0**-1060])
    assert f64(run.run("v_div_scale_f64 v[10:11], s[4:5], v[0:1], v[2:3], v[0:1]"), 10, 1) == [2.0**-872]  # a tiny numerator
    assert f64(run.run("v_div_scale_f64 v[10:11], s[4:5], v[4:5], v[4:5], v[2:3]"), 10, 1) == [2.0**-932]  # a denormal denominator
    run.floats(0, 2.0**-110), run.floats(2, 1.0), run.floats(4, 2.0**-140)
    assert run.run("v_div_scale_f32 v10, s[4:5], v0, v2, v0").f32(10)[0, 0] == 2.0**-46
    assert run.run("v_div_scale_f32 v10, s[4:5], v4, v4, v2").f32(10)[0, 0] == 2.0**-76


def test_dot_products_of_halves(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    run.halves(0, 3.0, -2.0), run.halves(1, 0.5, 4.0), run.floats(10, 100.0)
    assert run.run("v_dot2c_f32_f16_e32 v10, v0, v1").f32(10)[0, 0] == 93.5
    put(run, 0, [0x4040_4000]), put(run, 1, [0x3F00_BF80]), run.floats(10, 100.0)  # (2, 3) . (-1, 0.5) in bf16
    assert run.run("v_dot2c_f32_bf16_e32 v10, v0, v1").f32(10)[0, 0] == 99.5


def test_conversions_and_packing_of_halves(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    run.halves(0, -3.7, 1e4), run.halves(1, 65504.0, -1.0)
    run.run("v_cvt_i16_f16_e32 v10, v0", "v_cvt_u16_f16_e32 v11, v0", "v_cvt_i16_f16_e32 v12, v1", "v_pack_b32_f16 v13, v0, v1 op_sel:[1,0,0]")
    assert [run.words(at)[0] for at in (10, 11, 12)] == [-3 & 0xFFFF, 0, 0x7FFF]
    assert run.words(13)[0] == int(np.float16(1e4).view(np.uint16)) | int(np.float16(65504.0).view(np.uint16)) << 16
