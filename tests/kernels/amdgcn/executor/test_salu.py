"""Scalar operations against Python integers."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

M32, M64 = 2**32 - 1, 2**64 - 1
EDGES = [0, 1, 5, 31, 32, 63, 0x7FFF, 0x8000, 0x10006, 0x20006, 0x100000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def signed(value: int, bits: int = 32) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value


def trailing(value: int) -> int:
    return (value & -value).bit_length() - 1 if value else -1


def bit_field(value: int, control: int, bits: int, *, extend: bool) -> int:
    offset, width = control & (bits - 1), min((control >> 16) & 127, bits - (control & (bits - 1)))
    field = (value >> offset) & ((1 << width) - 1)
    return signed(field, width) if extend and width else field


TWO: dict[str, Callable[[int, int], tuple[int, bool | None]]] = {
    "s_add_u32": lambda a, b: (a + b, a + b > M32),
    "s_sub_u32": lambda a, b: (a - b, b > a),
    "s_add_i32": lambda a, b: (a + b, not -(2**31) <= signed(a) + signed(b) < 2**31),
    "s_sub_i32": lambda a, b: (a - b, not -(2**31) <= signed(a) - signed(b) < 2**31),
    "s_mul_i32": lambda a, b: (a * b, None),
    "s_mul_hi_u32": lambda a, b: (a * b >> 32, None),
    "s_mul_hi_i32": lambda a, b: (signed(a) * signed(b) >> 32, None),
    "s_min_u32": lambda a, b: (min(a, b), a < b),
    "s_max_i32": lambda a, b: (max(signed(a), signed(b)), signed(a) >= signed(b)),
    "s_max_u32": lambda a, b: (max(a, b), a >= b),
    "s_and_b32": lambda a, b: (a & b, a & b != 0),
    "s_andn2_b32": lambda a, b: (a & ~b, a & ~b & M32 != 0),
    "s_orn2_b32": lambda a, b: (a | ~b, (a | ~b) & M32 != 0),
    "s_xnor_b32": lambda a, b: (~(a ^ b), ~(a ^ b) & M32 != 0),
    "s_lshl_b32": lambda a, b: (a << (b & 31), (a << (b & 31)) & M32 != 0),
    "s_lshr_b32": lambda a, b: (a >> (b & 31), a >> (b & 31) != 0),
    "s_ashr_i32": lambda a, b: (signed(a) >> (b & 31), signed(a) >> (b & 31) != 0),
    "s_bfe_u32": lambda a, b: (bit_field(a, b, 32, extend=False), bit_field(a, b, 32, extend=False) != 0),
    "s_bfe_i32": lambda a, b: (bit_field(a, b, 32, extend=True), bit_field(a, b, 32, extend=True) != 0),
    "s_bfm_b32": lambda a, b: (((1 << (a & 31)) - 1) << (b & 31), None),
    "s_lshl2_add_u32": lambda a, b: ((a << 2) + b, (a << 2) + b > M32),
    "s_pack_ll_b32_b16": lambda a, b: ((a & 0xFFFF) | (b << 16), None),
    "s_pack_hh_b32_b16": lambda a, b: ((a >> 16) | (b >> 16 << 16), None),
}
ONE: dict[str, Callable[[int], tuple[int, bool | None]]] = {
    "s_mov_b32": lambda a: (a, None),
    "s_not_b32": lambda a: (~a, ~a & M32 != 0),
    "s_brev_b32": lambda a: (int(f"{a:032b}"[::-1], 2), None),
    "s_bcnt1_i32_b32": lambda a: (bin(a).count("1"), a != 0),
    "s_ff1_i32_b32": lambda a: (trailing(a), None),
    "s_flbit_i32_b32": lambda a: (32 - a.bit_length() if a else -1, None),
    "s_flbit_i32": lambda a: (next((at for at in range(1, 32) if a >> (31 - at) & 1 != a >> 31), -1), None),
    "s_sext_i32_i8": lambda a: (signed(a & 0xFF, 8), None),
    "s_sext_i32_i16": lambda a: (signed(a & 0xFFFF, 16), None),
    "s_abs_i32": lambda a: (abs(signed(a)), a != 0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TWO)
def test_two_sources(name: str, bench: Callable[..., Any]) -> None:
    numbers = random.Random(name)
    run = bench()
    for a, b in [(x, y) for x in EDGES for y in EDGES] + [(numbers.getrandbits(32), numbers.getrandbits(32)) for _ in range(50)]:
        run.scalar(4, a), run.scalar(5, b)
        run.batch.scc[:] = True
        run.run(f"{name} s6, s4, s5")
        value, scc = TWO[name](a, b)
        assert run.scalar(6) == value & M32, (hex(a), hex(b))
        assert bool(run.batch.scc[0]) == (True if scc is None else scc), (hex(a), hex(b))


@pytest.mark.parametrize("name", ONE)
def test_one_source(name: str, bench: Callable[..., Any]) -> None:
    run = bench()
    for a in EDGES:
        run.scalar(4, a)
        run.batch.scc[:] = True
        run.run(f"{name} s6, s4")
        value, scc = ONE[name](a)
        assert run.scalar(6) == value & M32, hex(a)
        assert bool(run.batch.scc[0]) == (True if scc is None else scc), hex(a)


def test_pairs(bench: Callable[..., Any]) -> None:
    run, a, b = bench(), 0x8000_0001_F000_0000, 0x0FF0_0000_0000_00FF
    run.pair(4, a), run.pair(6, b), run.scalar(10, 68)
    for name, value in {
        "s_and_b64 s[8:9], s[4:5], s[6:7]": a & b,
        "s_xor_b64 s[8:9], s[4:5], s[6:7]": a ^ b,
        "s_lshl_b64 s[8:9], s[4:5], s10": a << 4,
        "s_lshr_b64 s[8:9], s[4:5], s10": a >> 4,
        "s_ashr_i64 s[8:9], s[4:5], s10": signed(a, 64) >> 4,
        "s_not_b64 s[8:9], s[4:5]": ~a,
        "s_mov_b64 s[8:9], -1": M64,
        "s_mov_b64 s[8:9], 0x80000000": 0x80000000,
    }.items():
        assert run.run(name).pair(8) == value & M64, name
    assert run.run("s_bcnt1_i32_b64 s8, s[4:5]").scalar(8) == bin(a).count("1")
    assert run.run("s_ff1_i32_b64 s8, s[4:5]").scalar(8) == 28


def test_carry_chain_adds_64_bits(bench: Callable[..., Any]) -> None:
    run, a, b = bench(), 0x0000_0001_FFFF_FFFF, 0x0000_0002_0000_0001
    run.pair(4, a), run.pair(6, b)
    assert run.run("s_add_u32 s8, s4, s6", "s_addc_u32 s9, s5, s7").pair(8) == a + b
    assert run.run("s_sub_u32 s8, s6, s4", "s_subb_u32 s9, s7, s5").pair(8) == b - a
    assert not run.batch.scc[0]


@pytest.mark.parametrize(("text", "wanted"), [
    ("s_cmp_lt_i32 s4, s5", True), ("s_cmp_lt_u32 s4, s5", False), ("s_cmp_eq_u32 s4, s4", True), ("s_cmp_lg_u32 s4, s4", False),
    ("s_cmp_ge_i32 s5, 3", True), ("s_cmpk_lt_i32 s4, 0xffff", False), ("s_cmpk_eq_i32 s4, 0xffff", True),
    ("s_cmpk_lt_u32 s5, 0x8000", True), ("s_cmpk_gt_u32 s4, 0x8000", True), ("s_cmpk_lt_u32 s6, 0x8000", False), ("s_bitcmp1_b32 s5, 1", True), ("s_bitcmp0_b32 s5, 2", True),
    ("s_bitcmp1_b32 s5, 33", True),
])  # fmt: skip
def test_comparisons(text: str, wanted: bool, bench: Callable[..., Any]) -> None:
    run = bench()
    run.scalar(4, -1), run.scalar(5, 3), run.scalar(6, 0x10000)
    run.batch.scc[:] = not wanted
    assert bool(run.run(text).batch.scc[0]) is wanted


def test_selects_and_short_constants(bench: Callable[..., Any]) -> None:
    run = bench()
    run.scalar(4, 10), run.scalar(5, 20), run.scalar(6, 30)
    run.batch.scc[:] = [True, False]
    run.run("s_cselect_b32 s8, s4, s5")
    assert run.batch.scalar[:, 8].tolist() == [10, 20]
    run.run("s_cmov_b32 s6, s4")
    assert run.batch.scalar[:, 6].tolist() == [10, 30]
    assert run.run("s_movk_i32 s8, 0xfff0").scalar(8) == 0xFFFFFFF0
    run.scalar(8, 0x7FFFFFFF)
    assert run.run("s_addk_i32 s8, 0x1").scalar(8) == 0x80000000 and run.batch.scc[0]
    assert run.run("s_mulk_i32 s8, 0xffff").scalar(8) == 0x80000000
    run.scalar(8, 0xF0)
    assert run.run("s_bitset0_b32 s8, 4", "s_bitset1_b32 s8, 0").scalar(8) == 0xE1


def test_saveexec_saves_and_narrows(bench: Callable[..., Any], special: dict[str, int]) -> None:
    run = bench()
    run.exec_mask(0xFF00FF), run.pair(4, 0x0F0F0F)
    run.run("s_and_saveexec_b64 s[6:7], s[4:5]")
    assert (run.pair(6), run.pair(special["exec"])) == (0xFF00FF, 0x0F000F)
    assert run.batch.active[0].sum() == 8 and run.batch.scc[0] and not run.batch.full
    run.run("s_andn2_saveexec_b64 s[8:9], s[6:7]")
    assert run.pair(special["exec"]) == 0xFF00FF & ~0x0F000F
    run.run("s_or_b64 exec, exec, -1")
    assert run.batch.full
