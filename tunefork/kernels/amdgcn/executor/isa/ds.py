"""DS instructions: reads, writes, transposing reads, atomics, permutes and swizzles."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.assembly import Instruction
from tunefork.kernels.amdgcn.errors import UnknownInstruction
from tunefork.kernels.amdgcn.executor.machine.counters import LdsAccess, Outstanding
from tunefork.kernels.amdgcn.executor.machine.operands import Operand
from tunefork.kernels.amdgcn.executor.machine.registers import Part, gather, part_of, registers_of, scatter
from tunefork.kernels.amdgcn.executor.machine.state import LANE, LANES, Batch

Array = npt.NDArray[Any]
Step = Callable[[Batch], None]


def access(batch: Batch, address: Operand, offset: int, size: int, active: Array | None = None) -> LdsAccess:
    """Where the lanes of a DS instruction go: a vector register of byte addresses plus an offset."""
    place = batch.vector[address.index].astype(np.int64) + offset
    return LdsAccess(batch.group, batch.wave, place, batch.active if active is None else active, size)


def read(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """ds_read_*: 1 to 16 bytes for each lane."""
    part = part_of(found[1], instruction)
    target, address = operands[0], operands[1]
    offset, registers = int(instruction.modifiers.get("offset", "0"), 0), registers_of(target, part)

    def step(batch: Batch) -> None:
        place = access(batch, address, offset, part.size)
        scatter(batch, target, batch.machine.lds.read(place), part, place.active)
        batch.counters.issue_lgkm(Outstanding("lds_read", registers, place))

    return step


def read_two(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """ds_read2[st64]_b{32,64}: two reads from offsets counted in elements (times 64)."""
    size = int(found[2]) // 8
    offsets = pair_offsets(instruction, size, found[1])
    target, address, part = operands[0], operands[1], Part(size)
    second = Operand(target.bank, target.index + size // 4, size // 4)

    def step(batch: Batch) -> None:
        places = [access(batch, address, offset, size) for offset in offsets]
        values = [batch.machine.lds.read(place) for place in places]
        for place, value, where in zip(places, values, (target, second), strict=True):
            scatter(batch, where, value, part, place.active)
        batch.counters.issue_lgkm(Outstanding("lds_read", target.keys, places[0]))

    return step


def pair_offsets(instruction: Instruction, size: int, stride: str | None) -> list[int]:
    unit = size * (64 if stride else 1)
    return [int(instruction.modifiers.get(name, "0"), 0) * unit for name in ("offset0", "offset1")]


def write(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """ds_write_*: 1 to 16 bytes for each lane."""
    part = part_of(found[1], instruction)
    address, source = operands[0], operands[1]
    offset = int(instruction.modifiers.get("offset", "0"), 0)

    def step(batch: Batch) -> None:
        place = access(batch, address, offset, part.size)
        batch.machine.lds.write(place, gather(batch, source, part, place.active))
        batch.counters.issue_lgkm(Outstanding("lds_write", access=place))

    return step


def write_two(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """ds_write2[st64]_b{32,64}: two writes to offsets counted in elements (times 64)."""
    size = int(found[2]) // 8
    offsets, part = pair_offsets(instruction, size, found[1]), Part(size)

    def step(batch: Batch) -> None:
        for offset, source in zip(offsets, operands[1:3], strict=True):
            place = access(batch, operands[0], offset, size)
            batch.machine.lds.write(place, gather(batch, source, part, place.active))
            batch.counters.issue_lgkm(Outstanding("lds_write", access=place))
        # Two places, one instruction, one count.
        last, first = batch.counters.lgkm.pop(), batch.counters.lgkm.pop()
        batch.counters.lgkm.append(Outstanding("lds_write", access=both(first.access, last.access)))

    return step


def both(first: LdsAccess | None, second: LdsAccess | None) -> LdsAccess:
    """Two accesses of the same waves as one, by putting the lanes side by side."""
    assert first is not None and second is not None
    return LdsAccess(
        first.group,
        first.wave,
        np.concatenate((first.address, second.address), axis=1),
        np.concatenate((first.active, second.active), axis=1),
        first.size,
    )


def transposed(words: Array, bits: int) -> Array:
    """ds_read_b64_tr: each group of 16 lanes holds a 16-row block of elements; give every lane a column of it.

    words: (waves, 64, 8) uint8 as read.  Returns the same shape: lane l gets element l % 16 of rows of its group, in row order.
    """
    waves = len(words)
    if bits == 4:
        elements = np.stack((words & 15, words >> 4), axis=-1).reshape(waves, LANES, 16)
    else:
        elements = words.view(np.uint16) if bits == 16 else words
    count = elements.shape[2]
    turned = elements.reshape(waves, 4, count, 16).transpose(0, 1, 3, 2).reshape(waves, LANES, count)
    if bits == 4:
        return np.asarray(turned[..., 0::2] | (turned[..., 1::2] << 4))
    return np.ascontiguousarray(turned).view(np.uint8)


def read_transposed(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """ds_read_b64_tr_b{4,8,16}: 8 bytes for each lane, transposed within groups of 16 lanes; all lanes take part."""
    bits, offset = int(found[1]), int(instruction.modifiers.get("offset", "0"), 0)
    target, address, part = operands[0], operands[1], Part(8)
    if bits not in (4, 8, 16):
        raise UnknownInstruction("unknown transposing read", instruction.where)

    def step(batch: Batch) -> None:
        everyone = np.ones((batch.waves, LANES), np.bool_)
        place = access(batch, address, offset, 8, everyone)
        raw = batch.machine.lds.read(place).reshape(batch.waves, LANES, 8)
        scatter(batch, target, transposed(raw, bits)[batch.active], part, batch.active)
        batch.counters.issue_lgkm(Outstanding("lds_read", target.keys, place))

    return step


def permute(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """ds_bpermute_b32 (pull from a lane) and ds_permute_b32 (push to a lane); the address is the lane number times 4."""
    target, address, source = operands[0], operands[1], operands[2]
    offset, pulls = int(instruction.modifiers.get("offset", "0"), 0), found[1] == "b"

    def step(batch: Batch) -> None:
        lane = ((batch.vector[address.index] + np.uint32(offset)) >> np.uint32(2) & np.uint32(63)).astype(np.intp)
        value, rows = batch.vector[source.index], np.arange(batch.waves)[:, None]
        if pulls:
            result = np.where(batch.active[rows, lane], value[rows, lane], np.uint32(0))
        else:
            result = np.zeros_like(value)
            wave, sender = np.nonzero(batch.active)
            result[wave, lane[wave, sender]] = value[wave, sender]
        batch.write("v", target.index, result)
        batch.counters.issue_lgkm(Outstanding("lds_read", target.keys))

    return step


def quad(order: Sequence[int]) -> Array:
    """Source lanes for a permutation inside each group of four."""
    lanes: Array = (LANE & ~3) + np.array(order)[LANE & 3]
    return lanes


def masked(kept: int, ones: int, inverted: int) -> Array:
    """Source lanes for ((lane & kept) | ones) ^ inverted inside each half of the wave."""
    lanes: Array = (LANE & 32) | ((((LANE & 31) & kept) | ones) ^ inverted)
    return lanes


def bit_pattern(pattern: str) -> Array:
    """BITMASK_PERM: one character per lane-number bit, highest first: 0, 1, p(reserved), i(nverted)."""
    bits = {wanted: sum(1 << (4 - at) for at, found in enumerate(pattern) if found == wanted) for wanted in "01pi"}
    return masked(bits["p"] | bits["i"], bits["1"], bits["i"])


NAMED_SWIZZLES: dict[str, Callable[[str], Array]] = {
    "SWAP": lambda value: LANE ^ int(value),
    "REVERSE": lambda value: LANE ^ (int(value) - 1),
    "QUAD_PERM": lambda value: quad([int(part) for part in value.split(",")]),
    "BROADCAST": lambda value: (LANE & ~(int(value.split(",")[0]) - 1)) + int(value.split(",")[1]),
    "BITMASK_PERM": lambda value: bit_pattern(value.strip().strip('"')),
}


def swizzle_lanes(text: str, instruction: Instruction) -> Array:
    """Source lane of each lane for a ds_swizzle_b32 offset, as printed: a name with numbers, or the bare offset."""
    named = re.match(r"swizzle\((\w+),(.*)\)$", text)
    if named:
        if named[1] not in NAMED_SWIZZLES:
            raise UnknownInstruction(f"unknown swizzle {named[1]}", instruction.where)
        return NAMED_SWIZZLES[named[1]](named[2])
    value = int(text, 0)
    if value & 0x8000:
        return quad([(value >> 2 * at) & 3 for at in range(4)])
    return masked(value & 31, (value >> 5) & 31, (value >> 10) & 31)


def swizzle(instruction: Instruction, operands: Sequence[Operand], found: re.Match[str]) -> Step:
    """ds_swizzle_b32: each lane reads the lane that the offset's pattern names; inactive sources give zero."""
    target, source = operands[0], operands[1].index
    lanes = swizzle_lanes(instruction.modifiers.get("offset", "0"), instruction)

    def step(batch: Batch) -> None:
        value = np.where(batch.active[:, lanes], batch.vector[source][:, lanes], np.uint32(0))
        batch.write("v", target.index, value)
        batch.counters.issue_lgkm(Outstanding("lds_read", target.keys))

    return step


FAMILY = (
    (r"ds_read_b64_tr_b(\d+)$", read_transposed),
    (r"ds_read2(st64)?_b(32|64)$", read_two),
    (r"ds_write2(st64)?_b(32|64)$", write_two),
    (r"ds_read_(\w+)$", read),
    (r"ds_write_(\w+)$", write),
    (r"ds_(b?)permute_b32$", permute),
    (r"ds_swizzle_b32$", swizzle),
)


def decode(instruction: Instruction, operands: Sequence[Operand]) -> Step | None:
    """The step of a DS instruction, or None where this family does not know the mnemonic."""
    for pattern, factory in FAMILY:
        if found := re.match(pattern, instruction.base):
            return factory(instruction, operands, found)
    return None
