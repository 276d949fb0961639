"""Launches a kernel: kernel arguments, initial registers, residency, random order; returns what was executed and moved."""

from __future__ import annotations

import math
import random
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.assembly import Program
from tunefork.kernels.amdgcn.errors import ExecutionError
from tunefork.kernels.amdgcn.executor.arguments import pack_arguments, without_value
from tunefork.kernels.amdgcn.executor.decode import Decoded, decode_program
from tunefork.kernels.amdgcn.executor.machine.audit import MatrixAudit
from tunefork.kernels.amdgcn.executor.machine.global_memory import Buffer, GlobalMemory, NoValue, check_values
from tunefork.kernels.amdgcn.executor.machine.local_memory import LocalMemory
from tunefork.kernels.amdgcn.executor.machine.operands import EXEC
from tunefork.kernels.amdgcn.executor.machine.scratch import Scratch
from tunefork.kernels.amdgcn.executor.machine.state import LANE, LANES, POISON, Batch, Machine
from tunefork.kernels.amdgcn.executor.scheduler import Scheduler
from tunefork.kernels.arch import GFX950

Array = npt.NDArray[Any]
KERNARG_ADDRESS = 0x7E00_0000_0000
MODES: dict[str, tuple[int, ...]] = {
    "float_denorm_mode_32": (3, 0),
    "float_denorm_mode_16_64": (3,),
    "float_round_mode_32": (0,),
    "float_round_mode_16_64": (0,),
    "dx10_clamp": (1,),
    "ieee_mode": (1,),
    "fp16_overflow": (0,),
    "tg_split": (0,),
}
NARROW_LDS = ("_b8", "_u8", "_i8", "_b16", "_u16", "_i16", "_u8_d16", "_tr_")


@dataclass(frozen=True)
class Range:
    """Memory that the kernel may touch: real bytes at the address that its pointers carry.

    data: (bytes,) uint8 sharing the tensor's memory.
    """

    address: int
    data: npt.NDArray[np.uint8]
    name: str
    writable: bool = True


@dataclass(frozen=True)
class Launch:
    """What one launch did.

    wave_instructions: executed, by mnemonic.  buffers: with their counts of loaded and stored bytes.
    audit: matrix instructions executed, and those that repeat another wave's.
    """

    wave_instructions: Counter[str]
    buffers: tuple[Buffer, ...]
    audit: MatrixAudit

    @property
    def instructions(self) -> int:
        return self.wave_instructions.total()


@dataclass(frozen=True)
class Executable:
    """A program decoded once, to be launched any number of times."""

    program: Program
    decoded: list[Decoded]
    leaders: frozenset[int]

    @classmethod
    def load(cls, program: Program) -> Executable:
        """Decode a program. Errors: UnknownInstruction; ExecutionError for a mode that the executor does not have."""
        for name, (wanted, *others) in MODES.items():
            found = program.directives.get(name, wanted)
            if found not in (wanted, *others):
                known = " and ".join(map(str, (wanted, *others)))
                raise ExecutionError(f"{program.name} sets {name} to {found}; the executor has only {known}")
        if program.directives.get("uses_dynamic_stack", 0):
            raise ExecutionError(f"{program.name} uses a dynamic stack, which the executor does not have")
        decoded = decode_program(program)
        return cls(program, decoded, frozenset(item.target for item in decoded if item.role == "branch"))

    @property
    def lds_cell(self) -> int:
        """Bytes per cell of the LDS race detector: the narrowest access in the code."""
        names = [item.mnemonic for item in self.program.instructions if item.mnemonic.startswith("ds_")]
        return 1 if any(part in name for name in names for part in NARROW_LDS) else 4


def user_registers(program: Program, segment: bytes, forbidden: Sequence[NoValue] = ()) -> list[int]:
    """The scalar registers that the hardware fills before the first instruction, without the work-group numbers.

    Errors: ExecutionError where one of them would hold an argument without a value (``forbidden``), or is not known.
    """
    directives = program.directives
    if directives.get("user_sgpr_dispatch_id", 0):
        raise ExecutionError(f"{program.name} reads its dispatch id, which has no value here")
    words: list[int] = []
    for name, count in (("dispatch_ptr", 2), ("queue_ptr", 2), ("kernarg_segment_ptr", 2), ("dispatch_id", 2)):
        if directives.get(f"user_sgpr_{name}", 0):
            value = KERNARG_ADDRESS if name == "kernarg_segment_ptr" else 0
            words += [value & 0xFFFFFFFF, value >> 32][:count]
    words += [0] * directives.get("user_sgpr_private_segment_size", 0)
    length = directives.get("user_sgpr_kernarg_preload_length", 0)
    start = 4 * directives.get("user_sgpr_kernarg_preload_offset", 0)
    check_values(forbidden, start, start + 4 * length)
    preloaded = segment[start : start + 4 * length].ljust(4 * length, b"\0")
    words += struct.unpack(f"<{length}I", preloaded)
    return words + [POISON] * (directives.get("user_sgpr_count", 0) - len(words))


@dataclass(frozen=True)
class Plan:
    """How a grid becomes residencies of work-groups.

    grid: work-groups in x, y, z.  waves: per work-group.  lds: bytes per work-group.  resident_waves: how many run together.
    block: work-items of a work-group in x, y, z; not given, all of its waves' lanes in x.
    seed: of the order of work-groups and waves.  lockstep: off, every wave runs alone, in random order between barriers.
    most_steps: instructions of a residency after which it counts as endless.
    """

    grid: tuple[int, int, int]
    waves: int
    lds: int
    resident_waves: int = 64
    seed: int = 0
    lockstep: bool = True
    most_steps: int = 5_000_000
    block: tuple[int, int, int] | None = None

    @property
    def items(self) -> tuple[int, int, int]:
        """Work-items of a work-group in x, y, z."""
        return self.block or (self.waves * LANES, 1, 1)

    def residencies(self) -> list[Array]:
        """Work-group numbers, (groups, 3) for each residency, in random order."""
        axes = [np.arange(extent) for extent in self.grid]
        numbers = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
        order = np.random.default_rng(self.seed).permutation(len(numbers))
        together = max(self.resident_waves // self.waves, 1)
        return [numbers[order[at : at + together]] for at in range(0, len(order), together)]


def work_items(plan: Plan, axes: int, wave: Array) -> tuple[Array, Array]:
    """v0 at the entry, (waves, 64): the work-item's x, with y from bit 10 and z from bit 20 where the kernel asks for them.

    axes: 0 x alone, 1 with y, 2 with z.  Also which lanes have a work-item at all: the last wave may be part full.
    """
    number = wave[:, None] * LANES + LANE
    x, y, _ = plan.items
    word = number % x
    if axes >= 1:
        word = word | (number // x % y) << 10
    if axes >= 2:
        word = word | (number // (x * y)) << 20
    return word.astype(np.uint32), number < math.prod(plan.items)


def create_batch(executable: Executable, machine: Machine, plan: Plan, groups: Array, words: list[int]) -> Batch:
    """The waves of some work-groups at the kernel's entry, in random order."""
    directives = executable.program.directives
    vectors = directives.get("next_free_vgpr", 256)
    split = min(directives.get("accum_offset", vectors), vectors)
    order = np.random.default_rng(plan.seed + 1).permutation(len(groups) * plan.waves)
    group, wave = order // plan.waves, order % plan.waves
    batch = Batch.create(machine, group, wave, vectors=split, accumulators=vectors - split)
    batch.scalar[:, : len(words)] = np.array(words, np.uint32)
    register = len(words)
    for axis, name in enumerate("xyz"):
        if directives.get(f"system_sgpr_workgroup_id_{name}", 0):
            batch.scalar[:, register] = groups[group, axis]
            register += 1
    batch.vector[0], present = work_items(plan, directives.get("system_vgpr_workitem_id", 0), wave)
    if not present.all():
        batch.write_lane_bits(EXEC, present)
    batch.pc = executable.program.entry
    return batch


def launch(
    executable: Executable, plan: Plan, arguments: Sequence[bytes], ranges: Sequence[Range], *, track_touched: bool = False
) -> Launch:
    """Run a kernel on real memory.

    arguments: each kernel argument's bytes, pointers as 8-byte addresses.  ranges: what those pointers may reach.
    track_touched: also record which distinct bytes are loaded.
    Errors: ExecutionError and its kinds, naming the instruction and the source line.
    """
    program = executable.program
    if plan.lds > GFX950.lds:
        raise ExecutionError(f"{program.name} asks for {plan.lds} bytes of LDS, {GFX950.name} has {GFX950.lds}")
    segment, forbidden = pack_arguments(program, arguments, plan), without_value(program, plan)
    memory = GlobalMemory(track_touched=track_touched)
    memory.register(KERNARG_ADDRESS, np.frombuffer(segment, np.uint8), "kernel arguments", writable=False).no_values = forbidden
    for item in sorted(ranges, key=lambda item: -item.data.size):
        memory.register(item.address, item.data, item.name, writable=item.writable)
    words, executed, audit = user_registers(program, segment, forbidden), np.zeros(len(program.instructions), np.int64), MatrixAudit()
    private = program.metadata.get("private_segment_fixed_size", 0)
    with np.errstate(all="ignore"):
        for number, groups in enumerate(plan.residencies()):
            lds = LocalMemory(len(groups), plan.lds, cell=executable.lds_cell, waves=plan.waves)
            scratch = Scratch(len(groups) * plan.waves, LANES, private) if private else None
            machine = Machine(memory, lds, audit, scratch, plan.waves)
            batch = create_batch(executable, machine, plan, groups, words)
            live = np.full(len(groups), plan.waves, np.int64)
            scheduler = Scheduler(executable.decoded, executable.leaders, random.Random(plan.seed + number), live)
            scheduler.join, scheduler.most_steps = plan.lockstep, plan.most_steps
            if plan.lockstep:
                scheduler.running = [batch]
            else:
                scheduler.running = [batch.select(np.array([at])) for at in range(batch.waves)]
            scheduler.run()
            executed += scheduler.executed
    names = Counter[str]()
    for index in np.flatnonzero(executed):
        names[program.instructions[index].mnemonic] += int(executed[index])
    return Launch(names, tuple(memory.buffers), audit)
