"""Vector operations that make or use a bit for each lane: comparisons, classes, selects, carries, division helpers."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.assembly import Instruction
from tunefork.kernels.amdgcn.errors import UnknownInstruction
from tunefork.kernels.amdgcn.executor.isa.floating import SMALLEST_NORMAL, double, scaled
from tunefork.kernels.amdgcn.executor.isa.valu import as_words, selected
from tunefork.kernels.amdgcn.executor.machine.operands import EXEC, VCC, Operand
from tunefork.kernels.amdgcn.executor.machine.sources import Source, vector_source
from tunefork.kernels.amdgcn.executor.machine.state import LANES, Batch

Array = npt.NDArray[Any]
Step = Callable[[Batch], None]
Function = Callable[[Any, Any], Any]


def unordered(a: Array, b: Array) -> Array:
    either: Array = np.isnan(a) | np.isnan(b)
    return either


COMPARISONS: dict[str, Function] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "neq": operator.ne,
    "lt": operator.lt,
    "le": operator.le,
    "gt": operator.gt,
    "ge": operator.ge,
    "lg": lambda a, b: (a < b) | (a > b),
    "o": lambda a, b: ~unordered(a, b),
    "u": unordered,
    "nlt": lambda a, b: ~(a < b),
    "nle": lambda a, b: ~(a <= b),
    "ngt": lambda a, b: ~(a > b),
    "nge": lambda a, b: ~(a >= b),
    "nlg": lambda a, b: ~((a < b) | (a > b)),
    "t": lambda a, b: np.ones(np.broadcast_shapes(np.shape(a), np.shape(b)), np.bool_),
    "f": lambda a, b: np.zeros(np.broadcast_shapes(np.shape(a), np.shape(b)), np.bool_),
}


def pair_of_sources(instruction: Instruction, operands: Sequence[Operand], kinds: Sequence[str]) -> list[Source]:
    """Two sources, with SDWA selections where the instruction has them."""
    if not instruction.mnemonic.endswith("_sdwa"):
        return [vector_source(operand, kind) for operand, kind in zip(operands, kinds, strict=True)]
    names = [instruction.modifiers.get(f"src{at}_sel", "DWORD") for at in range(2)]
    return [selected(operand, kind, name) for operand, kind, name in zip(operands, kinds, names, strict=True)]


def compare(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_cmp and v_cmpx: a bit for each active lane, zero for the others; v_cmpx writes exec too."""
    found = re.match(r"v_cmp(x?)_(\w+?)_([uif](?:16|32|64))$", instruction.base)
    if not found or found[2] not in COMPARISONS:
        raise UnknownInstruction("unknown comparison", instruction.where)
    function, index, narrows = COMPARISONS[found[2]], operands[0].index, bool(found[1])
    first, second = pair_of_sources(instruction, operands[1:3], [found[3]] * 2)

    def step(batch: Batch) -> None:
        bits = function(first(batch), second(batch)) & batch.active
        batch.write_lane_bits(index, bits)
        if narrows:
            batch.write_lane_bits(EXEC, bits)

    return step


def classify(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_cmp_class_f32: whether the value belongs to one of the classes in the mask."""
    value_of, mask_of = vector_source(operands[1], "f32"), vector_source(operands[2], "u32")
    index = operands[0].index

    def step(batch: Batch) -> None:
        value = np.broadcast_to(value_of(batch), (batch.waves, LANES))
        size, negative = np.abs(value), np.signbit(value)
        infinite, zero = np.isinf(value), value == 0
        denormal = (size < SMALLEST_NORMAL) & ~zero
        normal = np.isfinite(value) & ~zero & ~denormal
        classes = np.where(np.isnan(value), np.uint32(3), np.uint32(0))
        for members, low, high in ((infinite, 4, 512), (normal, 8, 256), (denormal, 16, 128), (zero, 32, 64)):
            classes |= np.where(members, np.where(negative, np.uint32(low), np.uint32(high)), np.uint32(0))
        batch.write_lane_bits(index, ((classes & mask_of(batch)) != 0) & batch.active)

    return step


def choose(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_cndmask_b32: the second source where the lane's bit is set, else the first."""
    kinds = ["f32" if operand.negate or operand.absolute else "u32" for operand in operands[1:3]]
    clear, chosen = pair_of_sources(instruction, operands[1:3], kinds)
    index, condition = operands[0].index, operands[3].index

    def step(batch: Batch) -> None:
        bits = batch.lane_bits(condition)
        batch.write("v", index, np.where(bits, as_words(chosen(batch)), as_words(clear(batch))))

    return step


def carry(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_add_co, v_sub_co, v_addc_co, v_subb_co and the reversed forms: sum and carry for each lane."""
    name = instruction.base
    first, second = vector_source(operands[2], "u32"), vector_source(operands[3], "u32")
    if "rev" in name:
        first, second = second, first
    sign = -1 if "sub" in name else 1
    index, out = operands[0].index, operands[1].index
    into = operands[4].index if len(operands) > 4 else None

    def step(batch: Batch) -> None:
        extra = 0 if into is None else batch.lane_bits(into).astype(np.int64)
        total = first(batch).astype(np.int64) + sign * (second(batch).astype(np.int64) + extra)
        total = np.broadcast_to(total, (batch.waves, LANES))
        batch.write("v", index, total.astype(np.uint32))
        batch.write_lane_bits(out, ((total < 0) | (total > 0xFFFFFFFF)) & batch.active)

    return step


def wide_multiply(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_mad_u64_u32 and v_mad_i64_i32: 32 x 32 + 64 bits; the carry out is written as the high-side overflow."""
    signed = instruction.base == "v_mad_i64_i32"
    kind, dtype = ("i32", np.int64) if signed else ("u32", np.uint64)
    first, second = vector_source(operands[2], kind), vector_source(operands[3], kind)
    addend, index, out = vector_source(operands[4], "u64"), operands[0].index, operands[1].index

    def step(batch: Batch) -> None:
        product = (first(batch).astype(dtype) * second(batch).astype(dtype)).astype(np.uint64)
        total = np.broadcast_to(product + addend(batch), (batch.waves, LANES))
        batch.write_pair(index, total)
        batch.write_lane_bits(out, (total < product) & batch.active)

    return step


def biased_exponent(value: Array) -> Array:
    return ((value.view(np.uint32) >> np.uint32(23)) & np.uint32(255)).astype(np.int32)


def is_denormal(value: Array) -> Array:
    result: Array = (np.abs(value) < SMALLEST_NORMAL) & (value != 0)
    return result


def division_scale(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_div_scale_f32: scale numerator or denominator so that the refinement cannot over- or underflow.

    The first matching rule of the ISA's list decides; the lane's bit says that v_div_fmas has to scale back.
    """
    sources = [vector_source(operand, "f32") for operand in operands[2:5]]
    index, out = operands[0].index, operands[1].index

    def step(batch: Batch) -> None:
        shape = (batch.waves, LANES)
        value, denominator, numerator = (np.broadcast_to(source(batch), shape) for source in sources)
        small_inverse = is_denormal((1 / double(denominator)).astype(np.float32))
        small_quotient = is_denormal((double(numerator) / double(denominator)).astype(np.float32))
        rules = [
            (numerator == 0) | (denominator == 0),
            biased_exponent(numerator) - biased_exponent(denominator) >= 96,
            is_denormal(denominator),
            small_inverse & small_quotient,
            small_inverse,
            small_quotient,
            biased_exponent(numerator) <= 23,
        ]
        rule = np.select(rules, list(range(7)), 7)
        is_denominator, is_numerator = value == denominator, value == numerator
        up = (rule == 2) | (rule == 6) | ((rule == 1) & is_denominator) | ((rule == 5) & is_numerator)
        down = (rule == 4) | ((rule == 3) & is_denominator)  # a quotient too small: v_div_fmas takes 2**64 back
        result = np.where(up, scaled(value, np.array(64)), value)
        result = np.where(down, scaled(value, np.array(-64)), result)
        result = np.where(rule == 0, np.float32(np.nan), result).astype(np.float32)
        batch.write("v", index, result.view(np.uint32))
        batch.write_lane_bits(out, ((rule == 1) | (rule == 3) | (rule == 5)) & batch.active)

    return step


def division_fma(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_div_fmas_f32: fused multiply-add, scaled by 2**64 or 2**-64 in the lanes whose vcc bit is set."""
    sources = [vector_source(operand, "f32") for operand in operands[1:4]]
    index = operands[0].index

    def step(batch: Batch) -> None:
        shape = (batch.waves, LANES)
        a, b, c = (np.broadcast_to(source(batch), shape) for source in sources)
        total = double(a) * double(b) + double(c)
        back = np.where(biased_exponent(c) > 127, 2.0**64, 2.0**-64)
        result = np.where(batch.lane_bits(VCC), total * back, total)
        batch.write("v", index, result.astype(np.float32).view(np.uint32))

    return step


FAMILY = (
    (r"v_cmp_class_f32$", classify),
    (r"v_cmpx?_", compare),
    (r"v_cndmask_b32$", choose),
    (r"v_(add|sub|subrev|addc|subb|subbrev)_co_u32$", carry),
    (r"v_mad_[ui]64_[ui]32$", wide_multiply),
    (r"v_div_scale_f32$", division_scale),
    (r"v_div_fmas_f32$", division_fma),
)


def decode(instruction: Instruction, operands: Sequence[Operand]) -> Step | None:
    """The step of an operation on lane bits, or None where this family does not know the mnemonic."""
    for pattern, factory in FAMILY:
        if re.match(pattern, instruction.base):
            return factory(instruction, operands)
    return None
