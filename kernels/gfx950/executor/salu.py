"""Scalar operations: SOP1, SOP2, SOPC, SOPK. One value per wave; arrays are (waves,)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.gfx950.assembly import Instruction
from tunefork.kernels.gfx950.errors import UnknownInstruction
from tunefork.kernels.gfx950.executor.operands import EXEC, Operand
from tunefork.kernels.gfx950.executor.sources import scalar_source
from tunefork.kernels.gfx950.executor.state import Batch

Array = npt.NDArray[Any]
Step = Callable[[Batch], None]
Function = Callable[..., Any]

U32, U64, I64 = np.uint32, np.uint64, np.int64
COMPARISONS: dict[str, Function] = {
    "eq": operator.eq,
    "lg": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}


@dataclass(frozen=True)
class ScalarOperation:
    """Source types, result type, function, and what SCC becomes.

    scc: "" unchanged; "nonzero" whether the result is not zero; "returned" the function gives (result, scc).
    """

    sources: str
    result: str
    function: Function
    scc: str = ""


def _wide(value: Any) -> Any:
    return np.asarray(value).astype(I64)


def add_unsigned(a: Array, b: Array) -> tuple[Array, Array]:
    total = _wide(a) + _wide(b)
    return total.astype(U32), total >> 32 != 0


def subtract_unsigned(a: Array, b: Array) -> tuple[Array, Array]:
    return (_wide(a) - _wide(b)).astype(U32), np.asarray(a < b)


def add_signed(a: Array, b: Array) -> tuple[Array, Array]:
    total = _wide(a) + _wide(b)
    return total.astype(np.int32), total != total.astype(np.int32)


def subtract_signed(a: Array, b: Array) -> tuple[Array, Array]:
    total = _wide(a) - _wide(b)
    return total.astype(np.int32), total != total.astype(np.int32)


def shift_left_add(shift: int) -> Function:
    def shifted(a: Array, b: Array) -> tuple[Array, Array]:
        total = (_wide(a) << shift) + _wide(b)
        return total.astype(U32), total >> 32 != 0

    return shifted


def field(value: Array, control: Array) -> Array:
    """s_bfe: ``control`` holds the offset in its low bits and the width from bit 16; the type decides the sign."""
    dtype = np.asarray(value).dtype
    bits = dtype.itemsize * 8
    offset = (np.asarray(control).astype(U32) & U32(bits - 1)).astype(dtype)
    width = ((np.asarray(control).astype(U32) >> U32(16)) & U32(127)).astype(dtype)
    width = np.minimum(width, dtype.type(bits) - offset)
    left = dtype.type(bits) - offset - width
    shifted = (np.asarray(value) << left) >> (left + offset)
    return np.where(width == 0, dtype.type(0), shifted)


def field_mask(width: Array, offset: Array) -> Array:
    dtype = np.asarray(width).dtype
    most = dtype.type(dtype.itemsize * 8 - 1)
    return ((dtype.type(1) << (width & most)) - dtype.type(1)) << (offset & most)


def shift(function: Function, bits: int) -> Function:
    def shifted(a: Array, b: Array) -> Array:
        value: Array = np.asarray(a)
        return np.asarray(function(value, (np.asarray(b) & U32(bits - 1)).astype(value.dtype)))

    return shifted


def bit_count(value: Array) -> Array:
    return np.bitwise_count(np.asarray(value)).astype(U32)


def reverse_bits(value: Array) -> Array:
    word = np.ascontiguousarray(np.atleast_1d(value))
    bits = np.unpackbits(word.view(np.uint8).reshape(len(word), -1), axis=1, bitorder="little")
    return np.packbits(bits[:, ::-1], axis=1, bitorder="little").view(word.dtype)[:, 0]


def lowest_one(value: Array) -> Array:
    """s_ff1: index of the lowest set bit, -1 where there is none."""
    word = np.asarray(value)
    below = (word & (~word + word.dtype.type(1))) - word.dtype.type(1)
    return np.where(word == 0, U32(0xFFFFFFFF), bit_count(below))


def leading_zeros(value: Array) -> Array:
    """s_flbit: number of zeros above the highest set bit, -1 where there is none."""
    word = np.asarray(value)
    bits = word.dtype.itemsize * 8
    smeared = word.copy()
    for step in (1, 2, 4, 8, 16, 32):
        if step < bits:
            smeared = smeared | (smeared >> word.dtype.type(step))
    return np.where(word == 0, U32(0xFFFFFFFF), U32(bits) - bit_count(smeared))


def pack(low_half: int, high_half: int) -> Function:
    low, high = U32(16 * low_half), U32(16 * high_half)
    return lambda a, b: ((a >> low) & U32(0xFFFF)) | (((b >> high) & U32(0xFFFF)) << U32(16))


def _logic() -> dict[str, ScalarOperation]:
    functions: dict[str, Function] = {
        "and": operator.and_,
        "or": operator.or_,
        "xor": operator.xor,
        "andn2": lambda a, b: a & ~b,
        "orn2": lambda a, b: a | ~b,
        "nand": lambda a, b: ~(a & b),
        "nor": lambda a, b: ~(a | b),
        "xnor": lambda a, b: ~(a ^ b),
    }
    table = {}
    for bits in (32, 64):
        kind = f"u{bits}"
        for name, function in functions.items():
            table[f"s_{name}_b{bits}"] = ScalarOperation(f"{kind} {kind}", kind, function, "nonzero")
        table[f"s_mov_b{bits}"] = ScalarOperation(kind, kind, lambda a: a)
        table[f"s_not_b{bits}"] = ScalarOperation(kind, kind, lambda a: ~a, "nonzero")
        table[f"s_brev_b{bits}"] = ScalarOperation(kind, kind, reverse_bits)
        table[f"s_lshl_b{bits}"] = ScalarOperation(f"{kind} u32", kind, shift(operator.lshift, bits), "nonzero")
        table[f"s_lshr_b{bits}"] = ScalarOperation(f"{kind} u32", kind, shift(operator.rshift, bits), "nonzero")
        table[f"s_ashr_i{bits}"] = ScalarOperation(f"i{bits} u32", kind, shift(operator.rshift, bits), "nonzero")
        table[f"s_bfe_u{bits}"] = ScalarOperation(f"{kind} u32", kind, field, "nonzero")
        table[f"s_bfe_i{bits}"] = ScalarOperation(f"i{bits} u32", kind, field, "nonzero")
        table[f"s_bfm_b{bits}"] = ScalarOperation(f"{kind} {kind}", kind, field_mask)
        table[f"s_bcnt1_i32_b{bits}"] = ScalarOperation(kind, "u32", bit_count, "nonzero")
        table[f"s_bcnt0_i32_b{bits}"] = ScalarOperation(kind, "u32", lambda a: bit_count(~a), "nonzero")
        table[f"s_ff1_i32_b{bits}"] = ScalarOperation(kind, "u32", lowest_one)
        table[f"s_ff0_i32_b{bits}"] = ScalarOperation(kind, "u32", lambda a: lowest_one(~a))
        table[f"s_flbit_i32_b{bits}"] = ScalarOperation(kind, "u32", leading_zeros)
    return table


OPERATIONS: dict[str, ScalarOperation] = {
    **_logic(),
    "s_add_u32": ScalarOperation("u32 u32", "u32", add_unsigned, "returned"),
    "s_sub_u32": ScalarOperation("u32 u32", "u32", subtract_unsigned, "returned"),
    "s_add_i32": ScalarOperation("i32 i32", "u32", add_signed, "returned"),
    "s_sub_i32": ScalarOperation("i32 i32", "u32", subtract_signed, "returned"),
    "s_mul_i32": ScalarOperation("u32 u32", "u32", lambda a, b: a * b),
    "s_mul_hi_u32": ScalarOperation("u32 u32", "u32", lambda a, b: (a.astype(U64) * b.astype(U64)) >> U64(32)),
    "s_mul_hi_i32": ScalarOperation("i32 i32", "u32", lambda a, b: (_wide(a) * _wide(b)) >> 32),
    "s_min_u32": ScalarOperation("u32 u32", "u32", lambda a, b: (np.minimum(a, b), a < b), "returned"),
    "s_max_u32": ScalarOperation("u32 u32", "u32", lambda a, b: (np.maximum(a, b), a > b), "returned"),
    "s_min_i32": ScalarOperation("i32 i32", "u32", lambda a, b: (np.minimum(a, b), a < b), "returned"),
    "s_max_i32": ScalarOperation("i32 i32", "u32", lambda a, b: (np.maximum(a, b), a > b), "returned"),
    "s_abs_i32": ScalarOperation("i32", "u32", np.abs, "nonzero"),
    "s_absdiff_i32": ScalarOperation("i32 i32", "u32", lambda a, b: np.abs(a - b), "nonzero"),
    "s_sext_i32_i8": ScalarOperation("u32", "u32", lambda a: a.astype(np.int8).astype(np.int32)),
    "s_sext_i32_i16": ScalarOperation("u32", "u32", lambda a: a.astype(np.int16).astype(np.int32)),
    "s_lshl1_add_u32": ScalarOperation("u32 u32", "u32", shift_left_add(1), "returned"),
    "s_lshl2_add_u32": ScalarOperation("u32 u32", "u32", shift_left_add(2), "returned"),
    "s_lshl3_add_u32": ScalarOperation("u32 u32", "u32", shift_left_add(3), "returned"),
    "s_lshl4_add_u32": ScalarOperation("u32 u32", "u32", shift_left_add(4), "returned"),
    "s_pack_ll_b32_b16": ScalarOperation("u32 u32", "u32", pack(0, 0)),
    "s_pack_lh_b32_b16": ScalarOperation("u32 u32", "u32", pack(0, 1)),
    "s_pack_hh_b32_b16": ScalarOperation("u32 u32", "u32", pack(1, 1)),
    "s_pack_hl_b32_b16": ScalarOperation("u32 u32", "u32", pack(1, 0)),
}
SAVE_EXEC: dict[str, Function] = {
    "and": lambda s, e: s & e,
    "or": lambda s, e: s | e,
    "xor": lambda s, e: s ^ e,
    "andn2": lambda s, e: s & ~e,
    "orn2": lambda s, e: s | ~e,
    "andn1": lambda s, e: ~s & e,
}


def unsigned(value: Any, count: int) -> Array:
    """A result as the unsigned words of its register or register pair."""
    array = np.asarray(value)
    wanted = U32 if count == 1 else U64
    return array.view(wanted) if array.dtype.itemsize == 4 * count else array.astype(wanted)


def build(operation: ScalarOperation, operands: Sequence[Operand]) -> Step:
    kinds = operation.sources.split()
    getters = [scalar_source(operand, kind) for operand, kind in zip(operands[1:], kinds, strict=True)]
    index, count = operands[0].index, operands[0].count
    function, rule = operation.function, operation.scc

    def step(batch: Batch) -> None:
        result = function(*[getter(batch) for getter in getters])
        if rule == "returned":
            result, carry = result
            batch.scc = np.broadcast_to(carry, batch.waves).copy()
        elif rule == "nonzero":
            batch.scc = np.broadcast_to(np.asarray(result) != 0, batch.waves).copy()
        batch.write_scalar(index, count, unsigned(result, count))

    return step


def with_carry(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """s_addc_u32 and s_subb_u32: the carry comes from SCC and goes there."""
    first, second = (scalar_source(operand, "u32") for operand in operands[1:])
    index, subtract = operands[0].index, instruction.base == "s_subb_u32"

    def step(batch: Batch) -> None:
        a, b, carry = _wide(first(batch)), _wide(second(batch)), _wide(batch.scc)
        total = a - b - carry if subtract else a + b + carry
        batch.scc = np.broadcast_to((total < 0) | (total > 0xFFFFFFFF), batch.waves).copy()
        batch.write_scalar(index, 1, total.astype(U32))

    return step


def select(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """s_cselect and s_cmov: SCC chooses; s_cmov keeps the destination where SCC is clear."""
    count = operands[0].count
    kind = "u32" if count == 1 else "u64"
    chosen = scalar_source(operands[1], kind)
    other = scalar_source(operands[2] if "cselect" in instruction.base else operands[0], kind)
    index = operands[0].index

    def step(batch: Batch) -> None:
        batch.write_scalar(index, count, np.where(batch.scc, chosen(batch), other(batch)))

    return step


def compare(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    found = re.match(r"s_cmpk?_(\w+)_(i32|u32|u64)$", instruction.base)
    if not found:
        raise UnknownInstruction("unknown scalar comparison", instruction.where)
    function = COMPARISONS[found[1]]
    first, second = (scalar_source(operand, found[2]) for operand in short(instruction, operands))

    def step(batch: Batch) -> None:
        batch.scc = np.broadcast_to(function(first(batch), second(batch)), batch.waves).copy()

    return step


def compare_bit(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    bits = 64 if instruction.base.endswith("64") else 32
    value, position = scalar_source(operands[0], f"u{bits}"), scalar_source(operands[1], "u32")
    wanted = int(instruction.base[8])

    def step(batch: Batch) -> None:
        place = (position(batch) & U32(bits - 1)).astype(U64)
        bit = (value(batch).astype(U64) >> place) & U64(1)
        batch.scc = np.broadcast_to(bit == wanted, batch.waves).copy()

    return step


def set_bit(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    """s_bitset0 and s_bitset1: clear or set one bit of the destination."""
    index, count = operands[0].index, operands[0].count
    kind = "u32" if count == 1 else "u64"
    current, position = scalar_source(operands[0], kind), scalar_source(operands[1], "u32")
    dtype: Any = U32 if count == 1 else U64
    ones = instruction.base.startswith("s_bitset1")

    def step(batch: Batch) -> None:
        bit = dtype(1) << (position(batch) & U32(32 * count - 1)).astype(dtype)
        value = current(batch)
        batch.write_scalar(index, count, value | bit if ones else value & ~bit)

    return step


def save_exec(instruction: Instruction, operands: Sequence[Operand]) -> Step:
    name = instruction.base.removeprefix("s_").removesuffix("_saveexec_b64")
    if name not in SAVE_EXEC:
        raise UnknownInstruction("unknown saveexec operation", instruction.where)
    function, source, index = SAVE_EXEC[name], scalar_source(operands[1], "u64"), operands[0].index

    def step(batch: Batch) -> None:
        before = batch.pairs[:, EXEC // 2].copy()
        after = function(source(batch), before)
        batch.write_scalar(index, 2, before)
        batch.write_scalar(EXEC, 2, after)
        batch.scc = np.broadcast_to(after != 0, batch.waves).copy()

    return step


def short(instruction: Instruction, operands: Sequence[Operand]) -> list[Operand]:
    """The operands of a SOPK instruction, its 16-bit constant sign-extended (zero-extended for unsigned comparisons)."""
    if not re.match(r"s_(cmpk_\w+|movk|addk|mulk|cmovk)_", instruction.base):
        return list(operands)
    constant = int(operands[-1].value)
    signed = not instruction.base.startswith("s_cmpk") or instruction.base.endswith("i32")
    if signed and constant & 0x8000:
        constant = (constant & 0xFFFF) - 0x10000
    elif not signed:
        constant &= 0xFFFF
    return [*operands[:-1], Operand("i", value=constant)]


SHORT = {"s_movk_i32": "s_mov_b32", "s_addk_i32": "s_add_i32", "s_mulk_i32": "s_mul_i32"}


def decode(instruction: Instruction, operands: Sequence[Operand]) -> Step | None:
    """The step of a scalar operation, or None where this family does not know the mnemonic."""
    name = instruction.base
    if name in SHORT:
        words = short(instruction, operands)
        return build(OPERATIONS[SHORT[name]], words if name == "s_movk_i32" else [words[0], *words])
    if name in OPERATIONS:
        return build(OPERATIONS[name], operands)
    for pattern, factory in (
        (r"s_(addc|subb)_u32$", with_carry),
        (r"s_(cselect|cmov)_b(32|64)$", select),
        (r"s_cmpk?_", compare),
        (r"s_bitcmp[01]_b(32|64)$", compare_bit),
        (r"s_bitset[01]_b(32|64)$", set_bit),
        (r"s_\w+_saveexec_b64$", save_exec),
    ):
        if re.match(pattern, name):
            return factory(instruction, operands)
    return None
