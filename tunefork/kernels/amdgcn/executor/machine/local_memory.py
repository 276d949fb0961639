"""LDS of the resident work-groups, with a race detector.

Bytes start as poison (0xff: NaN in every float format that has one). Between two barriers of a work-group, bytes that one wave writes
may be touched by no other wave; writing the value that is there already is allowed, because replicated layouts do that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.errors import LdsRace, MissingWait, OutOfBounds
from tunefork.kernels.amdgcn.executor.machine.counters import LdsAccess
from tunefork.kernels.amdgcn.executor.machine.global_memory import Items

Array = npt.NDArray[Any]
POISON_BYTE = 0xFF
SEVERAL = 255  # more than one wave; single waves are their number plus one


@dataclass(frozen=True)
class Cells:
    """The shadow cells of one access: (n, cells per lane) indices, and (n, 1) code of the wave that touches them."""

    index: Array
    code: Array


class LocalMemory:
    """LDS of ``groups`` work-groups of ``size`` bytes each.

    cell: bytes per shadow cell: the narrowest access that the kernel makes.
    waves: waves per work-group; with one, nothing can race.
    """

    def __init__(self, groups: int, size: int, *, cell: int = 1, waves: int = 2) -> None:
        self.size = size
        self.cell = cell
        self.data = np.full(groups * size + 16, POISON_BYTE, np.uint8)
        self.items = {width: Items(self.data, width) for width in (1, 2, 4, 8, 12, 16)}
        self.races = waves > 1
        cells = (groups * size + cell - 1) // cell + 16
        self.writer = np.zeros(cells, np.uint8)
        self.reader = np.zeros(cells, np.uint8)
        self.in_flight = np.zeros(groups * size + 16, np.uint8)
        self.flights = 0
        self._unmarked_reads: list[tuple[LdsAccess, Array]] = []
        self._has_writes = False
        self._has_reads = False

    def flat(self, access: LdsAccess) -> Array:
        """Byte offsets of the active lanes' accesses, (n,). Errors: OutOfBounds."""
        lanes = None if access.active.all() else np.flatnonzero(access.active)
        mine = access.address.reshape(-1) if lanes is None else access.address.reshape(-1)[lanes]
        if mine.size and (int(mine.max()) + access.size > self.size or int(mine.min()) < 0):
            raise OutOfBounds(f"LDS bytes {int(mine.min()):#x}..{int(mine.max()) + access.size:#x} of {self.size:#x}")
        offset = access.address + (access.group * self.size)[:, None]
        return np.asarray(offset.reshape(-1) if lanes is None else offset.reshape(-1)[lanes])

    def cells(self, access: LdsAccess, flat: Array) -> Cells:
        """The shadow cells that an access touches."""
        count = max(access.size // self.cell, 1)
        index = flat[:, None] if self.cell == 1 else flat[:, None] // self.cell
        if count > 1:
            index = index + np.arange(count)
        code = np.repeat((access.wave + 1).astype(np.uint8), np.count_nonzero(access.active, axis=1))
        return Cells(index, code[:, None])

    def read(self, access: LdsAccess) -> Array:
        """The bytes, (n, size) uint8 over the active lanes. Errors: OutOfBounds, LdsRace, MissingWait."""
        flat = self.flat(access)
        self._check_flights(flat, access.size)
        if self.races:
            if self._has_writes:
                cells = self.cells(access, flat)
                seen = self.writer[cells.index]
                foreign = (seen != 0) & (seen != cells.code) & (seen != SEVERAL)
                if foreign.any():
                    self._race(access, cells, foreign, seen, "reads", "wrote")
            self._unmarked_reads.append((access, flat))
        return self.items[access.size].get(flat)

    def write(self, access: LdsAccess, data: Array) -> None:
        """Write (n, size) uint8 of the active lanes. Errors: OutOfBounds, LdsRace, MissingWait."""
        flat = self.flat(access)
        self._check_flights(flat, access.size)
        if self.races and flat.size:
            self._check_write(access, flat, data)
        self.items[access.size].put(flat, data)

    def mark_write(self, access: LdsAccess) -> None:
        """Note a write whose bytes are already there: atomics, and writes still outstanding at a barrier."""
        if self.races:
            cells = self.cells(access, self.flat(access))
            self.writer[cells.index] = cells.code
            self._has_writes = True

    def mark_read(self, access: LdsAccess) -> None:
        """Note a read that was still outstanding at a barrier."""
        if self.races:
            self._unmarked_reads.append((access, self.flat(access)))

    def _check_write(self, access: LdsAccess, flat: Array, data: Array) -> None:
        cells = self.cells(access, flat)
        self._mark_reads()
        width = min(access.size, self.cell)
        before = self.writer[cells.index]
        for seen, verb in ((before, "wrote"), (self.reader[cells.index] if self._has_reads else None, "read")):
            if seen is None:
                continue
            foreign = (seen != 0) & (seen != cells.code)
            if foreign.any():
                old = self.items[access.size].get(flat).reshape(len(flat), -1, width)
                foreign &= (old != data.reshape(len(flat), -1, width)).any(axis=2)
                if foreign.any():
                    self._race(access, cells, foreign, seen, "writes", verb)
        mine = cells.code if not before.any() else np.where((before == 0) | (before == cells.code), cells.code, SEVERAL)
        self.writer[cells.index] = mine
        self._has_writes = True
        self._check_lockstep(access, cells, flat, data)

    def _check_lockstep(self, access: LdsAccess, cells: Cells, flat: Array, data: Array) -> None:
        """Find waves that write different values to one place in the same lockstep instruction."""
        lost = self.writer[cells.index] != cells.code
        if not lost.any():
            return
        lost &= self.writer[cells.index] != SEVERAL
        if not lost.any():
            return
        items = self.items[access.size]
        kept = items.get(flat)
        items.put(flat, data)
        now = items.get(flat)
        items.put(flat, kept)
        width = min(access.size, self.cell)
        differs = (now.reshape(len(flat), -1, width) != data.reshape(len(flat), -1, width)).any(axis=2)
        if (lost & differs).any():
            self._race(access, cells, lost & differs, self.writer[cells.index], "writes", "wrote")
        self.writer[cells.index[lost]] = SEVERAL

    def _mark_reads(self) -> None:
        for access, flat in self._unmarked_reads:
            cells = self.cells(access, flat)
            seen = self.reader[cells.index]
            self.reader[cells.index] = np.where((seen == 0) | (seen == cells.code), cells.code, SEVERAL)
            missed = self.reader[cells.index] != cells.code
            self.reader[cells.index[missed]] = SEVERAL
            self._has_reads = True
        self._unmarked_reads = []

    def _race(self, access: LdsAccess, cells: Cells, foreign: Array, seen: Array, does: str, did: str) -> None:
        lane, part = (int(axis[0]) for axis in np.nonzero(foreign))
        offset = int(cells.index[lane, part]) * self.cell % self.size
        other = int(seen[lane, part])
        culprit = "other waves" if other == SEVERAL else f"wave {other - 1}"
        wave = int(cells.code[lane, 0]) - 1
        raise LdsRace(
            f"wave {wave} {does} LDS byte {offset:#x}, which {culprit} {did} with no barrier in between"
        )

    def barrier(self, groups: Array, *, everyone: bool) -> None:
        """The work-groups ``groups`` passed a barrier: what their waves did before is ordered before what comes."""
        if not self.races:
            return
        if everyone:
            self._unmarked_reads = []
            if self._has_writes:
                self.writer[:] = 0
            if self._has_reads:
                self.reader[:] = 0
            self._has_writes = self._has_reads = False
            return
        self._mark_reads()
        for group in groups:
            cells = slice(int(group) * self.size // self.cell, (int(group) + 1) * self.size // self.cell)
            self.writer[cells] = 0
            self.reader[cells] = 0

    def take_off(self, access: LdsAccess) -> None:
        """A direct-to-LDS load has been issued: its bytes are undefined until it is waited for."""
        flat = self.flat(access)
        self.in_flight[flat[:, None] + np.arange(access.size)] = 1
        self.flights += 1

    def land(self, access: LdsAccess) -> None:
        """A direct-to-LDS load has been waited for: its bytes are there, written by the wave that waited."""
        assert access.data is not None
        flat = self.flat(access)
        self.in_flight[flat[:, None] + np.arange(access.size)] = 0
        self.flights -= 1
        self.write(access, access.data[access.active])

    def _check_flights(self, flat: Array, size: int) -> None:
        if self.flights and flat.size and self.in_flight[flat[:, None] + np.arange(size)].any():
            raise MissingWait("LDS bytes are used while a direct-to-LDS load into them is outstanding (s_waitcnt vmcnt)")
