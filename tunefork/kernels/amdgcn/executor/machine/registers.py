"""Moving memory bytes into and out of vector registers: widths, extensions, and the halves that d16 forms touch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.assembly import Instruction
from tunefork.kernels.amdgcn.errors import UnknownInstruction
from tunefork.kernels.amdgcn.executor.machine.operands import Operand
from tunefork.kernels.amdgcn.executor.machine.state import Batch

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Part:
    """What part of a register (or how many registers) a memory instruction moves.

    size: bytes.  signed: sign-extend narrow loads.  half: "all", or the 16-bit half that a d16 form keeps to.
    """

    size: int
    signed: bool = False
    half: Literal["all", "low", "high"] = "all"

    @property
    def registers(self) -> int:
        return max(self.size // 4, 1)


PARTS = {
    "ubyte": Part(1),
    "sbyte": Part(1, signed=True),
    "ushort": Part(2),
    "sshort": Part(2, signed=True),
    "byte": Part(1),
    "short": Part(2),
    "short_d16": Part(2, half="low"),
    "short_d16_hi": Part(2, half="high"),
    "byte_d16_hi": Part(1, half="high"),
    "ubyte_d16": Part(1, half="low"),
    "ubyte_d16_hi": Part(1, half="high"),
    "sbyte_d16": Part(1, signed=True, half="low"),
    "sbyte_d16_hi": Part(1, signed=True, half="high"),
    "dword": Part(4),
    "dwordx2": Part(8),
    "dwordx3": Part(12),
    "dwordx4": Part(16),
    "u8": Part(1),
    "i8": Part(1, signed=True),
    "u16": Part(2),
    "i16": Part(2, signed=True),
    "u8_d16": Part(1, half="low"),
    "u8_d16_hi": Part(1, half="high"),
    "i8_d16": Part(1, signed=True, half="low"),
    "i8_d16_hi": Part(1, signed=True, half="high"),
    "u16_d16": Part(2, half="low"),
    "u16_d16_hi": Part(2, half="high"),
    "b8": Part(1),
    "b16": Part(2),
    "b8_d16_hi": Part(1, half="high"),
    "b16_d16_hi": Part(2, half="high"),
    "b32": Part(4),
    "b64": Part(8),
    "b96": Part(12),
    "b128": Part(16),
}


def part_of(name: str, instruction: Instruction) -> Part:
    if name not in PARTS:
        raise UnknownInstruction(f"unknown memory width {name}", instruction.where)
    return PARTS[name]


def registers_of(target: Operand, part: Part) -> frozenset[int]:
    """Keys of the registers that a load fills."""
    return Operand(target.bank, target.index, part.registers).keys


def scatter(batch: Batch, target: Operand, data: Array, part: Part, active: Array) -> None:
    """Write loaded bytes, (n, size) uint8 over the active lanes, to the target registers."""
    bank = batch.bank(target.bank)
    if part.size >= 4:
        words = np.ascontiguousarray(data).view(np.uint32)
        if words.shape[0] == active.size:
            shape = (*active.shape, part.registers)
            bank[target.index : target.index + part.registers] = words.reshape(shape).transpose(2, 0, 1)
        else:
            lanes = np.flatnonzero(active)
            for place in range(part.registers):
                bank[target.index + place].reshape(-1)[lanes] = words[:, place]
        return
    narrow: Any = {1: (np.uint8, np.int8), 2: (np.uint16, np.int16)}[part.size][part.signed]
    value = np.ascontiguousarray(data).view(narrow)[:, 0].astype(np.int32).view(np.uint32)
    row, lanes = bank[target.index].reshape(-1), np.flatnonzero(active)
    if part.half == "low":
        value = (row[lanes] & np.uint32(0xFFFF0000)) | (value & np.uint32(0xFFFF))
    elif part.half == "high":
        value = (row[lanes] & np.uint32(0xFFFF)) | (value << np.uint32(16))
    row[lanes] = value


def gather(batch: Batch, source: Operand, part: Part, active: Array) -> Array:
    """Bytes to store, (n, size) uint8 over the active lanes, from the source registers."""
    words = batch.bank(source.bank)[source.index : source.index + part.registers]
    every = words.reshape(part.registers, -1)
    chosen = every.T if active.all() else every[:, np.flatnonzero(active)].T
    if part.half == "high":
        chosen = chosen >> np.uint32(16)
    return np.ascontiguousarray(chosen).view(np.uint8)[:, : part.size]


