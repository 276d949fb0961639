"""What the scalar operations compute, as functions of (waves,) arrays, and the table of their types (SOP1, SOP2)."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Function = Callable[..., Any]

U32, U64, I64 = np.uint32, np.uint64, np.int64


@dataclass(frozen=True)
class ScalarOperation:
    """Source types, result type, function, and what SCC becomes.

    scc: "" unchanged; "nonzero" whether the result is not zero; "returned" the function gives (result, scc).
    """

    sources: str
    result: str
    function: Function
    scc: str = ""


def wide(value: Any) -> Any:
    return np.asarray(value).astype(I64)


def add_unsigned(a: Array, b: Array) -> tuple[Array, Array]:
    total = wide(a) + wide(b)
    return total.astype(U32), total >> 32 != 0


def subtract_unsigned(a: Array, b: Array) -> tuple[Array, Array]:
    return (wide(a) - wide(b)).astype(U32), np.asarray(a < b)


def add_signed(a: Array, b: Array) -> tuple[Array, Array]:
    total = wide(a) + wide(b)
    return total.astype(np.int32), total != total.astype(np.int32)


def subtract_signed(a: Array, b: Array) -> tuple[Array, Array]:
    total = wide(a) - wide(b)
    return total.astype(np.int32), total != total.astype(np.int32)


def shift_left_add(shift: int) -> Function:
    def shifted(a: Array, b: Array) -> tuple[Array, Array]:
        total = (wide(a) << shift) + wide(b)
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
    result: Array = np.where(width == 0, dtype.type(0), shifted)
    return result


def field_mask(width: Array, offset: Array) -> Array:
    dtype = np.asarray(width).dtype
    most = dtype.type(dtype.itemsize * 8 - 1)
    result: Array = ((dtype.type(1) << (width & most)) - dtype.type(1)) << (offset & most)
    return result


def shift(function: Function, bits: int) -> Function:
    def shifted(a: Array, b: Array) -> Array:
        value: Array = np.asarray(a)
        return np.asarray(function(value, (np.asarray(b) & U32(bits - 1)).astype(value.dtype)))

    return shifted


def bit_count(value: Array) -> Array:
    word = np.asarray(value).astype(U64)
    word = word - ((word >> U64(1)) & U64(0x5555555555555555))
    word = (word & U64(0x3333333333333333)) + ((word >> U64(2)) & U64(0x3333333333333333))
    word = (word + (word >> U64(4))) & U64(0x0F0F0F0F0F0F0F0F)
    return np.asarray(((word * U64(0x0101010101010101)) >> U64(56)).astype(U32))


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


def sign_bits(value: Array) -> Array:
    """s_flbit_i32, v_ffbh_i32: how many bits from the top equal the sign, -1 where all do."""
    word = np.asarray(value)
    bits = word.dtype.itemsize * 8
    unsigned: Any = np.uint32 if bits == 32 else np.uint64
    return leading_zeros(np.asarray(word ^ (word >> word.dtype.type(bits - 1))).view(unsigned))


def doubled_bits(value: Array) -> Array:
    """s_bitreplicate: every bit twice."""
    word = np.asarray(value).astype(U64)
    for step, mask in ((16, 0x0000FFFF0000FFFF), (8, 0x00FF00FF00FF00FF), (4, 0x0F0F0F0F0F0F0F0F), (2, 0x3333333333333333), (1, 0x5555555555555555)):
        word = (word | (word << U64(step))) & U64(mask)
    return np.asarray(word | (word << U64(1)))


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
    "s_flbit_i32": ScalarOperation("i32", "u32", sign_bits),
    "s_flbit_i32_i64": ScalarOperation("i64", "u32", sign_bits),
    "s_mul_i32": ScalarOperation("u32 u32", "u32", lambda a, b: a * b),
    "s_mul_hi_u32": ScalarOperation("u32 u32", "u32", lambda a, b: (a.astype(U64) * b.astype(U64)) >> U64(32)),
    "s_mul_hi_i32": ScalarOperation("i32 i32", "u32", lambda a, b: (wide(a) * wide(b)) >> 32),
    "s_min_u32": ScalarOperation("u32 u32", "u32", lambda a, b: (np.minimum(a, b), a < b), "returned"),
    "s_max_u32": ScalarOperation("u32 u32", "u32", lambda a, b: (np.maximum(a, b), a >= b), "returned"),
    "s_min_i32": ScalarOperation("i32 i32", "u32", lambda a, b: (np.minimum(a, b), a < b), "returned"),
    "s_max_i32": ScalarOperation("i32 i32", "u32", lambda a, b: (np.maximum(a, b), a >= b), "returned"),
    "s_abs_i32": ScalarOperation("i32", "u32", np.abs, "nonzero"),
    "s_absdiff_i32": ScalarOperation("i32 i32", "u32", lambda a, b: np.abs(a - b), "nonzero"),
    "s_sext_i32_i8": ScalarOperation("u32", "u32", lambda a: a.astype(np.int8).astype(np.int32)),
    "s_sext_i32_i16": ScalarOperation("u32", "u32", lambda a: a.astype(np.int16).astype(np.int32)),
    "s_lshl1_add_u32": ScalarOperation("u32 u32", "u32", shift_left_add(1), "returned"),
    "s_lshl2_add_u32": ScalarOperation("u32 u32", "u32", shift_left_add(2), "returned"),
    "s_lshl3_add_u32": ScalarOperation("u32 u32", "u32", shift_left_add(3), "returned"),
    "s_lshl4_add_u32": ScalarOperation("u32 u32", "u32", shift_left_add(4), "returned"),
    "s_bitreplicate_b64_b32": ScalarOperation("u32", "u64", doubled_bits),
    "s_pack_ll_b32_b16": ScalarOperation("u32 u32", "u32", pack(0, 0)),
    "s_pack_lh_b32_b16": ScalarOperation("u32 u32", "u32", pack(0, 1)),
    "s_pack_hh_b32_b16": ScalarOperation("u32 u32", "u32", pack(1, 1)),
    "s_pack_hl_b32_b16": ScalarOperation("u32 u32", "u32", pack(1, 0)),
}
