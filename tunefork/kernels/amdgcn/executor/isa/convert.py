"""Conversions between f32, f16, bf16 and the narrow formats, plain and with a power-of-two scale (v_cvt_scalef32_*)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.assembly import Instruction
from tunefork.kernels.amdgcn.executor.isa import narrow
from tunefork.kernels.amdgcn.executor.isa.valu import SELECTIONS, bit_list
from tunefork.kernels.amdgcn.executor.machine.operands import Operand
from tunefork.kernels.amdgcn.executor.machine.sources import vector_source
from tunefork.kernels.amdgcn.executor.machine.state import Batch

Array = npt.NDArray[Any]
Step = Callable[[Batch], None]
FLOATS = {"f32": np.float32, "f16": np.float16}


def f16_bits(value: Array) -> Array:
    return np.asarray(np.asarray(value).astype(np.float16)).view(np.uint16).astype(np.uint32)


def write_two(batch: Batch, kind: str, index: int, first: Array, second: Array) -> None:
    """Two f32 values as a register pair (f32) or as the halves of one register (bf16, f16)."""
    if kind == "f32":
        batch.write("v", index, np.asarray(first, np.float32).view(np.uint32))
        batch.write("v", index + 1, np.asarray(second, np.float32).view(np.uint32))
        return
    bits = narrow.round_bf16 if kind == "bf16" else f16_bits
    batch.write("v", index, bits(first) | (bits(second) << np.uint32(16)))


def from_narrow_scaled(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """v_cvt_scalef32_pk_{f32,bf16,f16}_{fp4,fp8,bf8}: two narrow values times a power of two.

    op_sel picks the byte (fp4) or the 16-bit half (fp8, bf8) of the source.
    """
    kind, fmt = found[1], found[2]
    source, scale, index = vector_source(operands[1], "u32"), vector_source(operands[2], "u32"), operands[0].index
    select = bit_list(instruction, "op_sel", 0, 4)
    bits = narrow.BITS[fmt]
    shift = np.uint32(8 * (select[0] + 2 * select[1]) if fmt == "fp4" else 16 * select[0])
    mask, values = np.uint32((1 << bits) - 1), narrow.VALUES[fmt]

    def step(batch: Batch) -> None:
        word = source(batch) >> shift
        factor = narrow.scale_factor(scale(batch))  # a product with a power of two rounds like a shift of the exponent
        if fmt == "fp4":
            byte = word & np.uint32(0xFF)
            first, second = narrow.FP4_LOW.take(byte) * factor, narrow.FP4_HIGH.take(byte) * factor
        else:
            first, second = values[word & mask] * factor, values[(word >> np.uint32(bits)) & mask] * factor
        if fmt == "fp4" and kind == "bf16":  # three bits times a power of two: nothing to round, and no NaN but the scale's, which is quiet
            batch.write("v", index, first.view(np.uint32) >> np.uint32(16) | second.view(np.uint32))
        else:
            write_two(batch, kind, index, first, second)

    return step


def two_values(operands: Sequence[Operand], kind: str) -> Callable[[Batch], tuple[Array, Array]]:
    """Two values to convert: two f32 operands, or the halves of one operand (bf16, f16)."""
    if kind == "f32":
        first, second = (vector_source(operand, "f32") for operand in operands[:2])
        return lambda batch: (first(batch), second(batch))
    if kind == "f16":
        low, high = (vector_source(operands[0], "f16", half) for half in (0, 1))
        return lambda batch: (low(batch), high(batch))
    word = vector_source(operands[0], "u32")

    def halves(batch: Batch) -> tuple[Array, Array]:
        bits = word(batch)
        return (bits << np.uint32(16)).view(np.float32), (bits & np.uint32(0xFFFF0000)).view(np.float32)

    return halves


def to_narrow(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """v_cvt_[scalef32_]pk_{fp8,bf8,fp4}_{f32,f16,bf16}: two values, divided by the scale, into a part of the register.

    fp8 and bf8 fill the half that the op_sel bit after the sources names, fp4 the byte that the last two name; the rest is kept.
    MODE.FP16_OVFL decides whether too large values saturate.
    """
    scaled, fmt, kind = bool(found[1]), found[2], found[3]
    values = two_values(operands[1:], kind)
    scale = vector_source(operands[-1], "u32") if scaled else None
    index, bits = operands[0].index, narrow.BITS[fmt]
    select = bit_list(instruction, "op_sel", 0, 4)
    place = 8 * (select[2] + 2 * select[3]) if fmt == "fp4" else 16 * select[len(operands) - 1]
    shift, mask = np.uint32(place), np.uint32(((1 << 2 * bits) - 1) << place)

    def step(batch: Batch) -> None:
        pair = list(values(batch))
        if scale is not None:
            exponent, invalid = narrow.scale_exponent(scale(batch))
            pair = [np.where(invalid, np.nan, np.ldexp(value.astype(np.float64), -exponent)) for value in pair]
        first, second = (narrow.encode(value, fmt, saturate=batch.saturate) for value in pair)
        word = (first | (second << np.uint32(bits))) << shift
        batch.write("v", index, (batch.vector[index] & ~mask) | word)

    return step


def from_narrow(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """v_cvt_[pk_]f32_{fp8,bf8}: one value, or the two of a 16-bit half, picked by op_sel or an SDWA selection."""
    packed, values = bool(found[1]), narrow.VALUES[found[2]]
    source, index = vector_source(operands[1], "u32"), operands[0].index
    select = bit_list(instruction, "op_sel", 0, 2)
    place, _ = SELECTIONS[instruction.modifiers.get("src0_sel", "DWORD")]
    place += 16 * select[0] if packed else 8 * (select[0] + 2 * select[1])
    shift, mask = np.uint32(place), np.uint32(255)

    def step(batch: Batch) -> None:
        word = source(batch) >> shift
        batch.write("v", index, values[word & mask].view(np.uint32))
        if packed:
            batch.write("v", index + 1, values[(word >> np.uint32(8)) & mask].view(np.uint32))

    return step


def to_bf16(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """v_cvt_pk_bf16_f32: two f32 values, rounded to nearest even."""
    first, second = vector_source(operands[1], "f32"), vector_source(operands[2], "f32")
    index = operands[0].index
    return lambda batch: write_two(batch, "bf16", index, first(batch), second(batch))


def to_f16_toward_zero(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """v_cvt_pkrtz_f16_f32: two f32 values, truncated to f16."""
    sources = [vector_source(operand, "f32") for operand in operands[1:3]]
    index = operands[0].index

    def truncated(value: Array) -> Array:
        nearest = np.asarray(value).astype(np.float16)
        too_big = np.abs(nearest.astype(np.float64)) > np.abs(np.asarray(value).astype(np.float64))
        return f16_bits(np.where(too_big, np.nextafter(nearest, np.float16(0)), nearest))

    def step(batch: Batch) -> None:
        first, second = (truncated(source(batch)) for source in sources)
        batch.write("v", index, first | (second << np.uint32(16)))

    return step


FAMILY = (
    (r"v_cvt_scalef32_pk_(f32|bf16|f16)_(fp4|fp8|bf8)$", from_narrow_scaled),
    (r"v_cvt_(scalef32_)?pk_(fp8|bf8|fp4)_(f32|f16|bf16)$", to_narrow),
    (r"v_cvt_(pk_)?f32_(fp8|bf8)$", from_narrow),
    (r"v_cvt_pk_bf16_f32$", to_bf16),
    (r"v_cvt_pkrtz_f16_f32$", to_f16_toward_zero),
)


def decode(instruction: Instruction, operands: Sequence[Operand]) -> Step | None:
    """The step of a conversion, or None where this family does not know the mnemonic."""
    for pattern, factory in FAMILY:
        if found := re.match(pattern, instruction.base):
            return factory(instruction, operands, found)
    return None
