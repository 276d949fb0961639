"""What the bytes of one projection say: scale bytes, empty and saturated blocks, empty rows and experts, and the size of each column's weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunefork.bench.checkpoint.projections import GROUP, Projection

if TYPE_CHECKING:
    import numpy as np

CHUNK = 1 << 20  # bytes of values at a time: they stay in a core's cache, and bound the check's memory
AHEAD = 32 << 20  # bytes that the disk is asked for before they are needed
EVERY = 8  # saturated elements are counted in one row of so many: a share, not a sum
_MAGNITUDES = 0x7777777777777777
_ONES = 0x1111111111111111


@dataclass
class Bytes:
    """Sums over what was read. empty: blocks of zeros. saturated: of `elements`, those at 6 or -6. used_at_zero: blocks at scale byte 0 that are not empty.

    scales: 256 counts. empty_experts: of those read. tail, tail_columns: empty rows and blocks of columns at the end of the last expert read.
    """

    blocks: int = 0
    empty: int = 0
    saturated: int = 0
    elements: int = 0
    used_at_zero: int = 0
    scales: Any = None
    empty_experts: list[int] = field(default_factory=list)
    tail: int = 0
    tail_columns: int = 0

    def add(self, values: np.ndarray, scales: np.ndarray) -> np.ndarray:
        """values [rows, blocks, 16], scales [rows, blocks], uint8 -> which blocks are empty."""
        import numpy as np

        words = np.ascontiguousarray(values).view(np.uint64)
        empty = np.asarray(((words[..., 0] | words[..., 1]) & np.uint64(_MAGNITUDES)) == 0)
        some = words[::EVERY]
        full = some & (some >> np.uint64(1)) & (some >> np.uint64(2)) & np.uint64(_ONES)
        counts = np.bincount(scales.ravel(), minlength=256)
        self.scales = counts if self.scales is None else self.scales + counts
        self.blocks += empty.size
        self.empty += int(np.count_nonzero(empty))
        self.elements += 16 * full.size
        self.saturated += int(np.bitwise_count(full).sum()) if hasattr(np, "bitwise_count") else int(np.unpackbits(full.view(np.uint8)).sum())
        if counts[0]:
            self.used_at_zero += int(((scales == 0) & ~empty).sum())
        return empty


def pieces(projection: Projection, experts: int, rows: int, columns: int, want: list[tuple[int, int, int]] | None = None
           ) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """(expert, first row, values [r, blocks, 16], scales [r, blocks]) of the whole projection, or of `want`: (expert, first row, rows)."""
    import numpy as np

    asked, end = 0, projection.values.start + projection.values.size
    blocks = columns // GROUP
    size = 17 if projection.layout == "gguf" else 16
    step = -(-rows // max(1, -(-rows * blocks * size // CHUNK)))  # equal pieces: the last one shows an expert's end
    spans = want if want is not None else [(e, r, min(step, rows - r)) for e in range(experts) for r in range(0, rows, step)]
    with projection.values.file.open("rb", buffering=0) as file, (projection.scales or projection.values).file.open("rb", buffering=0) as other:
        for expert, first, count in spans:
            at = (expert * rows + first) * blocks
            begin = projection.values.start + at * size
            if want is None and begin + AHEAD // 2 >= asked and hasattr(os, "posix_fadvise"):
                asked = max(asked, begin) + AHEAD
                os.posix_fadvise(file.fileno(), begin, min(asked, end) - begin, os.POSIX_FADV_WILLNEED)
            file.seek(begin)
            raw = np.frombuffer(file.read(count * blocks * size), np.uint8)
            if projection.scales is None:
                raw = raw.reshape(count, blocks, 17)
                yield expert, first, raw[..., 1:], raw[..., 0]
                continue
            other.seek(projection.scales.start + at)
            yield expert, first, raw.reshape(count, blocks, 16), np.frombuffer(other.read(count * blocks), np.uint8).reshape(count, blocks)


def scan(projection: Projection, experts: int, rows: int, columns: int, want: list[tuple[int, int, int]] | None = None) -> Bytes:
    """Read a projection and add it up; `want` as in `pieces`, whose rows must then reach each expert's last one for `tail`."""
    import numpy as np

    found = Bytes()
    live: dict[int, bool] = {}
    for expert, first, values, scales in pieces(projection, experts, rows, columns, want):
        empty = found.add(values, scales)
        live[expert] = live.get(expert, False) or not bool(empty.all())
        if first + len(empty) == rows:
            kept = np.flatnonzero(~empty.all(1))
            found.tail = len(empty) - 1 - int(kept[-1]) if kept.size else 0
            wide = np.flatnonzero(~empty.all(0))
            found.tail_columns = empty.shape[1] - 1 - int(wide[-1]) if wide.size else 0
    found.empty_experts = [expert for expert, some in live.items() if not some]
    return found


def column_sizes(projection: Projection, experts: int, rows: int, columns: int, want: list[tuple[int, int, int]]) -> np.ndarray:
    """Mean magnitude of each column, in the layout's own order of elements; float64 [columns]."""
    import numpy as np

    table = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6] * 2)
    total = np.zeros((columns // GROUP, GROUP))
    for _, _, values, scales in pieces(projection, experts, rows, columns, want):
        power = np.exp2(scales.astype(np.float64) - 127)[..., None]
        low, high = table[values & 15] * power, table[values >> 4] * power
        joined = np.concatenate((low, high), -1) if projection.layout == "gguf" else np.stack((low, high), -1).reshape(*low.shape[:2], GROUP)
        total += joined.sum(0)
    return total.ravel()
