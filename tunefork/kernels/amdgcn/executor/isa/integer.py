"""Vector integer operations: type signature and meaning of each, as functions of numpy arrays that broadcast to (waves, 64)."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.executor.isa.scalar_operations import bit_count, leading_zeros, lowest_one, sign_bits

Array = npt.NDArray[Any]
Function = Callable[..., Any]
U32, I32, U64, I64 = np.uint32, np.int32, np.uint64, np.int64
LOW24 = U32(0xFFFFFF)


@dataclass(frozen=True)
class VectorOperation:
    """Source types, result type and meaning.

    sources: types in operand order; a trailing "dst" reads the old destination.
    result: the type written; 16-bit results clear the high half.
    saturating: what the ``clamp`` modifier computes instead, for integers.
    """

    sources: str
    result: str
    function: Function
    saturating: Function | None = None


def wide(value: Any) -> Any:
    return np.asarray(value).astype(U64)


def shift(function: Function) -> Function:
    """A shift whose first operand is the amount, taken modulo the width."""

    def shifted(amount: Array, value: Array) -> Array:
        dtype = value.dtype
        return np.asarray(function(value, (amount & amount.dtype.type(dtype.itemsize * 8 - 1)).astype(dtype)))

    return shifted


def amount(value: Array) -> Array:
    return value & U32(31)


def bit_field(signed: bool) -> Function:
    """v_bfe: ``width`` bits of ``value`` from ``offset``, sign-extended where signed."""

    def extract(value: Array, offset: Array, width: Array) -> Array:
        bits = width & U32(31)
        shifted = (value.view(I32) >> amount(offset).astype(I32)).view(U32) if signed else value >> amount(offset)
        field = shifted & ((U32(1) << bits) - U32(1))
        if not signed:
            return field
        sign = np.where(bits == 0, U32(0), U32(1) << (bits - U32(1)))
        extended: Array = (field ^ sign) - sign
        return extended

    return extract


def signed24(value: Array) -> Array:
    return (value << I32(8)) >> I32(8)


def align(value_high: Array, value_low: Array, bits: Array) -> Array:
    result: Array = (((wide(value_high) << U64(32)) | wide(value_low)) >> wide(bits)).astype(U32)
    return result


def permute_bytes(high: Array, low: Array, selector: Array) -> Array:
    """v_perm_b32: each selector byte picks a byte of {high, low}, or a sign of a 16-bit half, 0x00 (12) or 0xff (above)."""
    both = (wide(high) << U64(32)) | wide(low)
    result: Array = np.zeros(1, U32)
    for place in range(4):
        select = (selector >> U32(8 * place)) & U32(0xFF)
        plain = (both >> (wide(select & U32(7)) * U64(8))) & U64(0xFF)
        sign_at = wide((select & U32(3)) * U32(16) + U32(15))
        sign = ((both >> sign_at) & U64(1)) * U64(0xFF)
        special = np.where(select == 12, U64(0), U64(0xFF))
        chosen = np.where(select < 8, plain, np.where(select < 12, sign, special))
        result = result | (chosen.astype(U32) << U32(8 * place))
    return result


def median(a: Array, b: Array, c: Array) -> Array:
    middle: Array = np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c))
    return middle


def reverse(value: Array) -> Array:
    swapped = value
    for step, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF)):
        swapped = ((swapped >> U32(step)) & U32(mask)) | ((swapped & U32(mask)) << U32(step))
    return (swapped >> U32(16)) | (swapped << U32(16))


def dot(a: Array, b: Array, c: Array, bits: int) -> Array:
    """c plus the products of the signed ``bits``-wide parts of a and b, modulo 2**32."""
    total, up = c.view(I32), I32(32 - bits)
    for place in range(0, 32, bits):
        left, right = ((word.view(I32) << I32(32 - bits - place)) >> up for word in (a, b))
        total = total + left * right
    return np.asarray(total).view(U32)


def sum_of_differences(a: Array, b: Array, c: Array, bits: int = 8) -> Array:
    total, mask = c, U32((1 << bits) - 1)
    for place in range(0, 32, bits):
        first, second = ((a >> U32(place)) & mask, (b >> U32(place)) & mask)
        total = total + np.maximum(first, second) - np.minimum(first, second)
    return total


def below(first_lane: int) -> Array:
    """For v_mbcnt: the lanes below each lane, as bits counted from ``first_lane``."""
    return np.array([(1 << min(max(lane - first_lane, 0), 32)) - 1 for lane in range(64)], np.uint64).astype(U32)


def saturating_add(a: Array, b: Array) -> Array:
    total = a + b
    return np.where(total < a, np.asarray(total).dtype.type(-1 & 0xFFFFFFFF), total)


def saturating_subtract(a: Array, b: Array) -> Array:
    return np.where(a < b, U32(0), a - b)


def three(function: Function) -> Function:
    return lambda a, b, c: function(function(a, b), c)


def _table() -> dict[str, VectorOperation]:
    op = VectorOperation
    one, two, all_three = "u32", "u32 u32", "u32 u32 u32"
    table = {
        "v_mov_b32": op(one, "u32", lambda a: a),
        "v_accvgpr_mov_b32": op(one, "u32", lambda a: a),
        "v_accvgpr_read_b32": op(one, "u32", lambda a: a),
        "v_accvgpr_write_b32": op(one, "u32", lambda a: a),
        "v_mov_b64": op("u64", "u64", lambda a: a),
        "v_not_b32": op(one, "u32", lambda a: ~a),
        "v_bfrev_b32": op(one, "u32", reverse),
        "v_ffbh_u32": op(one, "u32", leading_zeros),
        "v_ffbl_b32": op(one, "u32", lowest_one),
        "v_ffbh_i32": op("i32", "u32", sign_bits),
        "v_bcnt_u32_b32": op(two, "u32", lambda a, b: bit_count(a) + b),
        "v_mbcnt_lo_u32_b32": op(two, "u32", lambda a, b: bit_count(a & below(0)) + b),
        "v_mbcnt_hi_u32_b32": op(two, "u32", lambda a, b: bit_count(a & below(32)) + b),
        "v_add_u32": op(two, "u32", operator.add, saturating_add),
        "v_sub_u32": op(two, "u32", operator.sub, saturating_subtract),
        "v_subrev_u32": op(two, "u32", lambda a, b: b - a, lambda a, b: saturating_subtract(b, a)),
        "v_mul_lo_u32": op(two, "u32", operator.mul),
        "v_mul_hi_u32": op(two, "u32", lambda a, b: ((wide(a) * wide(b)) >> U64(32)).astype(U32)),
        "v_mul_hi_i32": op("i32 i32", "u32", lambda a, b: ((a.astype(I64) * b.astype(I64)) >> 32).astype(U32)),
        "v_mul_u32_u24": op(two, "u32", lambda a, b: (a & LOW24) * (b & LOW24)),
        "v_mul_hi_u32_u24": op(two, "u32", lambda a, b: ((wide(a & LOW24) * wide(b & LOW24)) >> U64(32)).astype(U32)),
        "v_mul_i32_i24": op("i32 i32", "i32", lambda a, b: signed24(a) * signed24(b)),
        "v_mul_hi_i32_i24": op("i32 i32", "i32", lambda a, b: ((signed24(a).astype(I64) * signed24(b).astype(I64)) >> 32).astype(I32)),
        "v_mad_u32_u16": op("u16 u16 u32", "u32", lambda a, b, c: a.astype(U32) * b.astype(U32) + c),
        "v_mad_i32_i16": op("i16 i16 i32", "i32", lambda a, b, c: a.astype(I32) * b.astype(I32) + c),
        "v_mad_u32_u24": op(all_three, "u32", lambda a, b, c: (a & LOW24) * (b & LOW24) + c),
        "v_mad_i32_i24": op("i32 i32 i32", "i32", lambda a, b, c: signed24(a) * signed24(b) + c),
        "v_add3_u32": op(all_three, "u32", lambda a, b, c: a + b + c),
        "v_lshl_add_u32": op(all_three, "u32", lambda a, b, c: (a << amount(b)) + c),
        "v_add_lshl_u32": op(all_three, "u32", lambda a, b, c: (a + b) << amount(c)),
        "v_lshl_or_b32": op(all_three, "u32", lambda a, b, c: (a << amount(b)) | c),
        "v_and_or_b32": op(all_three, "u32", lambda a, b, c: (a & b) | c),
        "v_or3_b32": op(all_three, "u32", lambda a, b, c: a | b | c),
        "v_xad_u32": op(all_three, "u32", lambda a, b, c: (a ^ b) + c),
        "v_sad_hi_u8": op(all_three, "u32", lambda a, b, c: (sum_of_differences(a, b, np.zeros_like(c)) << U32(16)) + c),
        "v_sad_u16": op(all_three, "u32", lambda a, b, c: sum_of_differences(a, b, c, 16)),
        "v_sad_u32": op(all_three, "u32", lambda a, b, c: np.maximum(a, b) - np.minimum(a, b) + c),
        "v_dot2c_i32_i16": op("u32 u32 dst", "u32", lambda a, b, c: dot(a, b, c, 16)),
        "v_dot4c_i32_i8": op("u32 u32 dst", "u32", lambda a, b, c: dot(a, b, c, 8)),
        "v_dot8c_i32_i4": op("u32 u32 dst", "u32", lambda a, b, c: dot(a, b, c, 4)),
        "v_prng_b32": op(one, "u32", lambda a: (a << U32(1)) ^ np.where(a >> U32(31) != 0, U32(197), U32(0))),
        "v_sad_u8": op(all_three, "u32", sum_of_differences),
        "v_and_b32": op(two, "u32", operator.and_),
        "v_or_b32": op(two, "u32", operator.or_),
        "v_xor_b32": op(two, "u32", operator.xor),
        "v_xnor_b32": op(two, "u32", lambda a, b: ~(a ^ b)),
        "v_lshlrev_b32": op(two, "u32", shift(operator.lshift)),
        "v_lshrrev_b32": op(two, "u32", shift(operator.rshift)),
        "v_ashrrev_i32": op("u32 i32", "i32", shift(operator.rshift)),
        "v_lshlrev_b64": op("u32 u64", "u64", shift(operator.lshift)),
        "v_lshrrev_b64": op("u32 u64", "u64", shift(operator.rshift)),
        "v_ashrrev_i64": op("u32 i64", "i64", shift(operator.rshift)),
        "v_lshl_add_u64": op("u64 u32 u64", "u64", lambda a, b, c: (a << wide(b & U32(7))) + c),
        "v_bfe_u32": op(all_three, "u32", bit_field(False)),
        "v_bfe_i32": op(all_three, "u32", bit_field(True)),
        "v_bfi_b32": op(all_three, "u32", lambda a, b, c: (a & b) | (~a & c)),
        "v_bfm_b32": op(two, "u32", lambda a, b: ((U32(1) << amount(a)) - U32(1)) << amount(b)),
        "v_perm_b32": op(all_three, "u32", permute_bytes),
        "v_alignbit_b32": op(all_three, "u32", lambda a, b, c: align(a, b, c & U32(31))),
        "v_alignbyte_b32": op(all_three, "u32", lambda a, b, c: align(a, b, (c & U32(3)) * U32(8))),
        "v_lshlrev_b16": op("u16 u16", "u16", shift(operator.lshift)),
        "v_lshrrev_b16": op("u16 u16", "u16", shift(operator.rshift)),
        "v_ashrrev_i16": op("u16 i16", "i16", shift(operator.rshift)),
        "v_add_u16": op("u16 u16", "u16", operator.add),
        "v_sub_u16": op("u16 u16", "u16", operator.sub),
        "v_subrev_u16": op("u16 u16", "u16", lambda a, b: b - a),
        "v_mul_lo_u16": op("u16 u16", "u16", operator.mul),
        "v_mad_i16": op("i16 i16 i16", "i16", lambda a, b, c: a * b + c),
        "v_mad_legacy_i16": op("i16 i16 i16", "i16", lambda a, b, c: a * b + c),
        "v_mad_legacy_u16": op("u16 u16 u16", "u16", lambda a, b, c: a * b + c),
        "v_mad_u16": op("u16 u16 u16", "u16", lambda a, b, c: a * b + c),
    }
    for kind in ("u32", "i32", "u16", "i16"):
        pair, triple = f"{kind} {kind}", f"{kind} {kind} {kind}"
        table[f"v_min_{kind}"] = op(pair, kind, np.minimum)
        table[f"v_max_{kind}"] = op(pair, kind, np.maximum)
        table[f"v_min3_{kind}"] = op(triple, kind, three(np.minimum))
        table[f"v_max3_{kind}"] = op(triple, kind, three(np.maximum))
        table[f"v_med3_{kind}"] = op(triple, kind, median)
    return table


OPERATIONS = _table()
