"""Vector floating-point operations. Transcendentals are rounded ideally; a fused multiply-add rounds through f64.

Denormals are kept (Triton's kernels ask for that); minimum and maximum return the number where one source is NaN (IEEE mode).
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.executor.isa.integer import VectorOperation, three

Array = npt.NDArray[Any]
Function = Callable[..., Any]
F16, F32, F64 = np.float16, np.float32, np.float64
SMALLEST_NORMAL = np.float32(2.0**-126)


def double(value: Any) -> Any:
    return np.asarray(value).astype(F64)


def fma(a: Array, b: Array, c: Array) -> Array:
    """a x b + c: the product is exact in f64, so that only the sum is rounded (to f64, then to f32)."""
    return np.asarray((double(a) * double(b) + double(c)).astype(F32))


def fma16(a: Array, b: Array, c: Array) -> Array:
    return np.asarray((double(a) * double(b) + double(c)).astype(F16))


def fma64(a: Array, b: Array, c: Array) -> Array:
    product = np.asarray(a).astype(np.longdouble) * np.asarray(b).astype(np.longdouble)
    return np.asarray((product + c).astype(F64))


def median(a: Array, b: Array, c: Array) -> Array:
    middle = np.fmax(np.fmin(a, b), np.fmin(np.fmax(a, b), c))
    unordered = np.isnan(a) | np.isnan(b) | np.isnan(c)
    return np.where(unordered, np.fmin(np.fmin(a, b), c), middle)


def to_integer(low: int, high: int, dtype: Any) -> Function:
    """Truncation that saturates; NaN becomes zero."""

    def convert(value: Array) -> Array:
        bounded = np.clip(np.trunc(double(value)), low, high)
        return np.where(np.isnan(bounded), 0, bounded).astype(np.int64).astype(dtype)

    return convert


def fraction(value: Array) -> Array:
    result: Array = np.minimum(value - np.floor(value), np.float32(1 - 2.0**-24))
    return result


def through_double(function: Function) -> Function:
    return lambda value: function(double(value)).astype(F32)


def mantissa(value: Array) -> Array:
    return np.where(np.isfinite(value), np.frexp(value)[0], value)


def exponent(value: Array) -> Array:
    return np.where(np.isfinite(value), np.frexp(value)[1], 0).astype(np.int32)


def scaled(value: Array, power: Array) -> Array:
    bounded = np.clip(np.asarray(power).astype(np.int32), -1000, 1000)
    result: Array = np.ldexp(double(value), bounded).astype(np.asarray(value).dtype)
    return result


def division_fixup(quotient: Array, denominator: Array, numerator: Array) -> Array:
    """v_div_fixup_f32: the special cases that the refined quotient cannot give."""
    sign = np.where(np.signbit(denominator) ^ np.signbit(numerator), F32(-1), F32(1))
    result = sign * np.abs(quotient)
    result = np.where(np.isnan(quotient), sign * F32(np.inf), result)  # the refinement of a quotient that overflows
    infinite = np.isinf(numerator) | (denominator == 0)
    zero = np.isinf(denominator) | (numerator == 0)
    result = np.where(infinite, sign * F32(np.inf), result)
    result = np.where(zero, sign * F32(0), result)
    invalid = (np.isinf(numerator) & np.isinf(denominator)) | ((numerator == 0) & (denominator == 0))
    invalid = invalid | np.isnan(numerator) | np.isnan(denominator)
    return np.where(invalid, F32(np.nan), result).astype(F32)


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
        table[f"v_max_{kind}"] = VectorOperation(two, kind, np.fmax)
        table[f"v_min_{kind}"] = VectorOperation(two, kind, np.fmin)
        table[f"v_max3_{kind}"] = VectorOperation(three_of, kind, three(np.fmax))
        table[f"v_min3_{kind}"] = VectorOperation(three_of, kind, three(np.fmin))
        table[f"v_med3_{kind}"] = VectorOperation(three_of, kind, median)
        table[f"v_floor_{kind}"] = VectorOperation(kind, kind, np.floor)
        table[f"v_ceil_{kind}"] = VectorOperation(kind, kind, np.ceil)
        table[f"v_trunc_{kind}"] = VectorOperation(kind, kind, np.trunc)
        table[f"v_rndne_{kind}"] = VectorOperation(kind, kind, np.rint)
    return table


OPERATIONS: dict[str, VectorOperation] = {
    **_both_widths(),
    "v_max_num_f64": VectorOperation("f64 f64", "f64", np.fmax),
    "v_fmamk_f32": VectorOperation("f32 f32 f32", "f32", fma),
    "v_fmaak_f32": VectorOperation("f32 f32 f32", "f32", fma),
    "v_maximum3_f32": VectorOperation("f32 f32 f32", "f32", three(np.maximum)),
    "v_minimum3_f32": VectorOperation("f32 f32 f32", "f32", three(np.minimum)),
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
    "v_fract_f32": VectorOperation("f32", "f32", fraction),
    "v_ldexp_f32": VectorOperation("f32 i32", "f32", scaled),
    "v_ldexp_f64": VectorOperation("f64 i32", "f64", scaled),
    "v_frexp_exp_i32_f32": VectorOperation("f32", "i32", exponent),
    "v_frexp_mant_f32": VectorOperation("f32", "f32", mantissa),
    "v_div_fixup_f32": VectorOperation("f32 f32 f32", "f32", division_fixup),
    "v_cvt_f32_i32": VectorOperation("i32", "f32", lambda a: a.astype(F32)),
    "v_cvt_f32_u32": VectorOperation("u32", "f32", lambda a: a.astype(F32)),
    "v_cvt_f64_i32": VectorOperation("i32", "f64", lambda a: a.astype(F64)),
    "v_cvt_f64_u32": VectorOperation("u32", "f64", lambda a: a.astype(F64)),
    "v_cvt_i32_f32": VectorOperation("f32", "i32", to_integer(-(2**31), 2**31 - 1, np.int32)),
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
