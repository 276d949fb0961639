"""Builds the step of an ordinary vector operation: sources with their modifiers, the function, the masked write.

Handles op_sel on 16-bit types, SDWA selections, DPP lane movement, clamp and the output multiplier.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.assembly import Instruction
from tunefork.kernels.amdgcn.errors import UnknownInstruction
from tunefork.kernels.amdgcn.executor.isa import dpp, floating, integer
from tunefork.kernels.amdgcn.executor.isa.integer import VectorOperation
from tunefork.kernels.amdgcn.executor.machine.operands import Operand
from tunefork.kernels.amdgcn.executor.machine.sources import DTYPES, Source, flushed, vector_source, without_denormals
from tunefork.kernels.amdgcn.executor.machine.state import Batch

Array = npt.NDArray[Any]
Step = Callable[[Batch], None]
OPERATIONS = {**integer.OPERATIONS, **floating.OPERATIONS}
SELECTIONS = {  # SDWA selection -> (first bit, bits)
    "BYTE_0": (0, 8),
    "BYTE_1": (8, 8),
    "BYTE_2": (16, 8),
    "BYTE_3": (24, 8),
    "WORD_0": (0, 16),
    "WORD_1": (16, 16),
    "DWORD": (0, 32),
}
KNOWN_MODIFIERS = {"clamp", "mul", "div", "op_sel", "src0_sel", "src1_sel", "dst_sel", "dst_unused"} | dpp.MODIFIERS


def bit_list(instruction: Instruction, name: str, default: int, count: int) -> list[int]:
    """A modifier such as ``op_sel:[0,1,0]`` as ``count`` numbers."""
    if name not in instruction.modifiers:
        return [default] * count
    values = [int(value) for value in ast.literal_eval(instruction.modifiers[name])]
    return values + [default] * (count - len(values))


def selected(operand: Operand, kind: str, selection: str) -> Source:
    """An SDWA source: some bytes of a register, zero- or sign-extended, read as ``kind``."""
    if selection not in SELECTIONS:
        raise UnknownInstruction(f"unknown SDWA selection {selection}")
    first, bits = SELECTIONS[selection]
    if bits == 32:
        return vector_source(operand, kind)
    plain = Operand(operand.bank, operand.index, operand.count, operand.value)
    words, shift, mask = vector_source(plain, "u32"), np.uint32(first), np.uint32((1 << bits) - 1)
    sign = np.uint32(1 << (bits - 1))
    narrow = kind.endswith("16")

    def source(batch: Batch) -> Array:
        value = (words(batch) >> shift) & mask
        if operand.sign_extend:
            value = (value ^ sign) - sign
        found: Array = np.asarray(value.astype(np.uint16) if narrow else value).view(DTYPES[kind])
        found = np.abs(found) if operand.absolute else found
        return -found if operand.negate else found

    return source


def source_list(instruction: Instruction, operation: VectorOperation, operands: Sequence[Operand]) -> list[Source]:
    """Getters for the sources of an operation, in order."""
    kinds = operation.sources.split()
    given = list(operands[1:])
    if kinds[-1] == "dst":
        kinds[-1] = operation.result
        given = [*given[: len(kinds) - 1], operands[0]]
    if len(given) != len(kinds):
        raise UnknownInstruction(f"expected {len(kinds)} sources", instruction.where)
    if instruction.mnemonic.endswith("_sdwa"):
        names = ["src0_sel", "src1_sel"]
        chosen = [instruction.modifiers.get(name, "DWORD") for name in names] + ["DWORD"]
        sources = [selected(operand, kind, part) for operand, kind, part in zip(given, kinds, chosen, strict=False)]
    else:
        halves = bit_list(instruction, "op_sel", 0, 4)
        sources = [vector_source(operand, kind, half) for operand, kind, half in zip(given, kinds, halves, strict=False)]
    return [flushed(source, kind, instruction.flush) for source, kind in zip(sources, kinds, strict=False)]


def as_words(value: Any) -> Array:
    """A result of 32 bits or fewer as uint32 words, zero-extended."""
    array = np.asarray(value)
    if array.dtype.itemsize == 2:
        return array.view(np.uint16).astype(np.uint32)
    return array.view(np.uint32)


def finished(instruction: Instruction, operation: VectorOperation) -> Callable[..., Any]:
    """The operation's function with output multiplier and clamp applied."""
    function, modifiers = operation.function, instruction.modifiers
    floats = operation.result.startswith("f")
    if "mul" in modifiers or "div" in modifiers:
        factor = float(modifiers["mul"]) if "mul" in modifiers else 0.5
        plain = function
        function = lambda *a: plain(*a) * DTYPES[operation.result](factor)  # noqa: E731 - wrapped once, when the instruction is decoded
    if "clamp" not in modifiers:
        return function
    if operation.saturating is not None:
        return operation.saturating
    if not floats:
        raise UnknownInstruction("clamp has no meaning here yet", instruction.where)
    unclamped = function
    return lambda *a: np.clip(np.nan_to_num(unclamped(*a), nan=0.0), 0, 1)


def writer(instruction: Instruction, operation: VectorOperation, operand: Operand) -> Callable[[Batch, Any], None]:
    """How the result gets into the destination register."""
    bank, index = operand.bank, operand.index
    if operation.result.endswith("64"):
        return lambda batch, value: batch.write_pair(index, np.asarray(value).view(np.uint64))
    first, bits = SELECTIONS[instruction.modifiers.get("dst_sel", "DWORD")]
    keep = instruction.modifiers.get("dst_unused") == "UNUSED_PRESERVE"
    if operation.result.endswith("16") and bit_list(instruction, "op_sel", 0, 4)[len(operation.sources.split())]:
        first, bits, keep = 16, 16, True
    if bits == 32:
        return lambda batch, value: batch.write(bank, index, as_words(value))
    if instruction.modifiers.get("dst_unused") == "UNUSED_SEXT":
        raise UnknownInstruction("dst_unused:UNUSED_SEXT has no meaning here yet", instruction.where)
    shift, mask = np.uint32(first), np.uint32((1 << bits) - 1)

    def write(batch: Batch, value: Any) -> None:
        word = (as_words(value) & mask) << shift
        if keep:
            word = word | (batch.bank(bank)[index] & ~(mask << shift))
        batch.write(bank, index, word)

    return write


def build(instruction: Instruction, operation: VectorOperation, operands: Sequence[Operand]) -> Step:
    """The step of one vector operation."""
    unknown = set(instruction.modifiers) - KNOWN_MODIFIERS
    if unknown:
        raise UnknownInstruction(f"unknown modifier {', '.join(sorted(unknown))}", instruction.where)
    if instruction.flush and operation.result == "f32":
        exact = operation.function
        operation = replace(operation, function=lambda *values: without_denormals(exact(*values)))
    if instruction.mnemonic.endswith("_dpp"):
        return dpp.build(instruction, source_list(instruction, operation, operands), operation, operands[0])
    sources = source_list(instruction, operation, operands)
    function = finished(instruction, operation)
    write = writer(instruction, operation, operands[0])
    if len(sources) == 1:
        only = sources[0]
        return lambda batch: write(batch, function(only(batch)))
    if len(sources) == 2:
        first, second = sources
        return lambda batch: write(batch, function(first(batch), second(batch)))
    return lambda batch: write(batch, function(*[source(batch) for source in sources]))


def decode(instruction: Instruction, operands: Sequence[Operand]) -> Step | None:
    """The step of an ordinary vector operation, or None where this family does not know the mnemonic."""
    operation = OPERATIONS.get(instruction.base)
    return None if operation is None else build(instruction, operation, operands)
