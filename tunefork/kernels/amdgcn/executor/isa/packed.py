"""Packed operations (VOP3P): two 32-bit or two 16-bit values at once, each half with its own selection and sign."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.assembly import Instruction
from tunefork.kernels.amdgcn.errors import UnknownInstruction
from tunefork.kernels.amdgcn.executor.isa.floating import extreme_of_three, fma, fma16, maximum, minimum
from tunefork.kernels.amdgcn.executor.isa.valu import as_words, bit_list
from tunefork.kernels.amdgcn.executor.machine.operands import Operand
from tunefork.kernels.amdgcn.executor.machine.sources import DTYPES, Source, constant, flushed, plain_source, vector_source, without_denormals
from tunefork.kernels.amdgcn.executor.machine.state import Batch

Array = npt.NDArray[Any]
Step = Callable[[Batch], None]
Function = Callable[..., Any]

KNOWN = {"op_sel", "op_sel_hi", "neg_lo", "neg_hi"}
WIDE: dict[str, Function] = {"add": operator.add, "mul": operator.mul, "fma": fma}
NARROW: dict[str, tuple[str, Function]] = {
    "v_pk_add_f16": ("f16", operator.add),
    "v_pk_mul_f16": ("f16", operator.mul),
    "v_pk_fma_f16": ("f16", fma16),
    "v_pk_max_f16": ("f16", maximum),
    "v_pk_min_f16": ("f16", minimum),
    "v_pk_maximum3_f16": ("f16", extreme_of_three(np.fmax, operator.and_)),
    "v_pk_minimum3_f16": ("f16", extreme_of_three(np.fmin, operator.or_)),
    "v_pk_mad_i16": ("i16", lambda a, b, c: a * b + c),
    "v_pk_add_u16": ("u16", operator.add),
    "v_pk_sub_u16": ("u16", operator.sub),
    "v_pk_add_i16": ("i16", operator.add),
    "v_pk_sub_i16": ("i16", operator.sub),
    "v_pk_mul_lo_u16": ("u16", operator.mul),
    "v_pk_mad_u16": ("u16", lambda a, b, c: a * b + c),
    "v_pk_max_u16": ("u16", np.maximum),
    "v_pk_min_u16": ("u16", np.minimum),
    "v_pk_max_i16": ("i16", np.maximum),
    "v_pk_min_i16": ("i16", np.minimum),
    "v_pk_lshlrev_b16": ("u16", lambda a, b: b << (a & np.uint16(15))),
    "v_pk_lshrrev_b16": ("u16", lambda a, b: b >> (a & np.uint16(15))),
    "v_pk_ashrrev_i16": ("i16", lambda a, b: b >> (a & np.int16(15))),
}


def signed(source: Source, negative: int) -> Source:
    return (lambda batch: -source(batch)) if negative else source


def half_of(operand: Operand, part: int) -> Source:
    """One 32-bit half of a packed f32 source; a single register or constant gives the same value for both."""
    if operand.count == 2:
        return plain_source(Operand(operand.bank, operand.index + part), "f32", 0)
    return plain_source(operand, "f32", 0)


def half_word(kind: str) -> Callable[[Operand, int], Source]:
    """A 16-bit half of a source. A constant is one 32-bit word of which each half takes its own: an f16 constant has a high half of zero."""

    def pick(operand: Operand, part: int) -> Source:
        if not operand.is_constant:
            return plain_source(operand, kind, part)
        narrow_float = operand.bank == "f" and kind == "f16"
        word = int(constant(operand, "u16" if narrow_float else "u32"))
        value = np.array(word >> 16 * part & 0xFFFF, np.uint16).view(DTYPES[kind])[()]
        return lambda batch: value

    return pick


def halves(instruction: Instruction, operands: Sequence[Operand], pick: Callable[[Operand, int], Source]) -> Any:
    """Sources of the low and of the high half, with op_sel, op_sel_hi, neg_lo and neg_hi applied."""
    count = len(operands)
    result = []
    for select, sign, default in (("op_sel", "neg_lo", 0), ("op_sel_hi", "neg_hi", 1)):
        parts = bit_list(instruction, select, default, count)
        signs = bit_list(instruction, sign, 0, count)
        result.append([signed(pick(o, p), s) for o, p, s in zip(operands, parts, signs, strict=True)])
    return result


def packed_f32(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_pk_add_f32, v_pk_mul_f32, v_pk_fma_f32: two independent f32 lanes in a register pair."""
    if set(instruction.modifiers) - KNOWN:
        raise UnknownInstruction("this form has no meaning here yet", instruction.where)
    exact = WIDE[instruction.base.split("_")[2]]
    function = (lambda *values: without_denormals(exact(*values))) if instruction.flush else exact
    low, high = ([flushed(source, "f32", instruction.flush) for source in half] for half in halves(instruction, operands[1:], half_of))
    index = operands[0].index

    def step(batch: Batch) -> None:
        first = np.asarray(function(*[source(batch) for source in low]))
        second = np.asarray(function(*[source(batch) for source in high]))
        batch.write("v", index, first.view(np.uint32))
        batch.write("v", index + 1, second.view(np.uint32))

    return step


def packed_move(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_pk_mov_b32: low result from the first source, high result from the second, each picking a half by op_sel."""
    low_half, high_half = bit_list(instruction, "op_sel", 0, 2)
    low, high = half_of(operands[1], low_half), half_of(operands[2], high_half)
    index = operands[0].index

    def step(batch: Batch) -> None:
        first, second = as_words(low(batch)).copy(), as_words(high(batch)).copy()
        batch.write("v", index, first)
        batch.write("v", index + 1, second)

    return step


def packed_16(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """Packed 16-bit arithmetic."""
    if instruction.base not in NARROW or set(instruction.modifiers) - KNOWN:
        raise UnknownInstruction("unknown packed operation", instruction.where)
    kind, function = NARROW[instruction.base]
    low, high = halves(instruction, operands[1:], half_word(kind))
    index = operands[0].index

    def step(batch: Batch) -> None:
        first = as_words(function(*[source(batch) for source in low]))
        second = as_words(function(*[source(batch) for source in high]))
        batch.write("v", index, first | (second << np.uint32(16)))

    return step


def mixed_fma(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_fma_mix_f32, _mixlo_f16, _mixhi_f16: each source is f32, or with op_sel_hi the f16 half that op_sel names.

    The sum is rounded to f32 and, for the last two, then to f16 into one half; the other half is kept.
    """
    if set(instruction.modifiers) - {"op_sel", "op_sel_hi"}:
        raise UnknownInstruction("this form has no meaning here yet", instruction.where)
    is_half, part = bit_list(instruction, "op_sel_hi", 0, 3), bit_list(instruction, "op_sel", 0, 3)
    sources = [
        vector_source(operand, "f16" if narrow else "f32", which)
        for operand, narrow, which in zip(operands[1:], is_half, part, strict=True)
    ]
    index, place = operands[0].index, {"v_fma_mixlo_f16": 0, "v_fma_mixhi_f16": 16}.get(instruction.base)
    if place is None:
        return lambda batch: batch.write("v", index, fma(*[source(batch) for source in sources]).view(np.uint32))
    shift, kept = np.uint32(place), np.uint32(0xFFFF << 16 - place)

    def step(batch: Batch) -> None:
        half = np.asarray(fma(*[source(batch) for source in sources]).astype(np.float16)).view(np.uint16).astype(np.uint32)
        batch.write("v", index, (batch.vector[index] & kept) | (half << shift))

    return step


def bit_operation(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_bitop3: any function of three bits, as an 8-entry truth table with the first source as the high index bit."""
    table = int(instruction.modifiers.get("bitop3", "0"), 0)
    sources = [vector_source(operand, "u32") for operand in operands[1:4]]
    index, narrow = operands[0].index, instruction.base == "v_bitop3_b16"
    rows = [row for row in range(8) if table >> row & 1]

    def step(batch: Batch) -> None:
        values = [source(batch) for source in sources]
        inverted = [~value for value in values]
        result: Any = np.uint32(0)
        for row in rows:
            picks = [values[bit] if row >> (2 - bit) & 1 else inverted[bit] for bit in range(3)]
            result = result | (picks[0] & picks[1] & picks[2])
        batch.write("v", index, result & np.uint32(0xFFFF) if narrow else result)

    return step


FAMILY = (
    (r"v_pk_(add|mul|fma)_f32$", packed_f32),
    (r"v_pk_mov_b32$", packed_move),
    (r"v_pk_\w+16$", packed_16),
    (r"v_fma_mix(_f32|lo_f16|hi_f16)$", mixed_fma),
    (r"v_bitop3_b(16|32)$", bit_operation),
)


def decode(instruction: Instruction, operands: Sequence[Operand]) -> Step | None:
    """The step of a packed operation, or None where this family does not know the mnemonic."""
    for pattern, factory in FAMILY:
        if re.match(pattern, instruction.base):
            return factory(instruction, operands)
    return None
