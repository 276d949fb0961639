"""The narrow float formats: value tables and rounding. e2m1, e4m3 (fn), e5m2, bf16; scales are powers of two."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

NAN_EXPONENT = 255


def _values(exponent_bits: int, mantissa_bits: int, bias: int, special: str) -> npt.NDArray[np.float32]:
    """Every bit pattern's value. special: "" none, "fn" one NaN and no infinity, "ieee" infinity and NaN."""
    width = 1 + exponent_bits + mantissa_bits
    table = np.zeros(1 << width, np.float32)
    top = (1 << exponent_bits) - 1
    for pattern in range(1 << width):
        sign = -1.0 if pattern >> (width - 1) else 1.0
        exponent = (pattern >> mantissa_bits) & top
        mantissa = pattern & ((1 << mantissa_bits) - 1)
        if special == "ieee" and exponent == top:
            size = np.inf if mantissa == 0 else np.nan
        elif special == "fn" and exponent == top and mantissa == (1 << mantissa_bits) - 1:
            size = np.nan
        elif exponent == 0:
            size = mantissa * 2.0 ** (1 - bias - mantissa_bits)
        else:
            size = (1 + mantissa / (1 << mantissa_bits)) * 2.0 ** (exponent - bias)
        table[pattern] = sign * size
    return table


VALUES = {
    "fp4": _values(2, 1, 1, ""),
    "fp8": _values(4, 3, 7, "fn"),
    "bf8": _values(5, 2, 15, "ieee"),
}
BITS = {"fp4": 4, "fp8": 8, "bf8": 8}
FP4_LOW, FP4_HIGH = VALUES["fp4"][np.arange(256) & 15], VALUES["fp4"][np.arange(256) >> 4]
"""Each byte's two values, the first one in the low half."""
OVERFLOW = {"fp4": 7, "fp8": 0x7F, "bf8": 0x7C}
"""Pattern of a value that is too large, when conversions do not saturate; fp4 has nothing but its largest number."""
NOT_A_NUMBER = {"fp4": 7, "fp8": 0x7F, "bf8": 0x7F}


def round_bf16(value: Array) -> npt.NDArray[np.uint32]:
    """f32 to bf16 patterns (low 16 bits), round to nearest even; NaN stays NaN."""
    exact = np.asarray(value, np.float32)
    word = exact.view(np.uint32)
    rounded = (word + np.uint32(0x7FFF) + ((word >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    invalid = np.isnan(exact)
    if not invalid.any():
        return rounded
    quiet = np.uint32(0x7FC0) | ((word >> np.uint32(16)) & np.uint32(0x8000))
    return np.where(invalid, quiet, rounded).astype(np.uint32)


def encode(value: Array, fmt: str, *, saturate: bool) -> npt.NDArray[np.uint32]:
    """Values to patterns of ``fmt``, round to nearest even.

    saturate: too large values and infinities become the largest number; else the overflow pattern (fp4 always saturates).
    """
    positive = VALUES[fmt][: 1 << (BITS[fmt] - 1)]
    finite = positive[np.isfinite(positive)].astype(np.float64)
    exact = np.abs(np.asarray(value, np.float64))
    upper = np.clip(np.searchsorted(finite, exact), 1, len(finite) - 1)
    below, above = exact - finite[upper - 1], finite[upper] - exact
    even = np.where(upper % 2 == 0, upper, upper - 1)
    pattern = np.where(below < above, upper - 1, np.where(below > above, upper, even))
    if not saturate:
        halfway = finite[-1] + (finite[-1] - finite[-2]) / 2
        largest_is_odd = len(finite) % 2 == 0
        too_large = exact >= halfway if largest_is_odd else exact > halfway  # a tie goes to the even neighbour
        pattern = np.where(too_large, OVERFLOW[fmt], pattern)
    pattern = np.where(np.isnan(exact), NOT_A_NUMBER[fmt], pattern).astype(np.uint32)
    sign = np.signbit(np.asarray(value)).astype(np.uint32) << np.uint32(BITS[fmt] - 1)
    result: npt.NDArray[np.uint32] = pattern | sign
    return result


def scale_exponent(word: Array) -> tuple[Array, Array]:
    """The exponent of an f32 scale (its mantissa and sign are ignored) and where the scale is NaN."""
    biased = ((np.asarray(word) >> np.uint32(23)) & np.uint32(255)).astype(np.int32)
    return biased - 127, biased == NAN_EXPONENT


def special(exponents: Array) -> bool:
    """Whether some f32 exponent fields are all zeros or all ones."""
    return bool(exponents.min() == 0 or exponents.max() == 0x7F800000)


def scale_factor(word: Array) -> Array:
    """The power of two that an f32 scale's exponent stands for, as f32: 2**-127 for 0, NaN for 255."""
    bits = np.asarray(word) & np.uint32(0x7F800000)
    if not special(bits):
        return bits.view(np.float32)
    factor = np.where(bits == 0, np.uint32(0x00400000), np.where(bits == 0x7F800000, np.uint32(0x7FC00000), bits))
    return factor.astype(np.uint32).view(np.float32)


def scale_value(exponent: Array) -> Array:
    """e8m0 bytes as f64 scales: 2**(byte - 127), NaN for 255."""
    value = np.ldexp(1.0, np.asarray(exponent).astype(np.int32) - 127)
    return np.where(np.asarray(exponent) == NAN_EXPONENT, np.nan, value)
