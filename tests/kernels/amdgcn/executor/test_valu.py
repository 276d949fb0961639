"""Vector integer and float operations against Python numbers, lane by lane."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from tunefork.kernels.amdgcn.errors import UnknownInstruction

M32, M64 = 2**32 - 1, 2**64 - 1


def signed(value: int, bits: int = 32) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def perm(a: int, b: int, c: int) -> int:
    """v_perm_b32 as the ISA tells it: bytes 0-3 come from the second source, 4-7 from the first."""
    octets = list(b.to_bytes(4, "little")) + list(a.to_bytes(4, "little"))
    result = 0
    for place in range(4):
        select = c >> 8 * place & 0xFF
        if select >= 13:
            value = 0xFF
        elif select == 12:
            value = 0
        elif select >= 8:
            value = 0xFF if octets[(select - 8) * 2 + 1] & 0x80 else 0
        else:
            value = octets[select]
        result |= value << 8 * place
    return result


def bfe(value: int, offset: int, width: int) -> int:
    return value >> (offset & 31) & ((1 << (width & 31)) - 1)


INTEGER: dict[str, Callable[..., int]] = {
    "v_add_u32_e32 v10, v0, v1": lambda a, b, c: a + b,
    "v_sub_u32_e32 v10, v0, v1": lambda a, b, c: a - b,
    "v_subrev_u32_e32 v10, v0, v1": lambda a, b, c: b - a,
    "v_sub_u32_e64 v10, v0, v1 clamp": lambda a, b, c: max(a - b, 0),
    "v_add_u32_e64 v10, v0, v1 clamp": lambda a, b, c: min(a + b, M32),
    "v_mul_lo_u32 v10, v0, v1": lambda a, b, c: a * b,
    "v_mul_hi_u32 v10, v0, v1": lambda a, b, c: a * b >> 32,
    "v_mul_hi_i32 v10, v0, v1": lambda a, b, c: signed(a) * signed(b) >> 32,
    "v_mul_u32_u24_e32 v10, v0, v1": lambda a, b, c: (a & 0xFFFFFF) * (b & 0xFFFFFF),
    "v_mul_i32_i24_e32 v10, v0, v1": lambda a, b, c: signed(a, 24) * signed(b, 24),
    "v_mad_u32_u24 v10, v0, v1, v2": lambda a, b, c: (a & 0xFFFFFF) * (b & 0xFFFFFF) + c,
    "v_mad_i32_i24 v10, v0, v1, v2": lambda a, b, c: signed(a, 24) * signed(b, 24) + c,
    "v_mad_u32_u16 v10, v0, v1, v2": lambda a, b, c: (a & 0xFFFF) * (b & 0xFFFF) + c,
    "v_mad_i32_i16 v10, v0, v1, v2": lambda a, b, c: signed(a, 16) * signed(b, 16) + c,
    "v_mul_hi_i32_i24_e32 v10, v0, v1": lambda a, b, c: signed(a, 24) * signed(b, 24) >> 32,
    "v_sad_u16 v10, v0, v1, v2": lambda a, b, c: c + abs((a & 0xFFFF) - (b & 0xFFFF)) + abs((a >> 16) - (b >> 16)),
    "v_sad_u32 v10, v0, v1, v2": lambda a, b, c: c + abs(a - b),
    "v_add3_u32 v10, v0, v1, v2": lambda a, b, c: a + b + c,
    "v_lshl_add_u32 v10, v0, v1, v2": lambda a, b, c: (a << (b & 31)) + c,
    "v_add_lshl_u32 v10, v0, v1, v2": lambda a, b, c: (a + b & M32) << (c & 31),
    "v_lshl_or_b32 v10, v0, v1, v2": lambda a, b, c: (a << (b & 31)) | c,
    "v_and_or_b32 v10, v0, v1, v2": lambda a, b, c: a & b | c,
    "v_or3_b32 v10, v0, v1, v2": lambda a, b, c: a | b | c,
    "v_xad_u32 v10, v0, v1, v2": lambda a, b, c: (a ^ b) + c,
    "v_xnor_b32_e32 v10, v0, v1": lambda a, b, c: ~(a ^ b),
    "v_not_b32_e32 v10, v0": lambda a, b, c: ~a,
    "v_lshlrev_b32_e32 v10, v0, v1": lambda a, b, c: b << (a & 31),
    "v_lshrrev_b32_e32 v10, v0, v1": lambda a, b, c: b >> (a & 31),
    "v_ashrrev_i32_e32 v10, v0, v1": lambda a, b, c: signed(b) >> (a & 31),
    "v_bfe_u32 v10, v0, v1, v2": bfe,
    "v_bfe_i32 v10, v0, v1, v2": lambda a, b, c: signed(signed(a) >> (b & 31), c & 31) if c & 31 else 0,
    "v_bfi_b32 v10, v0, v1, v2": lambda a, b, c: a & b | ~a & c,
    "v_bfrev_b32_e32 v10, v0": lambda a, b, c: int(f"{a:032b}"[::-1], 2),
    "v_ffbh_u32_e32 v10, v0": lambda a, b, c: 32 - a.bit_length() if a else M32,
    "v_ffbh_i32_e32 v10, v0": lambda a, b, c: next((at for at in range(1, 32) if a >> (31 - at) & 1 != a >> 31), M32),
    "v_ffbl_b32_e32 v10, v0": lambda a, b, c: (a & -a).bit_length() - 1 if a else M32,
    "v_bcnt_u32_b32 v10, v0, v1": lambda a, b, c: bin(a).count("1") + b,
    "v_perm_b32 v10, v0, v1, v3": None,  # type: ignore[dict-item] # its selector is prepared in the test
    "v_alignbit_b32 v10, v0, v1, v2": lambda a, b, c: ((a << 32) | b) >> (c & 31),
    "v_alignbyte_b32 v10, v0, v1, v2": lambda a, b, c: ((a << 32) | b) >> 8 * (c & 3),
    "v_min_i32_e32 v10, v0, v1": lambda a, b, c: min(signed(a), signed(b)),
    "v_max_u32_e32 v10, v0, v1": lambda a, b, c: max(a, b),
    "v_max3_i32 v10, v0, v1, v2": lambda a, b, c: max(signed(a), signed(b), signed(c)),
    "v_med3_i32 v10, v0, v1, v2": lambda a, b, c: sorted(map(signed, (a, b, c)))[1],
    "v_med3_u32 v10, v0, v1, v2": lambda a, b, c: sorted((a, b, c))[1],
    "v_add_u16_e32 v10, v0, v1": lambda a, b, c: a + b & 0xFFFF,
    "v_mul_lo_u16_e32 v10, v0, v1": lambda a, b, c: a * b & 0xFFFF,
    "v_lshlrev_b16_e32 v10, v0, v1": lambda a, b, c: (b << (a & 15)) & 0xFFFF,
    "v_lshrrev_b16_e32 v10, v0, v1": lambda a, b, c: (b & 0xFFFF) >> (a & 15),
    "v_max_i16_e32 v10, v0, v1": lambda a, b, c: max(signed(a, 16), signed(b, 16)) & 0xFFFF,
    "v_sad_u8 v10, v0, v1, v2": lambda a, b, c: c + sum(abs(x - y) for x, y in zip(a.to_bytes(4), b.to_bytes(4), strict=True)),
    "v_bitop3_b32 v10, v0, v1, v2 bitop3:0x78": lambda a, b, c: a ^ (b & c),
    "v_bitop3_b32 v10, v0, v1, v2 bitop3:0xe4": lambda a, b, c: (a & c) | (b & ~c),
    "v_lshlrev_b32_sdwa v10, v0, v1 dst_sel:DWORD dst_unused:UNUSED_PAD src0_sel:DWORD src1_sel:BYTE_1": lambda a, b, c: (
        (b >> 8 & 0xFF) << (a & 31)
    ),
    "v_add_u32_sdwa v10, v0, sext(v1) dst_sel:DWORD dst_unused:UNUSED_PAD src0_sel:WORD_1 src1_sel:BYTE_2": lambda a, b, c: (
        (a >> 16) + signed(b >> 16, 8)
    ),
    "v_or_b32_sdwa v10, v0, v1 dst_sel:BYTE_1 dst_unused:UNUSED_PAD src0_sel:BYTE_0 src1_sel:BYTE_3": lambda a, b, c: (
        ((a | b >> 24) & 0xFF) << 8
    ),
}  # fmt: skip


@pytest.mark.parametrize("text", INTEGER)
def test_integer(text: str, bench: Callable[..., Any]) -> None:
    run = bench()
    formula = INTEGER[text]
    if formula is None:
        run.batch.vector[3] &= 0x0F0F0F0F
        formula = perm
    a, b, c = run.words(0), run.words(1), run.words(3 if "v3" in text else 2)
    run.run(text)
    for lane, found in enumerate(run.words(10)):
        assert found == formula(a[lane], b[lane], c[lane]) & M32, (hex(a[lane]), hex(b[lane]), hex(c[lane]))


@pytest.mark.parametrize(("text", "formula"), [
    ("v_lshl_add_u64 v[10:11], v[0:1], 3, v[2:3]", lambda a, c: (a << 3) + c),
    ("v_lshlrev_b64 v[10:11], 37, v[0:1]", lambda a, c: a << 37),
    ("v_lshrrev_b64 v[10:11], 37, v[0:1]", lambda a, c: a >> 37),
    ("v_ashrrev_i64 v[10:11], 37, v[0:1]", lambda a, c: signed(a, 64) >> 37),
    ("v_mov_b64_e32 v[10:11], v[0:1]", lambda a, c: a),
    ("v_mad_u64_u32 v[10:11], s[8:9], v0, v1, v[2:3]", lambda a, c: (a & M32) * (a >> 32) + c),
    ("v_mad_i64_i32 v[10:11], s[8:9], v0, v1, v[2:3]", lambda a, c: signed(a) * signed(a >> 32) + signed(c, 64)),
])  # fmt: skip
def test_wide_integer(text: str, formula: Callable[[int, int], int], bench: Callable[..., Any]) -> None:
    run = bench()
    a, c = run.wide(0), run.wide(2)
    run.run(text)
    assert run.wide(10) == [formula(x, y) & M64 for x, y in zip(a, c, strict=True)]
    if "s[8:9]" in text:  # bit 64 of the sum: a carry of unsigned numbers, the sign of signed ones
        assert [run.pair(8) >> lane & 1 for lane in range(64)] == [formula(x, y) >> 64 & 1 for x, y in zip(a[:64], c[:64], strict=True)]


def test_high_carry_of_a_wide_add(bench: Callable[..., Any]) -> None:
    run = bench()
    a, b, c, d = (run.words(at) for at in range(4))
    run.run("v_add_co_u32_e32 v10, vcc, v0, v2", "v_addc_co_u32_e32 v11, vcc, v1, v3, vcc")
    low, high = zip(a, c, strict=True), zip(b, d, strict=True)
    wanted = [(x + y + ((z + w) << 32)) & M64 for (x, y), (z, w) in zip(low, high, strict=True)]
    assert run.wide(10) == wanted
    run.run("v_sub_co_u32_e32 v10, vcc, v0, v2", "v_subbrev_co_u32_e32 v11, vcc, v3, v1, vcc")
    assert run.wide(10) == [(x + (z << 32) - y - (w << 32)) & M64 for x, y, z, w in zip(a, c, b, d, strict=True)]


FLOATS = [0.0, -0.0, 1.0, -1.5, 2.5, 3.5, -2.5, 1e-40, 3e38, -3e38, math.inf, -math.inf, math.nan, 0.1, 7.75, 1e-20]


def exact_fma(a: float, b: float, c: float) -> float:
    """a x b + c with one rounding to f64 at the end, from exact fractions."""
    if all(map(math.isfinite, (a, b, c))):
        total = Fraction(a) * Fraction(b) + Fraction(c)
        return float(total) if total else a * b + c
    with np.errstate(all="ignore"):
        return float(np.float64(a) * np.float64(b) + np.float64(c))


def clamp(value: float) -> float:
    return 0.0 if math.isnan(value) else min(max(value, 0.0), 1.0)


def most(a: float, b: float) -> float:
    return b if math.isnan(a) else a if math.isnan(b) else max(a, b)


FLOATING: dict[str, Callable[..., float]] = {
    "v_add_f32_e32 v10, v0, v1": lambda a, b, c: a + b,
    "v_sub_f32_e32 v10, v0, v1": lambda a, b, c: a - b,
    "v_subrev_f32_e32 v10, v0, v1": lambda a, b, c: b - a,
    "v_mul_f32_e32 v10, v0, v1": lambda a, b, c: a * b,
    "v_mul_f32_e64 v10, -v0, |v1|": lambda a, b, c: -a * abs(b),
    "v_mul_f32_e64 v10, v0, v1 clamp": lambda a, b, c: clamp(float(np.float32(a * b))),
    "v_mul_f32_e64 v10, v0, v1 mul:2": lambda a, b, c: 2 * float(np.float32(a * b)),
    "v_add_f32_e64 v10, v0, v1 div:2": lambda a, b, c: 0.5 * float(np.float32(a + b)),
    "v_fma_f32 v10, v0, -v1, v2": lambda a, b, c: exact_fma(a, -b, c),
    "v_fmamk_f32 v10, v0, 0x40200000, v2": lambda a, b, c: exact_fma(a, 2.5, c),
    "v_fmaak_f32 v10, v0, v1, 0xbf800000": lambda a, b, c: exact_fma(a, b, -1.0),
    "v_mul_f32_e32 v10, 0.15915494, v0": lambda a, b, c: float(np.float32(0.15915494)) * a,
    "v_max_f32_e32 v10, v0, v1": lambda a, b, c: most(a, b),
    "v_min_f32_e32 v10, v0, v1": lambda a, b, c: -most(-a, -b),
    "v_max3_f32 v10, v0, |v1|, v2": lambda a, b, c: most(most(a, abs(b)), c),
    "v_floor_f32_e32 v10, v0": lambda a, b, c: math.floor(a) if math.isfinite(a) and a else a,
    "v_rndne_f32_e32 v10, v0": lambda a, b, c: round(a) if math.isfinite(a) and a else a,
    "v_trunc_f32_e32 v10, v0": lambda a, b, c: math.trunc(a) if math.isfinite(a) and a else a,
    "v_rcp_f32_e32 v10, v2": lambda a, b, c: 1 / c,
    "v_sqrt_f32_e64 v10, |v2|": lambda a, b, c: math.sqrt(abs(c)),
    "v_rsq_f32_e64 v10, |v2|": lambda a, b, c: 1 / math.sqrt(abs(c)),
    "v_exp_f32_e32 v10, v2": lambda a, b, c: 2.0**c,
    "v_log_f32_e64 v10, |v2|": lambda a, b, c: math.log2(abs(c)),
    "v_ldexp_f32 v10, v0, -3": lambda a, b, c: a / 8,
    "v_cvt_f32_ubyte2_e32 v10, v3": None,  # type: ignore[dict-item]
    "v_cvt_f32_i32_e32 v10, v3": None,  # type: ignore[dict-item]
    "v_cvt_f32_u32_e32 v10, v3": None,  # type: ignore[dict-item]
}
FROM_WORDS = {"ubyte2": lambda w: float(w >> 16 & 0xFF), "f32_i32": lambda w: float(signed(w)), "f32_u32": float}


@pytest.mark.parametrize("text", FLOATING)
def test_floating(text: str, bench: Callable[..., Any]) -> None:
    run = bench()
    grid = np.array(FLOATS, np.float32)
    run.floats(0, np.tile(grid, 4))
    run.floats(1, np.repeat(grid, 4))
    run.floats(2, run.random.uniform(-20, 20, (2, 64)))
    run.batch.vector[10] = 0
    a, b, c = (run.f32(at).ravel().astype(float).tolist() for at in range(3))
    words = run.words(3)
    run.run(text)
    for lane, found in enumerate(run.f32(10).ravel()):
        if FLOATING[text] is None:
            wanted = next(formula for name, formula in FROM_WORDS.items() if name in text)(words[lane])
        else:
            with np.errstate(all="ignore"):
                wanted = FLOATING[text](np.float64(a[lane]), np.float64(b[lane]), c[lane])
        with np.errstate(all="ignore"):
            expected = np.float32(wanted)
        same = found == expected or (np.isnan(found) and np.isnan(expected))
        assert same, (a[lane], b[lane], c[lane], found, expected)


def test_accumulating_forms_read_the_destination(bench: Callable[..., Any]) -> None:
    run = bench()
    run.floats(0, 3.0), run.floats(1, 4.0), run.floats(10, 0.5)
    assert (run.run("v_fmac_f32_e32 v10, v0, v1").f32(10) == 12.5).all()


@pytest.mark.parametrize(("text", "low", "high"), [("v_cvt_i32_f32_e32", -(2**31), 2**31 - 1), ("v_cvt_u32_f32_e32", 0, 2**32 - 1)])
def test_conversion_to_integer_saturates(text: str, low: int, high: int, bench: Callable[..., Any]) -> None:
    run = bench()
    run.floats(0, np.tile(np.array(FLOATS, np.float32), 4))
    values = run.f32(0).ravel().astype(float).tolist()
    run.run(f"{text} v10, v0")
    wanted = [0 if math.isnan(x) else int(min(max(x, low), high)) & M32 for x in values]
    assert run.words(10) == wanted


def test_f16_and_f64(bench: Callable[..., Any]) -> None:
    run = bench()
    run.floats(0, np.linspace(-70000, 70000, 64))
    run.run("v_cvt_f16_f32_e32 v10, v0", "v_cvt_f32_f16_e32 v11, v10")
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(run.f32(11), run.f32(0).astype(np.float16).astype(np.float32))
    assert max(run.words(10)) <= 0xFFFF
    run.run("v_cvt_f64_f32_e32 v[12:13], v0", "v_mul_f64 v[12:13], v[12:13], 0.5", "v_fma_f64 v[12:13], v[12:13], 2.0, 1.0")
    run.run("v_cvt_f32_f64_e32 v14, v[12:13]")
    np.testing.assert_array_equal(run.f32(14), (run.f32(0).astype(float) + 1).astype(np.float32))
    run.halves(4, 1.5, -2.0), run.halves(5, 0.25, 8.0)
    run.run("v_add_f16_e64 v10, v4, v5 op_sel:[1,0,0]", "v_mul_f16_e32 v11, v4, v5")
    assert set(run.words(10)) == {int(np.float16(-1.75).view(np.uint16))}
    assert set(run.words(11)) == {int(np.float16(0.375).view(np.uint16))}


def test_inactive_lanes_keep_their_value(bench: Callable[..., Any]) -> None:
    run = bench()
    before, a = run.words(10), run.words(0)
    run.exec_mask(0x5555555555555555)
    run.run("v_mov_b32_e32 v10, v0")
    assert run.words(10) == [a[at] if at % 2 == 0 else before[at] for at in range(128)]


def test_lane_counting(bench: Callable[..., Any]) -> None:
    run = bench()
    run.pair(4, 0xF0F0F0F012345678)
    run.run("v_mbcnt_lo_u32_b32 v10, s4, 0", "v_mbcnt_hi_u32_b32 v10, s5, v10")
    assert run.words(10)[:64] == [bin(0xF0F0F0F012345678 & ((1 << lane) - 1)).count("1") for lane in range(64)]


def test_unknown_modifiers_are_refused(bench: Callable[..., Any]) -> None:
    with pytest.raises(UnknownInstruction, match="unknown modifier surprise"):
        bench().run("v_add_u32_e64 v10, v0, v1 surprise:1")
    with pytest.raises(UnknownInstruction, match="clamp"):
        bench().run("v_lshlrev_b32_e64 v10, v0, v1 clamp")


@pytest.mark.parametrize("line", [
    "v_cndmask_b32_dpp v10, v0, v1, vcc quad_perm:[1,0,3,2] row_mask:0xf bank_mask:0xf", "v_add_co_u32_dpp v10, vcc, v0, v1 row_shr:1 row_mask:0xf bank_mask:0xf",
    "v_cndmask_b32_sdwa v10, v0, v1, vcc dst_sel:WORD_1 dst_unused:UNUSED_PRESERVE src0_sel:DWORD src1_sel:DWORD", "v_mad_u64_u32 v[10:11], s[8:9], v0, v1, v[2:3] clamp",
    "v_div_fmas_f32 v10, v0, v1, v2 mul:2", "v_cvt_pk_bf16_f32 v10, v0, v1 clamp", "ds_read_b32 v10, v0 gds", "global_load_dword v10, v[2:3], off tfe",
    "v_add_u32_e64 v10, -v0, v1", "v_lshlrev_b32_e64 v10, v0, |v1|",
])  # fmt: skip
def test_no_modifier_is_passed_over_in_silence(line: str, bench: Callable[..., Any]) -> None:
    with pytest.raises(UnknownInstruction, match="unknown modifier|sign modifier of an integer"):
        bench().run(line)
