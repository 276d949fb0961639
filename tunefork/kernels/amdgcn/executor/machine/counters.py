"""What is outstanding: the vector-memory and the LDS/scalar-memory counter of a batch, and the registers they guard.

Vector-memory and LDS operations complete in order; scalar loads do not, so that with one outstanding only a wait for zero is sure.
A counter that is full holds the next operation back until the oldest has completed: nothing waits for what can no longer be outstanding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Kind = Literal["load", "store", "lds_read", "lds_write", "lds_dma", "scalar"]
Array = npt.NDArray[Any]
MOST_VECTOR, MOST_LGKM = 63, 15  # six bits and four (CDNA ISA, s_waitcnt)


@dataclass(frozen=True)
class LdsAccess:
    """Which LDS bytes an outstanding operation touches, and what a direct-to-LDS load will put there.

    wave, group: (waves,) who.  address: (waves, 64) byte addresses, ``size`` bytes each.  active: (waves, 64) bool.
    data: (waves, 64, size) uint8 for a direct-to-LDS load.
    """

    group: Array
    wave: Array
    address: Array
    active: Array
    size: int
    data: Array | None = None

    def select(self, which: Array) -> LdsAccess:
        data = None if self.data is None else self.data[which]
        return LdsAccess(
            self.group[which], self.wave[which], self.address[which], self.active[which], self.size, data
        )

    def joined(self, other: LdsAccess) -> LdsAccess:
        data = None
        if self.data is not None and other.data is not None:
            data = np.concatenate((self.data, other.data))
        return LdsAccess(
            np.concatenate((self.group, other.group)),
            np.concatenate((self.wave, other.wave)),
            np.concatenate((self.address, other.address)),
            np.concatenate((self.active, other.active)),
            self.size,
            data,
        )


@dataclass(frozen=True)
class Outstanding:
    """One operation that has been issued and not waited for; ``registers`` are the keys it will write."""

    kind: Kind
    registers: frozenset[int] = frozenset()
    access: LdsAccess | None = None

    def same_shape(self, other: Outstanding) -> bool:
        return self.kind == other.kind and self.registers == other.registers

    def select(self, which: Array) -> Outstanding:
        return Outstanding(self.kind, self.registers, self.access and self.access.select(which))

    def joined(self, other: Outstanding) -> Outstanding:
        access = None
        if self.access is not None and other.access is not None:
            access = self.access.joined(other.access)
        return Outstanding(self.kind, self.registers, access)


@dataclass
class Counters:
    """The two queues of a batch, oldest first, and the register keys that must not be touched."""

    vector: list[Outstanding] = field(default_factory=list)
    lgkm: list[Outstanding] = field(default_factory=list)
    guarded_vector: frozenset[int] = frozenset()
    guarded_lgkm: frozenset[int] = frozenset()

    def issue_vector(self, operation: Outstanding) -> list[Outstanding]:
        """Count a vector-memory operation: returns what has completed because the counter was full."""
        done = self.wait_vector(MOST_VECTOR - 1) if len(self.vector) >= MOST_VECTOR else []
        self.vector.append(operation)
        self.guarded_vector |= operation.registers
        return done

    def issue_lgkm(self, operation: Outstanding) -> None:
        """Count an LDS or scalar operation. Which scalar load has returned is not known, so that these keep a full counter as it is."""
        if len(self.lgkm) >= MOST_LGKM and not any(item.kind == "scalar" for item in self.lgkm):
            self.wait_lgkm(MOST_LGKM - 1)
        self.lgkm.append(operation)
        self.guarded_lgkm |= operation.registers

    def wait_vector(self, most: int) -> list[Outstanding]:
        """``s_waitcnt vmcnt(most)``: returns what has now completed."""
        surplus = max(len(self.vector) - most, 0)
        done, self.vector = self.vector[:surplus], self.vector[surplus:]
        self.guarded_vector = frozenset().union(*(item.registers for item in self.vector))
        return done

    def wait_lgkm(self, most: int) -> list[Outstanding]:
        """``s_waitcnt lgkmcnt(most)``: returns what has certainly completed."""
        surplus = max(len(self.lgkm) - most, 0)
        if most:
            scalars = sum(item.kind == "scalar" for item in self.lgkm)
            surplus = max(surplus - scalars, 0)
            in_order = [item for item in self.lgkm if item.kind != "scalar"][:surplus]
        else:
            in_order = self.lgkm
        done = [item for item in self.lgkm if any(item is sure for sure in in_order)]
        self.lgkm = [item for item in self.lgkm if not any(item is sure for sure in in_order)]
        self.guarded_lgkm = frozenset().union(*(item.registers for item in self.lgkm))
        return done

    def matches(self, other: Counters) -> bool:
        """Whether both have the same operations outstanding, so that their batches may join."""
        mine, theirs = [*self.vector, *self.lgkm], [*other.vector, *other.lgkm]
        same_length = len(self.vector) == len(other.vector) and len(mine) == len(theirs)
        return same_length and all(a.same_shape(b) for a, b in zip(mine, theirs, strict=True))

    def select(self, which: Array) -> Counters:
        return Counters(
            [item.select(which) for item in self.vector],
            [item.select(which) for item in self.lgkm],
            self.guarded_vector,
            self.guarded_lgkm,
        )

    def joined(self, other: Counters) -> Counters:
        return Counters(
            [a.joined(b) for a, b in zip(self.vector, other.vector, strict=True)],
            [a.joined(b) for a, b in zip(self.lgkm, other.lgkm, strict=True)],
            self.guarded_vector,
            self.guarded_lgkm,
        )
