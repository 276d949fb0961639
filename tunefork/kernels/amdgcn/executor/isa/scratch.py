"""scratch_load_* and scratch_store_*: private memory at a vector, a scalar and a constant offset (architected flat scratch)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.assembly import Instruction
from tunefork.kernels.amdgcn.errors import UnknownInstruction
from tunefork.kernels.amdgcn.executor.isa.vmem import offset_of
from tunefork.kernels.amdgcn.executor.machine.counters import Outstanding
from tunefork.kernels.amdgcn.executor.machine.operands import Operand
from tunefork.kernels.amdgcn.executor.machine.registers import gather, part_of, registers_of, scatter
from tunefork.kernels.amdgcn.executor.machine.scratch import Scratch
from tunefork.kernels.amdgcn.executor.machine.state import LANES, Batch

Array = npt.NDArray[Any]
Step = Callable[[Batch], None]


def addresses(batch: Batch, vector: Operand, scalar: Operand, offset: int) -> Array:
    """(waves, 64) byte offsets into a lane's private memory."""
    place = np.full((batch.waves, LANES), offset, np.int64)
    if vector.bank == "v":
        place += batch.vector[vector.index]
    if scalar.bank == "s":
        place += batch.scalar[:, scalar.index, None]
    return place


def memory(batch: Batch, instruction: Instruction) -> tuple[Scratch, Array]:
    """The private memory, and which of its slots each wave has."""
    scratch = batch.machine.scratch
    if scratch is None:
        raise UnknownInstruction("the kernel's descriptor gives it no scratch memory", instruction.where)
    return scratch, batch.group * batch.machine.waves + batch.wave


def load(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    part, (target, vector, scalar) = part_of(found[1], instruction), operands
    offset, registers = offset_of(instruction), registers_of(operands[0], part)

    def step(batch: Batch) -> None:
        scratch, slot = memory(batch, instruction)
        data = scratch.load(slot, addresses(batch, vector, scalar, offset), batch.active, part.size)
        scatter(batch, target, data, part, batch.active)
        batch.issue_vector(Outstanding("load", registers))

    return step


def store(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    part, (vector, source, scalar), offset = part_of(found[1], instruction), operands, offset_of(instruction)

    def step(batch: Batch) -> None:
        scratch, slot = memory(batch, instruction)
        data = gather(batch, source, part, batch.active)
        scratch.store(slot, addresses(batch, vector, scalar, offset), batch.active, data)
        batch.issue_vector(Outstanding("store"))

    return step


FAMILY = ((r"scratch_load_(\w+)$", load), (r"scratch_store_(\w+)$", store))


def decode(instruction: Instruction, operands: Sequence[Operand]) -> Step | None:
    """The step of a scratch instruction, or None where this family does not know the mnemonic."""
    for pattern, factory in FAMILY:
        if found := re.match(pattern, instruction.base):
            return factory(instruction, operands, found)
    return None
