"""Packed operations: which half goes where, and with which sign."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tunefork.kernels.amdgcn.errors import UnknownInstruction
from tunefork.kernels.amdgcn.executor.machine.operands import VCC


def fill(run: Any) -> list[np.ndarray[Any, Any]]:
    for at in range(6):
        run.floats(at, run.random.standard_normal((2, 64)))
    return [run.f32(at) for at in range(6)]


def test_packed_f32_halves_and_signs(bench: Callable[..., Any]) -> None:
    run = bench()
    a0, a1, b0, b1, c0, c1 = fill(run)
    run.run("v_pk_mul_f32 v[10:11], v[0:1], v[2:3]")
    np.testing.assert_array_equal((run.f32(10), run.f32(11)), (a0 * b0, a1 * b1))
    run.run("v_pk_mul_f32 v[10:11], v[0:1], v[2:3] op_sel_hi:[1,0]")
    np.testing.assert_array_equal((run.f32(10), run.f32(11)), (a0 * b0, a1 * b0))
    run.run("v_pk_add_f32 v[10:11], v[0:1], v[2:3] op_sel:[0,1] op_sel_hi:[1,0] neg_lo:[0,1] neg_hi:[1,0]")
    np.testing.assert_array_equal((run.f32(10), run.f32(11)), (a0 - b1, b0 - a1))
    run.run("v_pk_fma_f32 v[10:11], v[0:1], v[2:3], v[4:5]")
    exact = [(x.astype(float) * y + z).astype(np.float32) for x, y, z in ((a0, b0, c0), (a1, b1, c1))]
    np.testing.assert_array_equal((run.f32(10), run.f32(11)), exact)
    run.scalar(4, int(np.float32(2.0).view(np.uint32))), run.scalar(5, int(np.float32(4.0).view(np.uint32)))
    run.run("v_pk_mul_f32 v[10:11], s[4:5], v[2:3]")
    np.testing.assert_array_equal((run.f32(10), run.f32(11)), (2 * b0, 4 * b1))


def test_packed_move(bench: Callable[..., Any]) -> None:
    run = bench()
    a, b = run.words(0), run.words(3)
    run.run("v_pk_mov_b32 v[10:11], v[0:1], v[2:3] op_sel:[0,1]")
    assert (run.words(10), run.words(11)) == (a, b)


def test_packed_16_bit(bench: Callable[..., Any]) -> None:
    run = bench()
    values = run.random.standard_normal((4, 2, 64)).astype(np.float16)
    run.halves(0, values[0], values[1]), run.halves(1, values[2], values[3])
    run.run("v_pk_add_f16 v10, v0, v1", "v_pk_mul_f16 v11, v0, v1 op_sel_hi:[0,1] neg_lo:[1,0]")
    word = run.batch.vector
    low, high = [(word[10] >> shift).astype(np.uint16).view(np.float16) for shift in (0, 16)]
    np.testing.assert_array_equal((low, high), (values[0] + values[2], values[1] + values[3]))
    low, high = [(word[11] >> shift).astype(np.uint16).view(np.float16) for shift in (0, 16)]
    np.testing.assert_array_equal((low, high), (-values[0] * values[2], values[0] * values[3]))
    a, b = run.words(2), run.words(3)
    run.run("v_pk_max_u16 v10, v2, v3", "v_pk_lshlrev_b16 v11, v2, v3")
    assert run.words(10) == [max(x & 0xFFFF, y & 0xFFFF) | max(x >> 16, y >> 16) << 16 for x, y in zip(a, b, strict=True)]
    shifted = [((y & 0xFFFF) << (x & 15) & 0xFFFF) | ((y >> 16) << (x >> 16 & 15) & 0xFFFF) << 16 for x, y in zip(a, b, strict=True)]
    assert run.words(11) == shifted


def test_a_constant_is_one_word_of_which_each_half_takes_its_own(bench: Callable[..., Any]) -> None:
    """An f16 constant has a high half of zero, an integer constant is sign-extended; op_sel_hi:0 gives both halves the low one."""
    run = bench(waves=1)
    run.halves(0, 2.0, 4.0)
    one, words = int(np.float16(1).view(np.uint16)), run.batch.vector
    run.run("v_pk_mul_f16 v10, v0, 1.0", "v_pk_mul_f16 v11, v0, 1.0 op_sel_hi:[1,0]", "v_pk_add_u16 v12, v0, 1", "v_pk_add_u16 v13, v0, -1")
    assert int(words[10, 0, 0]) == int(np.float16(2).view(np.uint16)) and int(words[11, 0, 0]) == int(words[0, 0, 0])
    assert int(words[12, 0, 0]) == int(words[0, 0, 0]) + 1 and int(words[13, 0, 0]) == int(words[0, 0, 0]) - 0x10001
    run.run("v_pk_max_i16 v14, v0, 1.0")  # an integer operation reads the f32 pattern
    assert int(words[14, 0, 0]) == (0x4400_4000 & 0xFFFF) | max(0x4400, 0x3F80) << 16 and one == 0x3C00


def test_mixed_fma_into_one_half(bench: Callable[..., Any]) -> None:
    run = bench(waves=1)
    run.floats(0, 3.0), run.halves(1, 0.5, 2.0), run.floats(2, 10.0), run.halves(10, 7.0, 9.0), run.halves(11, 7.0, 9.0)
    run.run("v_fma_mixlo_f16 v10, v0, v1, v2 op_sel_hi:[0,1,0]", "v_fma_mixhi_f16 v11, v0, v1, v2 op_sel:[0,1,0] op_sel_hi:[0,1,0]")
    halves = run.batch.vector[10:12, 0, 0].copy().view(np.float16).tolist()
    assert halves == [11.5, 9.0, 7.0, 16.0]


def test_a_negated_constant_zero(bench: Callable[..., Any]) -> None:
    """Triton 3.8 prints ``neg(0)``: the addend that leaves a product's sign alone."""
    run = bench(waves=1)
    run.floats(0, 0.0), run.floats(1, -1.0)
    run.run("v_fma_mix_f32 v10, v0, v1, neg(0)", "v_fma_mix_f32 v11, v0, v1, 0")
    assert (run.words(10)[0], run.words(11)[0]) == (0x80000000, 0)


def test_modifiers_without_a_meaning_are_refused(bench: Callable[..., Any]) -> None:
    for text in ("v_pk_fma_f32 v[10:11], v[0:1], v[2:3], v[4:5] clamp", "v_fma_mix_f32 v10, v0, v1, v2 clamp", "v_pk_add_u16 v10, v0, v1 clamp"):
        with pytest.raises(UnknownInstruction, match="no meaning here yet|unknown packed operation"):
            bench().run(text)


def test_mixed_fma(bench: Callable[..., Any]) -> None:
    run = bench()
    run.floats(0, 3.0), run.halves(1, 0.5, 2.0), run.floats(2, 10.0)
    assert (run.run("v_fma_mix_f32 v10, v0, v1, v2 op_sel:[0,1,0] op_sel_hi:[0,1,0]").f32(10) == 16.0).all()
    assert (run.run("v_fma_mix_f32 v10, v0, -v1, v2 op_sel_hi:[0,1,0]").f32(10) == 8.5).all()


def test_packed_writes_respect_exec(bench: Callable[..., Any]) -> None:
    run = bench()
    before = run.words(10)
    run.exec_mask(1)
    run.pair(VCC, 0)
    run.run("v_pk_add_f32 v[10:11], v[0:1], v[2:3]")
    assert run.words(10)[1:64] == before[1:64] and run.words(10)[0] != before[0]
