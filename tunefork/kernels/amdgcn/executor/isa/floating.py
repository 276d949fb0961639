"""Vector floating-point operations. Transcendentals are rounded ideally; a fused multiply-add is rounded once.

Denormals are kept (Triton's kernels ask for that). Minimum and maximum are those of IEEE mode: the number where one source is a
quiet NaN, a quiet NaN where one is signalling, and -0 below +0.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.executor.isa.integer import VectorOperation, three

Array = npt.NDArray[Any]
Function = Callable[..., Any]
F16, F32, F64, U64 = np.float16, np.float32, np.float64, np.uint64


@dataclass(frozen=True)
class Form:
    """A float format by its bits: mantissa bits, exponent bias, and the unsigned type of its width."""

    word: Any
    mantissa: int
    bias: int

    @property
    def magnitude(self) -> int:
        return int((1 << np.dtype(self.word).itemsize * 8 - 1) - 1)

    @property
    def infinity(self) -> int:
        return (2 * self.bias + 1) << self.mantissa

    @property
    def smallest_normal(self) -> int:
        return 1 << self.mantissa

    @property
    def quiet(self) -> int:
        """The bit that tells a quiet NaN from a signalling one."""
        return 1 << (self.mantissa - 1)


FORMS = {2: Form(np.uint16, 10, 15), 4: Form(np.uint32, 23, 127), 8: Form(np.uint64, 52, 1023)}


def bits_of(value: Array) -> Array:
    array = np.ascontiguousarray(value)
    bits: Array = array.view(FORMS[array.dtype.itemsize].word).reshape(np.shape(value))
    return bits


def biased_exponent(value: Array) -> Array:
    form = FORMS[value.dtype.itemsize]
    field: Array = (bits_of(value) & form.word(form.magnitude)) >> form.word(form.mantissa)
    return field.astype(np.int32)


def is_denormal(value: Array) -> Array:
    size = bits_of(value) & FORMS[value.dtype.itemsize].word(FORMS[value.dtype.itemsize].magnitude)
    result: Array = (size != 0) & (biased_exponent(value) == 0)
    return result


def is_signalling(value: Array) -> Array:
    """Where a value is a NaN whose quiet bit is clear."""
    result: Array = np.isnan(value) & (bits_of(value) & FORMS[value.dtype.itemsize].word(FORMS[value.dtype.itemsize].quiet) == 0)
    return result


def quieted(value: Array) -> Array:
    form = FORMS[value.dtype.itemsize]
    bits: Array = bits_of(value) | form.word(form.quiet)
    return bits.view(value.dtype)


def double(value: Any) -> Any:
    return np.asarray(value).astype(F64)


def rounded_to_odd(a: Array, b: Array) -> Array:
    """a + b in f64, the last bit set where the sum is not exact: rounding that once more, to fewer bits, is rounding once."""
    total = np.asarray(a + b)
    part = total - a
    lost = (a - (total - part)) + (b - part)
    word = total.view(U64)
    inexact = (lost != 0) & np.isfinite(total) & ((word & U64(1)) == 0)
    if not inexact.any():
        return total
    outward = (lost > 0) == (total > 0)
    return np.where(inexact, np.where(outward, word + U64(1), word - U64(1)), word).view(F64)


TIE_F32, BELOW_F32 = U64(1 << 28), U64((1 << 29) - 1)
SMALLEST_NORMAL = F32(2.0**-126)


def fma(a: Array, b: Array, c: Array) -> Array:
    """a x b + c, rounded once to f32: the product is exact in f64, and only a sum that lies on a tie of f32 needs more care."""
    product, addend = double(a) * double(b), double(c)
    total = np.asarray(product + addend)
    result = total.astype(F32)
    if ((total.view(U64) & BELOW_F32) == TIE_F32).any() or (np.abs(result) < SMALLEST_NORMAL).any():
        return np.asarray(rounded_to_odd(product, addend).astype(F32))
    return np.asarray(result)


def fma16(a: Array, b: Array, c: Array) -> Array:
    return np.asarray(rounded_to_odd(double(a) * double(b), double(c)).astype(F16))


SPLIT = F64(2**27 + 1)


def product_parts(a: Array, b: Array) -> tuple[Array, Array]:
    """a x b as rounded product and exact rest (Veltkamp, Dekker)."""

    def halves(value: Array) -> tuple[Array, Array]:
        scaled_up = SPLIT * value
        high = scaled_up - (scaled_up - value)
        return high, value - high

    (ah, al), (bh, bl), whole = halves(a), halves(b), a * b
    return whole, ((ah * bh - whole) + ah * bl + al * bh) + al * bl


def sum_parts(a: Array, b: Array) -> tuple[Array, Array]:
    """a + b as rounded sum and exact rest (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def exact_fma64(a: float, b: float, c: float) -> float:
    """By fractions; what underflows keeps its sign, and an exact zero has the plain sum's."""
    total = Fraction(a) * Fraction(b) + Fraction(c)
    try:
        return math.copysign(float(total), total) if total else a * b + c
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def fma64(a: Array, b: Array, c: Array) -> Array:
    """a x b + c in f64, rounded once (Boldo and Melquiond, 2008); by exact fractions where that could over- or underflow."""
    a, b, c = np.broadcast_arrays(np.asarray(a), np.asarray(b), np.asarray(c))
    plain = np.asarray(a * b + c)
    simple = (a == 0) | (b == 0) | ~np.isfinite(a) | ~np.isfinite(b) | ~np.isfinite(c)
    sizes = [np.abs(value) for value in (a, b, c)]
    moderate = (sizes[0] > 2.0**-400) & (sizes[0] < 2.0**400) & (sizes[1] > 2.0**-400) & (sizes[1] < 2.0**400)
    moderate &= (sizes[2] > 2.0**-700) & (sizes[2] < 2.0**900)
    high, low = product_parts(a, b)
    inner, inner_rest = sum_parts(c, low)
    outer, outer_rest = sum_parts(high, inner)
    result = np.where(simple, plain, outer + rounded_to_odd(inner_rest, outer_rest))
    for place in np.argwhere(~simple & ~moderate):
        at = tuple(place)
        result[at] = exact_fma64(float(a[at]), float(b[at]), float(c[at]))
    return result


def extreme(choose: Function, both_zero: Function) -> Function:
    """A minimum or maximum. choose: np.fmin or np.fmax.  both_zero: of the bits of two zeros, "or" or "and"."""

    def pick(a: Array, b: Array) -> Array:
        a, b = np.asarray(a), np.asarray(b)
        result = np.asarray(choose(a, b))
        if (result == 0).any():
            zeros = (a == 0) & (b == 0)
            result = np.where(zeros, both_zero(bits_of(a), bits_of(b)).view(result.dtype), result)
        if np.isnan(a).any() or np.isnan(b).any():
            result = np.where(is_signalling(b), quieted(b), result)
            result = np.where(is_signalling(a), quieted(a), result)
        return result

    return pick


minimum, maximum = extreme(np.fmin, operator.or_), extreme(np.fmax, operator.and_)


def extreme_of_three(choose: Function, both_zero: Function) -> Function:
    """v_minimum3, v_maximum3: a NaN anywhere is the result, quiet, and -0 is below +0."""
    ordered = extreme(choose, both_zero)

    def pick(a: Array, b: Array) -> Array:
        unordered = np.isnan(a) | np.isnan(b)
        return np.where(unordered, quieted(np.where(np.isnan(a), a, b)), ordered(a, b)) if unordered.any() else ordered(a, b)

    return three(pick)


def median(a: Array, b: Array, c: Array) -> Array:
    """v_med3: the larger of the two that are not the largest; the minimum of three where one is NaN."""
    top = maximum(maximum(a, b), c)
    middle = np.where(top == a, maximum(b, c), np.where(top == b, maximum(a, c), maximum(a, b)))
    unordered = np.isnan(a) | np.isnan(b) | np.isnan(c)
    return np.where(unordered, minimum(minimum(a, b), c), middle) if unordered.any() else middle


def to_integer(low: int, high: int, dtype: Any) -> Function:
    """Truncation that saturates; NaN becomes zero."""

    def convert(value: Array) -> Array:
        bounded = np.clip(np.trunc(double(value)), low, high)
        return np.where(np.isnan(bounded), 0, bounded).astype(np.int64).astype(dtype)

    return convert


def fraction(value: Array) -> Array:
    """x - floor(x), at most the largest number below one."""
    below_one = np.nextafter(value.dtype.type(1), value.dtype.type(0))
    result: Array = np.minimum(value - np.floor(value), below_one)
    return result


def through_double(function: Function, dtype: Any = F32) -> Function:
    return lambda value: function(double(value)).astype(dtype)


def mantissa(value: Array) -> Array:
    return np.where(np.isfinite(value), np.frexp(value)[0], value)


def exponent(value: Array) -> Array:
    return np.where(np.isfinite(value), np.frexp(value)[1], 0).astype(np.int32)


MOST_POWER = 4000  # beyond it every f64 is zero or infinite


def scaled(value: Array, power: Array) -> Array:
    bounded = np.clip(np.asarray(power).astype(np.int32), -MOST_POWER, MOST_POWER)
    result: Array = np.ldexp(double(value), bounded).astype(np.asarray(value).dtype)
    return result


LEAST_QUOTIENT = {2: None, 4: -150, 8: -1075}


def division_fixup(quotient: Array, denominator: Array, numerator: Array) -> Array:
    """v_div_fixup: the special cases that the refined quotient cannot give, in the order of the ISA document.

    Its overflow rule asks for an exponent that an earlier rule has taken; meant is a quotient beyond the largest number, which the
    refinement turns into NaN.
    """
    quotient, denominator, numerator = np.broadcast_arrays(quotient, denominator, numerator)
    dtype = quotient.dtype.type
    sign = np.where(np.signbit(denominator) ^ np.signbit(numerator), dtype(-1), dtype(1))
    infinite, zero = sign * dtype(np.inf), sign * dtype(0)
    result = sign * np.abs(quotient)
    least = LEAST_QUOTIENT[quotient.dtype.itemsize]
    if least is not None:
        result = np.where(np.isnan(quotient) & np.isinf(numerator / denominator), infinite, result)
        result = np.where(biased_exponent(numerator) - biased_exponent(denominator) < least, zero, result)
    result = np.where(np.isinf(denominator) | (numerator == 0), zero, result)
    result = np.where(np.isinf(numerator) | (denominator == 0), infinite, result)
    invalid = (np.isinf(numerator) & np.isinf(denominator)) | ((numerator == 0) & (denominator == 0))
    result = np.where(invalid, -dtype(np.nan), result)
    result = np.where(np.isnan(denominator), quieted(denominator), result)
    return np.where(np.isnan(numerator), quieted(numerator), result)


def dot_f16(a: Array, b: Array, c: Array) -> Array:
    """v_dot2c_f32_f16: each of the two products is exact in f32 and added in turn."""
    total = c
    for shift in (np.uint32(0), np.uint32(16)):
        left, right = ((word >> shift).astype(np.uint16).view(F16).astype(F32) for word in (a, b))
        total = total + left * right
    return total


def dot_bf16(a: Array, b: Array, c: Array) -> Array:
    """v_dot2c_f32_bf16."""
    total = c
    for shift in (np.uint32(16), np.uint32(0)):
        left, right = (((word << shift) & np.uint32(0xFFFF0000)).view(F32) for word in (a, b))
        total = total + left * right
    return total


def packed_f16(a: Array, b: Array) -> Array:
    low = np.asarray(np.asarray(a).astype(F16)).view(np.uint16).astype(np.uint32)
    high = np.asarray(np.asarray(b).astype(F16)).view(np.uint16).astype(np.uint32)
    return low | (high << np.uint32(16))


def _both_widths() -> dict[str, VectorOperation]:
    table = {}
    for kind, fused in (("f32", fma), ("f16", fma16), ("f64", fma64)):
        two, three_of = f"{kind} {kind}", f"{kind} {kind} {kind}"
        table[f"v_add_{kind}"] = VectorOperation(two, kind, operator.add)
        table[f"v_sub_{kind}"] = VectorOperation(two, kind, operator.sub)
        table[f"v_subrev_{kind}"] = VectorOperation(two, kind, lambda a, b: b - a)
        table[f"v_mul_{kind}"] = VectorOperation(two, kind, operator.mul)
        table[f"v_fma_{kind}"] = VectorOperation(three_of, kind, fused)
        table[f"v_fmac_{kind}"] = VectorOperation(f"{two} dst", kind, fused)
        table[f"v_max_{kind}"] = VectorOperation(two, kind, maximum)
        table[f"v_min_{kind}"] = VectorOperation(two, kind, minimum)
        table[f"v_max3_{kind}"] = VectorOperation(three_of, kind, three(maximum))
        table[f"v_min3_{kind}"] = VectorOperation(three_of, kind, three(minimum))
        table[f"v_med3_{kind}"] = VectorOperation(three_of, kind, median)
        table[f"v_floor_{kind}"] = VectorOperation(kind, kind, np.floor)
        table[f"v_ceil_{kind}"] = VectorOperation(kind, kind, np.ceil)
        table[f"v_trunc_{kind}"] = VectorOperation(kind, kind, np.trunc)
        table[f"v_rndne_{kind}"] = VectorOperation(kind, kind, np.rint)
        table[f"v_fract_{kind}"] = VectorOperation(kind, kind, fraction)
        table[f"v_frexp_mant_{kind}"] = VectorOperation(kind, kind, mantissa)
        table[f"v_div_fixup_{kind}"] = VectorOperation(three_of, kind, division_fixup)
    return table


TO_I32 = to_integer(-(2**31), 2**31 - 1, np.int32)
OPERATIONS: dict[str, VectorOperation] = {
    **_both_widths(),
    "v_max_num_f64": VectorOperation("f64 f64", "f64", maximum),
    "v_fmamk_f32": VectorOperation("f32 f32 f32", "f32", fma),
    "v_fmaak_f32": VectorOperation("f32 f32 f32", "f32", fma),
    "v_maximum3_f32": VectorOperation("f32 f32 f32", "f32", extreme_of_three(np.fmax, operator.and_)),
    "v_minimum3_f32": VectorOperation("f32 f32 f32", "f32", extreme_of_three(np.fmin, operator.or_)),
    "v_rcp_f32": VectorOperation("f32", "f32", through_double(np.reciprocal)),
    "v_rcp_iflag_f32": VectorOperation("f32", "f32", through_double(np.reciprocal)),
    "v_rcp_f64": VectorOperation("f64", "f64", np.reciprocal),
    "v_rsq_f64": VectorOperation("f64", "f64", lambda a: 1 / np.sqrt(a)),
    "v_rsq_f32": VectorOperation("f32", "f32", through_double(lambda a: 1 / np.sqrt(a))),
    "v_sqrt_f32": VectorOperation("f32", "f32", np.sqrt),
    "v_sqrt_f64": VectorOperation("f64", "f64", np.sqrt),
    "v_exp_f32": VectorOperation("f32", "f32", through_double(np.exp2)),
    "v_log_f32": VectorOperation("f32", "f32", through_double(np.log2)),
    "v_sin_f32": VectorOperation("f32", "f32", through_double(lambda a: np.sin(2 * np.pi * a))),
    "v_cos_f32": VectorOperation("f32", "f32", through_double(lambda a: np.cos(2 * np.pi * a))),
    "v_ldexp_f32": VectorOperation("f32 i32", "f32", scaled),
    "v_ldexp_f64": VectorOperation("f64 i32", "f64", scaled),
    "v_ldexp_f16": VectorOperation("f16 i16", "f16", scaled),
    "v_frexp_exp_i32_f64": VectorOperation("f64", "i32", exponent),
    "v_frexp_exp_i16_f16": VectorOperation("f16", "i16", lambda a: exponent(a).astype(np.int16)),
    "v_rcp_f16": VectorOperation("f16", "f16", through_double(np.reciprocal, F16)),
    "v_sqrt_f16": VectorOperation("f16", "f16", through_double(np.sqrt, F16)),
    "v_rsq_f16": VectorOperation("f16", "f16", through_double(lambda a: 1 / np.sqrt(a), F16)),
    "v_log_f16": VectorOperation("f16", "f16", through_double(np.log2, F16)),
    "v_exp_f16": VectorOperation("f16", "f16", through_double(np.exp2, F16)),
    "v_sin_f16": VectorOperation("f16", "f16", through_double(lambda a: np.sin(2 * np.pi * a), F16)),
    "v_cos_f16": VectorOperation("f16", "f16", through_double(lambda a: np.cos(2 * np.pi * a), F16)),
    "v_dot2c_f32_f16": VectorOperation("u32 u32 dst", "f32", dot_f16),
    "v_dot2c_f32_bf16": VectorOperation("u32 u32 dst", "f32", dot_bf16),
    "v_pack_b32_f16": VectorOperation("f16 f16", "u32", packed_f16),
    "v_cvt_i16_f16": VectorOperation("f16", "i16", to_integer(-(2**15), 2**15 - 1, np.int16)),
    "v_cvt_u16_f16": VectorOperation("f16", "u16", to_integer(0, 2**16 - 1, np.uint16)),
    "v_cvt_rpi_i32_f32": VectorOperation("f32", "i32", lambda a: TO_I32(np.floor(a + F32(0.5)))),
    "v_cvt_flr_i32_f32": VectorOperation("f32", "i32", lambda a: TO_I32(np.floor(a))),
    "v_cvt_f32_bf16": VectorOperation("u16", "f32", lambda a: (a.astype(np.uint32) << np.uint32(16)).view(F32)),
    "v_frexp_exp_i32_f32": VectorOperation("f32", "i32", exponent),
    "v_cvt_f32_i32": VectorOperation("i32", "f32", lambda a: a.astype(F32)),
    "v_cvt_f32_u32": VectorOperation("u32", "f32", lambda a: a.astype(F32)),
    "v_cvt_f64_i32": VectorOperation("i32", "f64", lambda a: a.astype(F64)),
    "v_cvt_f64_u32": VectorOperation("u32", "f64", lambda a: a.astype(F64)),
    "v_cvt_i32_f32": VectorOperation("f32", "i32", TO_I32),
    "v_cvt_u32_f32": VectorOperation("f32", "u32", to_integer(0, 2**32 - 1, np.uint32)),
    "v_cvt_i32_f64": VectorOperation("f64", "i32", to_integer(-(2**31), 2**31 - 1, np.int32)),
    "v_cvt_u32_f64": VectorOperation("f64", "u32", to_integer(0, 2**32 - 1, np.uint32)),
    "v_cvt_f32_f16": VectorOperation("f16", "f32", lambda a: a.astype(F32)),
    "v_cvt_f16_f32": VectorOperation("f32", "f16", lambda a: a.astype(F16)),
    "v_cvt_f16_u16": VectorOperation("u16", "f16", lambda a: a.astype(F16)),
    "v_cvt_f16_i16": VectorOperation("i16", "f16", lambda a: a.astype(F16)),
    "v_cvt_f64_f32": VectorOperation("f32", "f64", lambda a: a.astype(F64)),
    "v_cvt_f32_f64": VectorOperation("f64", "f32", lambda a: a.astype(F32)),
    "v_cvt_pk_f16_f32": VectorOperation("f32 f32", "u32", packed_f16),
    **{
        f"v_cvt_f32_ubyte{byte}": VectorOperation(
            "u32", "f32", lambda a, byte=byte: ((a >> np.uint32(8 * byte)) & np.uint32(255)).astype(F32)
        )
        for byte in range(4)
    },
}
