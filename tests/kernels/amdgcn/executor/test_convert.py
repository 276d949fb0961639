"""Narrow conversions, against value tables written out from the formats' definitions and torch's own casts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6]
TORCH = {"fp8": torch.float8_e4m3fn, "bf8": torch.float8_e5m2}


def decoded(pattern: int, fmt: str) -> float:
    if fmt == "fp4":
        return E2M1[pattern]
    return float(torch.tensor([pattern], dtype=torch.uint8).view(TORCH[fmt]).float())


def as_float(words: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    """The low 16 bits (or the whole word) as numbers."""
    if kind == "bf16":
        return (words.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return words.astype(np.uint16).view(np.float16).astype(np.float32) if kind == "f16" else words.view(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["f32", "bf16", "f16"])
@pytest.mark.parametrize("fmt", ["fp4", "fp8", "bf8"])
@pytest.mark.parametrize("select", range(4))
def test_scaled_decode(kind: str, fmt: str, select: int, bench: Callable[..., Any]) -> None:
    """Every pattern at every place; the scale's mantissa must not matter."""
    if fmt != "fp4" and select > 1:
        select -= 2
    run = bench(waves=4)
    run.batch.vector[0] = np.arange(256, dtype=np.uint32).reshape(4, 64) * np.uint32(0x01010101)
    run.batch.vector[0] ^= np.uint32(0xFF00) << np.uint32(8 * (select % 2))
    run.floats(1, 8.75)  # 2**3 times a mantissa
    words = run.words(0)
    op_sel = f"op_sel:[{select & 1},{select >> 1},0]" if fmt == "fp4" else f"op_sel:[{select},0,0]"
    run.run(f"v_cvt_scalef32_pk_{kind}_{fmt} v{'[10:11]' if kind == 'f32' else '10'}, v0, v1 {op_sel}")
    bits = 4 if fmt == "fp4" else 8
    shift = 8 * select if fmt == "fp4" else 16 * select
    parts = [(word >> shift) for word in words]
    first = np.array([8 * decoded(part & ((1 << bits) - 1), fmt) for part in parts], np.float32)
    second = np.array([8 * decoded(part >> bits & ((1 << bits) - 1), fmt) for part in parts], np.float32)
    low, high = run.batch.vector[10].ravel(), run.batch.vector[11].ravel()
    if kind != "f32":
        low, high = low & np.uint32(0xFFFF), low >> np.uint32(16)
    limit = np.float32 if kind != "f16" else np.float16
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(as_float(low, kind), first.astype(limit).astype(np.float32))
        np.testing.assert_array_equal(as_float(high, kind), second.astype(limit).astype(np.float32))


def test_scale_extremes(bench: Callable[..., Any]) -> None:
    """e8m0 0 is 2**-127; 255 (as f32, infinity) gives NaN."""
    run = bench()
    run.batch.vector[0] = 0x2  # one
    run.batch.vector[1] = 0
    run.run("v_cvt_scalef32_pk_f32_fp4 v[10:11], v0, v1")
    assert (run.f32(10) == np.float32(2.0**-127)).all()
    run.batch.vector[1] = 255 << 23
    run.run("v_cvt_scalef32_pk_bf16_fp4 v10, v0, v1")
    assert ((run.batch.vector[10] & 0x7FFF) > 0x7F80).all()


VALUES = np.concatenate([np.linspace(-470, 470, 200), [0.0, -0.0, 1e-9, 2**-10, 3 * 2.0**-11, 448, 464, 465, 1e6, 6e4]])


def inputs(run: Any) -> np.ndarray[Any, Any]:
    values = np.resize(VALUES, (4, 64)).astype(np.float32)
    run.floats(0, values), run.floats(1, values[::-1])
    return values


@pytest.mark.parametrize("fmt", ["fp8", "bf8"])
@pytest.mark.parametrize("form", ["plain", "scaled"])
def test_encode_rounds_like_torch(fmt: str, form: str, bench: Callable[..., Any]) -> None:
    """Finite results agree with torch's cast; the other half of the register is kept."""
    run = bench(waves=4)
    values = inputs(run)
    run.batch.vector[10] = 0xABCD1234
    run.batch.vector[11] = 0xABCD1234
    run.floats(2, 4.0)
    if form == "plain":
        run.run(f"v_cvt_pk_{fmt}_f32 v10, v0, v1", f"v_cvt_pk_{fmt}_f32 v11, v0, v1 op_sel:[0,0,1]")
    else:
        run.run(f"v_cvt_scalef32_pk_{fmt}_f32 v10, v0, v1, v2", f"v_cvt_scalef32_pk_{fmt}_f32 v11, v0, v1, v2 op_sel:[0,0,0,1]")
        values = values / 4
    exact = torch.from_numpy(values).to(TORCH[fmt])
    finite = np.abs(values) <= torch.finfo(TORCH[fmt]).max  # beyond it torch saturates; the mode decides here
    patterns = exact.view(torch.uint8).numpy().astype(np.uint32)
    low, high = run.batch.vector[10], run.batch.vector[11]
    np.testing.assert_array_equal((low & 0xFF)[finite], patterns[finite])
    np.testing.assert_array_equal((low >> 8 & 0xFF)[finite[::-1]], patterns[::-1][finite[::-1]])
    np.testing.assert_array_equal(high >> 16, low & 0xFFFF)
    assert (low >> 16 == 0xABCD).all() and (high & 0xFFFF == 0x1234).all()


def test_overflow_obeys_the_mode(bench: Callable[..., Any]) -> None:
    run = bench()
    run.floats(0, 1e6), run.floats(1, -np.inf)
    assert set(run.run("v_cvt_pk_fp8_f32 v10, v0, v1").batch.vector[10].ravel() & 0xFFFF) == {0xFF7F}
    run.floats(2, 464.0), run.floats(3, 464.1)  # half-way between 448 and what would come next
    assert set(run.run("v_cvt_pk_fp8_f32 v10, v2, v3").batch.vector[10].ravel() & 0xFFFF) == {0x7F7E}
    run.run("s_setreg_imm32_b32 hwreg(HW_REG_MODE, 23, 1), 1", "v_cvt_pk_fp8_f32 v10, v0, v1", "v_cvt_pk_bf8_f32 v11, v0, v1")
    assert set(run.batch.vector[10].ravel() & 0xFFFF) == {0xFE7E}
    assert set(run.batch.vector[11].ravel() & 0xFFFF) == {0xFB7B}


@pytest.mark.parametrize("kind", ["f32", "bf16", "f16"])
@pytest.mark.parametrize("byte", range(4))
def test_encode_fp4(kind: str, byte: int, bench: Callable[..., Any]) -> None:
    """Round to nearest, ties to even, saturate at 6; the other bytes are kept."""
    run = bench()
    values = np.resize(np.array([0.2, 0.25, 0.3, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 5.5, 7.0, 100.0, -0.25, -5.0]), (2, 64))
    wanted_values = np.resize(np.array([0, 0, 0.5, 1, 1, 2, 2, 4, 4, 6, 6, 6, -0.0, -4]), (2, 64))
    lookup = {(float(v), bool(np.signbit(v))): at for at, v in enumerate(E2M1)}
    wanted = np.array([[lookup[(float(v), bool(np.signbit(v)))] for v in row] for row in wanted_values])
    run.floats(2, 0.5)
    run.batch.vector[10] = 0x11223344
    place = f"op_sel:[0,0,{byte & 1},{byte >> 1}]"
    if kind == "f32":
        run.floats(0, values / 2), run.floats(1, values[:, ::-1] / 2)
        run.run(f"v_cvt_scalef32_pk_fp4_f32 v10, v0, v1, v2 {place}")
    else:
        if kind == "f16":
            run.halves(0, values / 2, values[:, ::-1] / 2)
        else:
            low, high = ((v / 2).astype(np.float32).copy().view(np.uint32) >> 16 for v in (values, values[:, ::-1]))
            run.batch.vector[0] = low | (high << 16)
        run.run(f"v_cvt_scalef32_pk_fp4_{kind} v10, v0, v2 {place}")
    found = run.batch.vector[10] >> (8 * byte) & 0xFF
    np.testing.assert_array_equal(found, wanted | wanted[:, ::-1] << 4)
    assert ((run.batch.vector[10] | 0xFF << 8 * byte) == (0x11223344 | 0xFF << 8 * byte)).all()


@pytest.mark.parametrize("fmt", ["fp8", "bf8"])
def test_plain_decode(fmt: str, bench: Callable[..., Any]) -> None:
    run = bench()
    words = run.words(0)
    run.run(f"v_cvt_pk_f32_{fmt}_e32 v[10:11], v0", f"v_cvt_pk_f32_{fmt}_sdwa v[12:13], v0 src0_sel:WORD_1")
    run.run(f"v_cvt_f32_{fmt}_sdwa v14, v0 src0_sel:BYTE_2")
    for register, shift in ((10, 0), (11, 8), (12, 16), (13, 24), (14, 16)):
        wanted = np.array([decoded(word >> shift & 255, fmt) for word in words], np.float32)
        np.testing.assert_array_equal(run.f32(register).ravel(), wanted)


def test_bf16_rounding_like_torch(bench: Callable[..., Any]) -> None:
    run = bench()
    a, b = run.f32(0), run.f32(1)
    run.run("v_cvt_pk_bf16_f32 v10, v0, v1")
    for source, shift in ((a, 0), (b, 16)):
        wanted = torch.from_numpy(source).bfloat16()
        found = torch.from_numpy((run.batch.vector[10] >> shift).astype(np.uint16).view(np.int16)).view(torch.bfloat16)
        assert torch.equal(found.isnan(), wanted.isnan())
        assert torch.equal(found[~found.isnan()], wanted[~wanted.isnan()])


def test_f16_towards_zero(bench: Callable[..., Any]) -> None:
    run = bench()
    run.floats(0, np.linspace(-3, 3, 64)), run.floats(1, 70000.0)
    run.run("v_cvt_pkrtz_f16_f32 v10, v0, v1")
    low = run.batch.vector[10].astype(np.uint16).view(np.float16).astype(float)
    assert (np.abs(low) <= np.abs(run.f32(0))).all() and np.allclose(low, run.f32(0), rtol=1e-3, atol=1e-7)
    assert set(run.batch.vector[10].ravel() >> 16) == {0x7BFF}
