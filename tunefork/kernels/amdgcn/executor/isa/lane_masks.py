"""Vector operations that make or use a bit for each lane: comparisons, classes, selects, carries, division helpers."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.assembly import Instruction
from tunefork.kernels.amdgcn.errors import UnknownInstruction
from tunefork.kernels.amdgcn.executor.isa import floating
from tunefork.kernels.amdgcn.executor.isa.floating import biased_exponent, double, is_denormal, scaled
from tunefork.kernels.amdgcn.executor.isa.valu import as_words, selected
from tunefork.kernels.amdgcn.executor.machine.operands import EXEC, VCC, Operand
from tunefork.kernels.amdgcn.executor.machine.sources import Source, flushed, vector_source
from tunefork.kernels.amdgcn.executor.machine.state import LANES, Batch

Array = npt.NDArray[Any]
Step = Callable[[Batch], None]
Function = Callable[[Any, Any], Any]
SIGN = np.uint64(63)


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
    sources = pair_of_sources(instruction, operands[1:3], [found[3]] * 2)
    first, second = (flushed(source, found[3], instruction.flush) for source in sources)

    def step(batch: Batch) -> None:
        bits = function(first(batch), second(batch)) & batch.active
        batch.write_lane_bits(index, bits)
        if narrows:
            batch.write_lane_bits(EXEC, bits)

    return step


def class_bits(value: Array) -> Array:
    """One of ten bits for each value: 0 signalling NaN, 1 quiet NaN, 2 to 5 negative infinity, normal, denormal, zero, 6 to 9 positive."""
    form = floating.FORMS[value.dtype.itemsize]
    word = np.ascontiguousarray(value).view(form.word)
    size, negative = word & form.word(form.magnitude), np.signbit(value)
    infinity, smallest = form.word(form.infinity), form.word(form.smallest_normal)
    # from the smallest magnitude to the largest: zero, denormal, normal, infinity
    rank = (size > 0).astype(np.uint32) + (size >= smallest) + (size >= infinity)
    number = np.where(negative, np.uint32(5) - rank, np.uint32(6) + rank)
    quiet = np.where(word & form.word(form.quiet) != 0, np.uint32(1), np.uint32(0))
    bits: Array = np.uint32(1) << np.where(size > infinity, quiet, number)
    return bits


def classify(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_cmp_class and v_cmpx_class: whether the value belongs to one of the classes in the mask."""
    value_of, mask_of = vector_source(operands[1], instruction.base[-3:]), vector_source(operands[2], "u32")
    index, narrows = operands[0].index, instruction.base.startswith("v_cmpx")

    def step(batch: Batch) -> None:
        value = np.broadcast_to(value_of(batch), (batch.waves, LANES))
        bits = ((class_bits(value) & mask_of(batch)) != 0) & batch.active
        batch.write_lane_bits(index, bits)
        if narrows:
            batch.write_lane_bits(EXEC, bits)

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
    """v_mad_u64_u32 and v_mad_i64_i32: 32 x 32 + 64 bits; bit 64 of the 65-bit sum goes to the lane's bit: a carry, or the sum's sign."""
    signed = instruction.base == "v_mad_i64_i32"
    kind, dtype = ("i32", np.int64) if signed else ("u32", np.uint64)
    first, second = vector_source(operands[2], kind), vector_source(operands[3], kind)
    addend, index, out = vector_source(operands[4], "u64"), operands[0].index, operands[1].index

    def step(batch: Batch) -> None:
        product = (first(batch).astype(dtype) * second(batch).astype(dtype)).astype(np.uint64)
        added = addend(batch)
        total = np.broadcast_to(product + added, (batch.waves, LANES))
        top = total < product
        if signed:
            overflows = ~(product ^ added) & (product ^ total)
            top = (np.where(overflows >> SIGN != 0, product, total) >> SIGN) != 0
        batch.write_pair(index, total)
        batch.write_lane_bits(out, top & batch.active)

    return step


@dataclass(frozen=True)
class Division:
    """How far a division's operands are scaled, for one width.

    near_largest: exponent difference from which the quotient is near the largest number.  tiny: biased exponent up to which a
    numerator is tiny.  power: of the two that scales.  bias: of the exponent.
    """

    near_largest: int
    tiny: int
    power: int
    bias: int


DIVISIONS = {"f32": Division(96, 23, 64, 127), "f64": Division(768, 53, 128, 1023)}


def division_scale(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_div_scale: scale numerator or denominator so that the refinement cannot over- or underflow.

    The first matching rule of the ISA's list decides; the lane's bit says that v_div_fmas has to scale back.
    """
    kind = instruction.base[-3:]
    limits, (index, out) = DIVISIONS[kind], (operands[0].index, operands[1].index)
    sources = [vector_source(operand, kind) for operand in operands[2:5]]

    def step(batch: Batch) -> None:
        shape = (batch.waves, LANES)
        value, denominator, numerator = (np.broadcast_to(source(batch), shape) for source in sources)
        small_inverse, small_quotient = is_denormal(1 / denominator), is_denormal(numerator / denominator)
        rules = [
            (numerator == 0) | (denominator == 0),
            biased_exponent(numerator) - biased_exponent(denominator) >= limits.near_largest,
            is_denormal(denominator),
            small_inverse & small_quotient,
            small_inverse,
            small_quotient,
            biased_exponent(numerator) <= limits.tiny,
        ]
        rule = np.select(rules, list(range(7)), 7)
        is_denominator, is_numerator = value == denominator, value == numerator
        up = (rule == 2) | (rule == 6) | ((rule == 1) & is_denominator) | ((rule == 5) & is_numerator)
        down = (rule == 4) | ((rule == 3) & is_denominator)  # a quotient too small: v_div_fmas takes the power back
        result = np.where(up, scaled(value, np.array(limits.power)), value)
        result = np.where(down, scaled(value, np.array(-limits.power)), result)
        result = np.where(rule == 0, value.dtype.type(np.nan), result)
        write_float(batch, index, result)
        batch.write_lane_bits(out, ((rule == 1) | (rule == 3) | (rule == 5)) & batch.active)

    return step


def write_float(batch: Batch, index: int, value: Array) -> None:
    if value.dtype.itemsize == 8:
        batch.write_pair(index, value.view(np.uint64))
    else:
        batch.write("v", index, value.view(np.uint32))


def division_fma(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """v_div_fmas: fused multiply-add; in the lanes whose vcc bit is set, the power of v_div_scale is taken back."""
    kind = instruction.base[-3:]
    sources = [vector_source(operand, kind) for operand in operands[1:4]]
    limits, index = DIVISIONS[kind], operands[0].index

    def step(batch: Batch) -> None:
        shape = (batch.waves, LANES)
        a, b, c = (np.broadcast_to(source(batch), shape) for source in sources)
        back = np.where(biased_exponent(c) > limits.bias, limits.power, -limits.power)
        power = np.where(batch.lane_bits(VCC), back, 0)
        total = floating.fma64(a, b, c) if kind == "f64" else double(floating.fma(a, b, c))
        write_float(batch, index, np.ldexp(total, power).astype(a.dtype))

    return step


FAMILY = (
    (r"v_cmpx?_class_f(16|32|64)$", classify),
    (r"v_cmpx?_", compare),
    (r"v_cndmask_b32$", choose),
    (r"v_(add|sub|subrev|addc|subb|subbrev)_co_u32$", carry),
    (r"v_mad_[ui]64_[ui]32$", wide_multiply),
    (r"v_div_scale_f(32|64)$", division_scale),
    (r"v_div_fmas_f(32|64)$", division_fma),
)


def decode(instruction: Instruction, operands: Sequence[Operand]) -> Step | None:
    """The step of an operation on lane bits, or None where this family does not know the mnemonic."""
    for pattern, factory in FAMILY:
        if re.match(pattern, instruction.base):
            return factory(instruction, operands)
    return None
