"""Loads and stores of global memory: GLOBAL, FLAT on global addresses, MUBUF, their direct-to-LDS forms, and scalar loads."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.assembly import Instruction
from tunefork.kernels.amdgcn.errors import UnknownInstruction
from tunefork.kernels.amdgcn.executor.machine.counters import LdsAccess, Outstanding
from tunefork.kernels.amdgcn.executor.machine.operands import M0, Operand
from tunefork.kernels.amdgcn.executor.machine.registers import gather, part_of, registers_of, scatter
from tunefork.kernels.amdgcn.executor.machine.sources import scalar_source
from tunefork.kernels.amdgcn.executor.machine.state import LANE, LANES, Batch, Mask

Array = npt.NDArray[Any]
Step = Callable[[Batch], None]
BASE_MASK = np.uint64((1 << 48) - 1)
SWIZZLE_ENABLE = np.uint32(1 << 31)


@dataclass(frozen=True)
class Addresses:
    """Where the lanes go: (waves, 64) uint64 addresses, and which lanes are inside the buffer's range."""

    address: Array
    inside: Mask | None = None


Locate = Callable[[Batch, int], Addresses]


def offset_of(instruction: Instruction) -> int:
    return int(instruction.modifiers.get("offset", "0"), 0)


def global_addresses(instruction: Instruction, operands: Sequence[Operand]) -> Locate:
    """Address operands (vector address, "off" or scalar base): 64-bit vector address, or scalar base plus 32-bit offset."""
    offset, vector, base = np.uint64(offset_of(instruction) & (2**64 - 1)), operands[0], operands[1]
    if base.bank == "s":
        pair = base.index // 2

        def from_scalar(batch: Batch, size: int) -> Addresses:
            start = batch.pairs[:, pair, None] + offset
            return Addresses(batch.vector[vector.index].astype(np.uint64) + start)

        return from_scalar
    return lambda batch, size: Addresses(batch.pair("v", vector.index) + offset)


def buffer_addresses(instruction: Instruction, operands: Sequence[Operand]) -> Locate:
    """Address operands (vector offset or "off", resource, scalar offset) of a raw buffer: range-checked against num_records.

    A load outside the range gives zero, a store is dropped.
    """
    vector, resource, extra = operands[0], operands[1].index, scalar_source(operands[2], "u32")
    if "idxen" in instruction.modifiers:
        raise UnknownInstruction("structured buffers (idxen) have no meaning here yet", instruction.where)
    immediate, has_offset = offset_of(instruction), "offen" in instruction.modifiers

    def locate(batch: Batch, size: int) -> Addresses:
        words = batch.scalar
        if (words[:, resource + 1] & SWIZZLE_ENABLE).any():
            raise UnknownInstruction("swizzled buffers have no meaning here yet", instruction.where)
        low = words[:, resource].astype(np.uint64)
        base = (low | (words[:, resource + 1].astype(np.uint64) << np.uint64(32))) & BASE_MASK
        start = np.broadcast_to(extra(batch), batch.waves).astype(np.int64)[:, None] + immediate
        last = words[:, resource + 2].astype(np.int64)[:, None] - size
        offset = batch.vector[vector.index] + start if has_offset else np.broadcast_to(start, (batch.waves, LANES))
        inside = offset <= last
        address = offset.astype(np.uint64) + base[:, None]
        return Addresses(address, None if inside.all() else inside)

    return locate


def flat(instruction: Instruction) -> bool:
    return instruction.base.startswith("flat_")


def count(batch: Batch, instruction: Instruction, operation: Outstanding) -> None:
    """Note an operation as outstanding; FLAT is on both counters, since its address decides which memory answers."""
    batch.issue_vector(operation)
    if flat(instruction):
        batch.counters.issue_lgkm(Outstanding("scalar", operation.registers))


def locator(instruction: Instruction, operands: Sequence[Operand]) -> Locate:
    """Where a memory instruction goes. FLAT addresses are global here: one that means LDS or scratch is in no buffer and is refused."""
    if flat(instruction):
        return global_addresses(instruction, [operands[0], Operand("off")])
    make = buffer_addresses if instruction.base.startswith("buffer") else global_addresses
    return make(instruction, operands)


def fetch(batch: Batch, where: Addresses, size: int) -> Array:
    """Bytes for the active lanes, (n, size); lanes outside a buffer's range read zero."""
    memory, address = batch.machine.memory, where.address.reshape(-1)
    if not batch.full:
        address = address[batch.lanes]
    if where.inside is None:
        return memory.load(address, size)
    live = np.flatnonzero(where.inside if batch.full else where.inside.reshape(-1)[batch.lanes])
    data = np.zeros((len(address), size), np.uint8)
    data[live] = memory.load(address[live], size)
    return data


def load(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """global_load_* and buffer_load_* into registers."""
    part, target = part_of(found[1], instruction), operands[0]
    locate, registers = locator(instruction, operands[1:]), registers_of(target, part)

    def step(batch: Batch) -> None:
        scatter(batch, target, fetch(batch, locate(batch, part.size), part.size), part, batch.active)
        count(batch, instruction, Outstanding("load", registers))

    return step


def store(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """global_store_* and buffer_store_*."""
    part = part_of(found[1], instruction)
    buffer = instruction.base.startswith("buffer")
    source = operands[0] if buffer else operands[1]
    locate = locator(instruction, operands[1:] if buffer else [operands[0], *operands[2:]])

    def step(batch: Batch) -> None:
        where = locate(batch, part.size)
        active = batch.active if where.inside is None else batch.active & where.inside
        if active.any():
            batch.machine.memory.store(where.address[active], gather(batch, source, part, active))
        count(batch, instruction, Outstanding("store"))

    return step


def load_to_lds(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """Direct-to-LDS loads: lane l's bytes go to LDS at m0 + offset + l x size, and are there only after s_waitcnt vmcnt."""
    part, offset = part_of(found[1], instruction), offset_of(instruction)
    locate = locator(instruction, operands)

    def step(batch: Batch) -> None:
        data = np.zeros((batch.waves, LANES, part.size), np.uint8)
        data[batch.active] = fetch(batch, locate(batch, part.size), part.size)
        start = batch.scalar[:, M0, None].astype(np.int64) + offset
        place = start + LANE * part.size
        access = LdsAccess(batch.group, batch.wave, place, batch.active, part.size, data)
        batch.machine.lds.take_off(access)
        batch.issue_vector(Outstanding("lds_dma", access=access))

    return step


def load_scalar(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """s_load_dword*: words from a 64-bit base plus a scalar and a constant offset."""
    count, target, pair = int(found[1] or 1), operands[0], operands[1].index // 2
    extra, constant = scalar_source(operands[2], "u32"), np.uint64(offset_of(instruction))

    def step(batch: Batch) -> None:
        address = batch.pairs[:, pair] + np.broadcast_to(extra(batch), batch.waves).astype(np.uint64) + constant
        data = batch.machine.memory.load(address & ~np.uint64(3), 4 * count)
        batch.scalar[:, target.index : target.index + count] = data.view(np.uint32).reshape(batch.waves, count)
        batch.counters.issue_lgkm(Outstanding("scalar", target.keys))

    return step


FAMILY = (
    (r"global_load_lds_(\w+)$", load_to_lds),
    (r"(?:global|buffer|flat)_load_(\w+)$", load),
    (r"(?:global|buffer|flat)_store_(\w+)$", store),
    (r"s_load_dword(?:x(\d+))?$", load_scalar),
)


def decode(instruction: Instruction, operands: Sequence[Operand]) -> Step | None:
    """The step of a load or store, or None where this family does not know the mnemonic."""
    if instruction.base.startswith("buffer_load") and "lds" in instruction.modifiers:
        found = re.match(r"buffer_load_(\w+)$", instruction.base)
        assert found is not None
        return load_to_lds(instruction, operands, found)
    for pattern, factory in FAMILY:
        if found := re.match(pattern, instruction.base):
            return factory(instruction, operands, found)
    return None
