"""The registers of a batch: waves that stand at the same instruction and take it together.

Arrays: vector registers (registers, waves, 64) uint32; scalar registers (waves, 128) uint32, with vcc, m0 and exec at their
hardware numbers; the execution mask (waves, 64) bool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.executor.machine.audit import MatrixAudit
from tunefork.kernels.amdgcn.executor.machine.counters import Counters, Outstanding
from tunefork.kernels.amdgcn.executor.machine.global_memory import GlobalMemory
from tunefork.kernels.amdgcn.executor.machine.local_memory import LocalMemory
from tunefork.kernels.amdgcn.executor.machine.operands import EXEC
from tunefork.kernels.amdgcn.executor.machine.scratch import Scratch
from tunefork.kernels.arch import GFX950

LANES = GFX950.lanes
LANE = np.arange(LANES)
SCALAR_REGISTERS = 128
POISON = 0x7FC0DEAD
"""What a register holds before it is written: NaN as f32, and a number that no index survives."""

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Machine:
    """What all waves share: global memory, the LDS of the resident work-groups, and the count of repeated matrix work.

    scratch: the private memory of the resident waves, where the kernel has any.  waves: per work-group.
    """

    memory: GlobalMemory
    lds: LocalMemory
    audit: MatrixAudit | None = None
    scratch: Scratch | None = None
    waves: int = 1


@dataclass
class Batch:
    """State of the waves that run in lockstep.

    group, wave: (waves,) slot of each wave's work-group among the resident ones, and its number inside the group.
    saturate: MODE.FP16_OVFL: conversions to narrow floats clamp instead of making NaN or infinity.
    """

    machine: Machine
    group: npt.NDArray[np.intp]
    wave: npt.NDArray[np.intp]
    vector: npt.NDArray[np.uint32]
    accumulator: npt.NDArray[np.uint32]
    scalar: npt.NDArray[np.uint32]
    scc: Mask
    counters: Counters
    pc: int = 0
    saturate: bool = False

    def __post_init__(self) -> None:
        self.waves = len(self.group)
        self.pairs = self.scalar.view(np.uint64)
        self.active: Mask = np.ones((self.waves, LANES), np.bool_)
        self.full = True
        self._lanes: Array | None = None
        self.refresh_mask()

    @classmethod
    def create(cls, machine: Machine, group: Array, wave: Array, *, vectors: int, accumulators: int) -> Batch:
        """Waves whose registers hold poison and whose lanes are all active."""
        waves = len(group)
        scalar = np.full((waves, SCALAR_REGISTERS), POISON, np.uint32)
        scalar[:, EXEC : EXEC + 2] = 0xFFFFFFFF
        return cls(
            machine=machine,
            group=group,
            wave=wave,
            vector=np.full((vectors, waves, LANES), POISON, np.uint32),
            accumulator=np.full((accumulators, waves, LANES), POISON, np.uint32),
            scalar=scalar,
            scc=np.zeros(waves, np.bool_),
            counters=Counters(),
        )

    def bank(self, name: str) -> npt.NDArray[np.uint32]:
        """The vector ("v") or accumulator ("a") registers."""
        return self.vector if name == "v" else self.accumulator

    def write(self, bank: str, index: int, value: Array) -> None:
        """Write uint32 values to one vector register in the active lanes."""
        if self.full:
            self.bank(bank)[index] = value
        else:
            np.copyto(self.bank(bank)[index], value, where=self.active)

    def write_pair(self, index: int, value: Array) -> None:
        """Write uint64 values to two vector registers in the active lanes."""
        self.write("v", index, value.astype(np.uint32))
        self.write("v", index + 1, (value >> np.uint64(32)).astype(np.uint32))

    def pair(self, bank: str, index: int) -> npt.NDArray[np.uint64]:
        """Two vector registers as (waves, 64) uint64."""
        registers = self.bank(bank)
        high = registers[index + 1].astype(np.uint64) << np.uint64(32)
        both: npt.NDArray[np.uint64] = registers[index].astype(np.uint64) | high
        return both

    def lane_bits(self, index: int) -> Mask:
        """A scalar register pair as a bit for each lane, (waves, 64) bool."""
        words = np.ascontiguousarray(self.pairs[:, index // 2])
        octets = words.view(np.uint8).reshape(self.waves, 8)
        return np.unpackbits(octets, axis=1, bitorder="little").view(np.bool_)

    def write_lane_bits(self, index: int, bits: Mask) -> None:
        """Write a bit for each lane to a scalar register pair; inactive lanes must already be zero."""
        packed = np.packbits(bits, axis=1, bitorder="little").view(np.uint64)
        self.write_scalar(index, 2, packed[:, 0])

    def write_scalar(self, index: int, count: int, value: Array) -> None:
        """Write one scalar register (uint32) or a pair (uint64); a write to exec refreshes the mask."""
        if count == 1:
            self.scalar[:, index] = value
        else:
            self.pairs[:, index // 2] = value
        if index >= EXEC:
            self.refresh_mask()

    @property
    def lanes(self) -> Array:
        """(n,) numbers of the active lanes in (waves, 64), counted through."""
        if self._lanes is None:
            self._lanes = np.flatnonzero(self.active)
        return self._lanes

    def refresh_mask(self) -> None:
        """Recompute the execution mask from exec."""
        self._lanes = None
        self.full = bool((self.pairs[:, EXEC // 2] == np.uint64(0xFFFFFFFFFFFFFFFF)).all())
        if not self.full:
            self.active = self.lane_bits(EXEC)
        elif not self.active.all():
            self.active = np.ones((self.waves, LANES), np.bool_)

    def issue_vector(self, operation: Outstanding) -> None:
        """Count a vector-memory operation as outstanding."""
        self.land(self.counters.issue_vector(operation))

    def land(self, completed: Sequence[Outstanding]) -> None:
        """Put the bytes of direct-to-LDS loads that have completed where they belong."""
        for operation in completed:
            if operation.kind == "lds_dma" and operation.access is not None:
                self.machine.lds.land(operation.access)

    def select(self, which: Array) -> Batch:
        """Some of the waves, as a batch of their own."""
        return Batch(
            machine=self.machine,
            group=self.group[which],
            wave=self.wave[which],
            vector=np.ascontiguousarray(self.vector[:, which]),
            accumulator=np.ascontiguousarray(self.accumulator[:, which]),
            scalar=np.ascontiguousarray(self.scalar[which]),
            scc=self.scc[which],
            counters=self.counters.select(which),
            pc=self.pc,
            saturate=self.saturate,
        )

    def matches(self, other: Batch) -> bool:
        """Whether two batches may become one: same place, same loads outstanding, same mode."""
        same_place = self.pc == other.pc and self.saturate == other.saturate
        return same_place and self.counters.matches(other.counters)

    def joined(self, others: Sequence[Batch]) -> Batch:
        """This batch's waves and the others' as one batch."""
        every = [self, *others]
        counters = self.counters
        for other in others:
            counters = counters.joined(other.counters)
        return Batch(
            machine=self.machine,
            group=np.concatenate([batch.group for batch in every]),
            wave=np.concatenate([batch.wave for batch in every]),
            vector=np.concatenate([batch.vector for batch in every], axis=1),
            accumulator=np.concatenate([batch.accumulator for batch in every], axis=1),
            scalar=np.concatenate([batch.scalar for batch in every]),
            scc=np.concatenate([batch.scc for batch in every]),
            counters=counters,
            pc=self.pc,
            saturate=self.saturate,
        )
