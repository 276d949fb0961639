"""One-instruction runs for this folder's tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tunefork.kernels.amdgcn.assembly import parse_instruction
from tunefork.kernels.amdgcn.executor.decode import decode_instruction
from tunefork.kernels.amdgcn.executor.machine.global_memory import GlobalMemory
from tunefork.kernels.amdgcn.executor.machine.local_memory import LocalMemory
from tunefork.kernels.amdgcn.executor.machine.operands import EXEC, M0, VCC
from tunefork.kernels.amdgcn.executor.machine.state import Batch, Machine

BASE = 0x10000
EDGES = [0, 1, 2, 31, 32, 33, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]


class Bench:
    """Waves with registers to set, one instruction to run, registers to read back.

    Vector registers hold random words at first, with edge values in the low lanes; memory is 64 KiB at BASE.
    """

    def __init__(self, waves: int = 2, groups: int = 1, lds: int = 4096, cell: int = 1) -> None:
        self.random = np.random.default_rng(7)
        self.memory = GlobalMemory()
        self.data = self.random.integers(0, 256, 65536, dtype=np.uint8)
        self.memory.register(BASE, self.data, "data")
        self.lds = LocalMemory(groups, lds, cell=cell, waves=waves // groups)
        number = np.arange(waves)
        group, wave = number // (waves // groups), number % (waves // groups)
        self.batch = Batch.create(Machine(self.memory, self.lds), group, wave, vectors=64, accumulators=64)
        shape = self.batch.vector.shape
        self.batch.vector[:] = self.random.integers(0, 2**32, shape, dtype=np.uint32)
        self.batch.vector[0, :, : len(EDGES)] = EDGES
        self.batch.vector[1, :, : len(EDGES)] = EDGES[::-1]

    def run(self, *lines: str) -> Bench:
        with np.errstate(all="ignore"):
            for line in lines:
                step, _ = decode_instruction(parse_instruction(line))
                step(self.batch)
        return self

    def floats(self, index: int, values: Any) -> None:
        self.batch.vector[index] = np.broadcast_to(np.asarray(values, np.float32), (self.batch.waves, 64)).view(np.uint32)

    def halves(self, index: int, low: Any, high: Any, dtype: Any = np.float16) -> None:
        pair = [np.broadcast_to(np.asarray(value, dtype), (self.batch.waves, 64)) for value in (low, high)]
        words = [np.ascontiguousarray(value).view(np.uint16).astype(np.uint32) for value in pair]
        self.batch.vector[index] = words[0] | (words[1] << 16)

    def words(self, index: int) -> list[int]:
        """A vector register as 64 x waves Python integers."""
        return [int(value) for value in self.batch.vector[index].ravel()]

    def wide(self, index: int) -> list[int]:
        return [low | (high << 32) for low, high in zip(self.words(index), self.words(index + 1), strict=True)]

    def f32(self, index: int) -> npt.NDArray[np.float32]:
        return self.batch.vector[index].view(np.float32).copy()

    def scalar(self, index: int, value: int | None = None) -> int:
        """Set (in every wave) or read (from the first) a scalar register."""
        if value is not None:
            self.batch.write_scalar(index, 1, np.uint32(value & 0xFFFFFFFF))
        return int(self.batch.scalar[0, index])

    def pair(self, index: int, value: int | None = None) -> int:
        if value is not None:
            self.batch.write_scalar(index, 2, np.uint64(value & (2**64 - 1)))
        return int(self.batch.pairs[0, index // 2])

    def exec_mask(self, value: int) -> None:
        self.pair(EXEC, value)

    def addresses(self, index: int, offsets: Sequence[int] | npt.NDArray[Any]) -> None:
        """Put BASE + offsets into a register pair."""
        place = np.broadcast_to(np.asarray(offsets, np.uint64) + np.uint64(BASE), (self.batch.waves, 64))
        self.batch.vector[index] = place.astype(np.uint32)
        self.batch.vector[index + 1] = (place >> np.uint64(32)).astype(np.uint32)


@pytest.fixture
def bench() -> Callable[..., Bench]:
    return Bench


@pytest.fixture
def special() -> dict[str, int]:
    return {"exec": EXEC, "vcc": VCC, "m0": M0, "base": BASE}
