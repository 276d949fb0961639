"""Private memory: every lane of every resident wave has its own bytes, which start as poison."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.errors import OutOfBounds

Array = npt.NDArray[Any]
POISON_BYTE = 0xFF


class Scratch:
    """Private memory of ``slots`` waves, ``size`` bytes for each lane."""

    def __init__(self, slots: int, lanes: int, size: int) -> None:
        self.size = size
        self.data = np.full((slots, lanes, size), POISON_BYTE, np.uint8)

    def places(self, slot: Array, address: Array, active: Array, size: int) -> tuple[Array, Array, Array]:
        """Indices of ``size`` bytes for each active lane: (n, 1) waves, (n, 1) lanes, (n, size) bytes. Errors: OutOfBounds."""
        mine = address[active]
        if mine.size and (int(mine.min()) < 0 or int(mine.max()) + size > self.size):
            raise OutOfBounds(f"scratch bytes {int(mine.min()):#x}..{int(mine.max()) + size:#x} of {self.size:#x}")
        wave, lane = np.nonzero(active)
        return slot[wave][:, None], lane[:, None], mine[:, None] + np.arange(size)

    def load(self, slot: Array, address: Array, active: Array, size: int) -> Array:
        """(waves, 64) byte addresses to (n, size) uint8 over the active lanes."""
        found: Array = self.data[self.places(slot, address, active, size)]
        return found

    def store(self, slot: Array, address: Array, active: Array, data: Array) -> None:
        """Write (n, size) uint8 of the active lanes."""
        self.data[self.places(slot, address, active, data.shape[1])] = data
