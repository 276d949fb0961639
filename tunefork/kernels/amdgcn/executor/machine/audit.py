"""Counts matrix instructions that repeat another wave's work: same work-group, same instruction, same two operands.

A layout that gives several waves the same tile does that; no static count can see it, because each wave's code looks needed.
Products with an operand that is all zero (masked rows) are not counted as repeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
WEIGHTS = np.random.default_rng(0).integers(0, 2**32, 64, dtype=np.uint32) | np.uint32(1)  # of the lanes
STIR = np.uint64(0x9E3779B97F4A7C15)


@dataclass
class MatrixAudit:
    """executed, replicated: matrix instructions, counted for each wave."""

    executed: int = 0
    replicated: int = 0

    def note(self, group: Array, left: Array, right: Array) -> None:
        """One matrix instruction of some waves: (waves,) groups, operand words (registers, waves, 64)."""
        self.executed += len(group)
        if len(set(group.tolist())) == len(group) or not self.alike(group, left, right):
            return
        seen = set()
        sides = [np.ascontiguousarray(words.transpose(1, 0, 2)) for words in (left, right)]
        useful = sides[0].any(axis=(1, 2)) & sides[1].any(axis=(1, 2))
        for wave in np.nonzero(useful)[0]:
            key = (int(group[wave]), sides[0][wave].tobytes(), sides[1][wave].tobytes())
            self.replicated += key in seen
            seen.add(key)

    @staticmethod
    def alike(group: Array, left: Array, right: Array) -> bool:
        """Whether two waves may have the same operands: a hash of their first registers decides, so that most instructions need no closer look."""
        sums = [(words[0] * WEIGHTS).sum(axis=1, dtype=np.uint64) for words in (left, right)]
        keys = (sums[0] * STIR + sums[1]) * STIR + group.astype(np.uint64)
        return len(set(keys.tolist())) < len(keys)
