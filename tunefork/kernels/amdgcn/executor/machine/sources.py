"""Getters for source operands: an operand and a type become a function from a batch to an array.

Vector sources give (waves, 64), scalar registers (waves, 1), constants a numpy scalar: all broadcast together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.errors import UnknownInstruction
from tunefork.kernels.amdgcn.executor.machine.operands import Operand
from tunefork.kernels.amdgcn.executor.machine.state import Batch

Array = npt.NDArray[Any]
Source = Callable[[Batch], Array]

DTYPES: dict[str, type[np.generic]] = {
    "u16": np.uint16,
    "i16": np.int16,
    "f16": np.float16,
    "u32": np.uint32,
    "i32": np.int32,
    "f32": np.float32,
    "u64": np.uint64,
    "i64": np.int64,
    "f64": np.float64,
}
INLINE_INTEGERS = range(-16, 65)


def constant(operand: Operand, kind: str) -> Any:
    """A constant as the numpy scalar that an operation of this type reads.

    A float constant has the operation's width; as an integer source it is the f32 pattern. A 32-bit literal of a 64-bit
    operation is zero-extended (u64), sign-extended (i64), or the high half (f64); inline integers are sign-extended.
    """
    dtype = DTYPES[kind]
    value = operand.value
    if operand.bank == "f":
        width = {"16": np.float16, "32": np.float32, "64": np.float64}[kind[1:]]
        return np.array(value, width).view(dtype)[()]
    bits = int(value)
    if kind.endswith("16"):
        return np.array(bits & 0xFFFF, np.uint16).view(dtype)[()]
    if kind.endswith("32"):
        return np.array(bits & 0xFFFFFFFF, np.uint32).view(dtype)[()]
    if bits not in INLINE_INTEGERS:
        bits &= 0xFFFFFFFF
        if kind == "f64":
            bits <<= 32
        elif kind == "i64" and bits >> 31:
            bits -= 1 << 32
    return np.array(bits & 0xFFFFFFFFFFFFFFFF, np.uint64).view(dtype)[()]


def without_denormals(value: Any) -> Array:
    """f32 values with zeros of the same sign in the place of denormals."""
    bits = np.ascontiguousarray(value, np.float32).view(np.uint32).reshape(np.shape(value))
    return np.where(bits & np.uint32(0x7F800000) == 0, bits & np.uint32(0x80000000), bits).view(np.float32)


def flushed(getter: Source, kind: str, flush: bool) -> Source:
    """A source as a kernel sees it whose mode flushes f32 denormals."""
    return (lambda batch: without_denormals(getter(batch))) if flush and kind == "f32" else getter


def vector_source(operand: Operand, kind: str, half: int = 0) -> Source:
    """A source of a vector operation; ``half`` picks the high 16 bits for 16-bit types."""
    getter = plain_source(operand, kind, half)
    if (operand.absolute or operand.negate) and not kind.startswith("f"):
        raise UnknownInstruction("a sign modifier of an integer source has no meaning here")
    if operand.absolute:
        unsigned = getter
        getter = lambda batch: np.abs(unsigned(batch))  # noqa: E731 - wrapped once, when the instruction is decoded
    if operand.negate:
        positive = getter
        return lambda batch: -positive(batch)
    return getter


def plain_source(operand: Operand, kind: str, half: int) -> Source:
    """A source without its sign modifiers."""
    dtype = DTYPES[kind]
    if operand.is_constant:
        value = constant(operand, kind)
        return lambda batch: value
    if operand.bank == "off":
        raise UnknownInstruction("`off` is not a source of this instruction")
    if operand.bank == "scc":
        return lambda batch: batch.scc[:, None].astype(np.uint32).view(dtype)
    if kind.endswith("16"):
        shift, words = np.uint32(16 * half), plain_source(operand, "u32", 0)
        return lambda batch: (words(batch) >> shift).astype(np.uint16).view(dtype)
    return register_source(operand, kind)


def register_source(operand: Operand, kind: str) -> Source:
    """A register, or a pair of them, as (waves, 64) or (waves, 1)."""
    bank, index, dtype = operand.bank, operand.index, DTYPES[kind]
    if kind.endswith("64"):
        if bank == "s":
            return lambda batch: batch.pairs[:, index // 2, None].view(dtype)
        return lambda batch: batch.pair(bank, index).view(dtype)
    if bank == "s":
        return lambda batch: batch.scalar[:, index, None].view(dtype)
    if bank == "v":
        return lambda batch: batch.vector[index].view(dtype)
    return lambda batch: batch.accumulator[index].view(dtype)


def scalar_source(operand: Operand, kind: str) -> Source:
    """A source of a scalar operation: (waves,) or a numpy scalar."""
    index, dtype = operand.index, DTYPES[kind]
    if operand.is_constant:
        value = constant(operand, kind)
        return lambda batch: value
    if operand.bank == "scc":
        return lambda batch: batch.scc.astype(dtype)
    if operand.bank != "s":
        raise UnknownInstruction(f"a scalar operation cannot read bank {operand.bank!r}")
    if kind.endswith("64"):
        return lambda batch: batch.pairs[:, index // 2].view(dtype)
    return lambda batch: batch.scalar[:, index].view(dtype)
