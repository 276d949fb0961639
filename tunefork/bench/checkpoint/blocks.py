"""What the bytes of one projection say: scale bytes, empty and saturated blocks, empty rows and experts, and the size of each column's weights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunefork.bench.checkpoint.projections import GROUP, Projection

if TYPE_CHECKING:
    import numpy as np

CHUNK = 1 << 20  # bytes of values at a time: they stay in a core's cache, and bound the check's memory
AHEAD = 32 << 20  # bytes that the disk is asked for before they are needed
COUNTED, LOOKED_AT = 96, 24  # rows of a piece whose scale bytes, and whose saturated elements, are counted: shares, not sums
WRAPPED = 232  # the least scale byte that gguf writes for weights too small for it
_MAGNITUDES = 0x7777777777777777
_ONES = 0x1111111111111111


@dataclass
class Bytes:
    """Sums over what was read. empty: blocks of zeros. saturated: of `elements`, those at 6 or -6. used_at_zero: blocks at scale byte 0 that are not empty.

    low, high: the least and the greatest scale byte. nan, wrapped: blocks at 255, and from 232 on. scales: 256 counts, of a sample where there are many.
    empty_experts: of those read. tail, tail_columns: empty rows and blocks of columns at the end of the last expert read.
    """

    blocks: int = 0
    empty: int = 0
    saturated: int = 0
    elements: int = 0
    used_at_zero: int = 0
    low: int = 255
    high: int = 0
    nan: int = 0
    wrapped: int = 0
    scales: Any = None
    empty_experts: list[int] = field(default_factory=list)
    tail: int = 0
    tail_columns: int = 0

    def add(self, values: np.ndarray, scales: np.ndarray) -> np.ndarray:
        """values [rows, blocks, 16], scales [rows, blocks], uint8 -> which blocks are empty."""
        import numpy as np

        words = np.ascontiguousarray(values).view(np.uint64)
        empty = np.asarray(((words[..., 0] | words[..., 1]) & np.uint64(_MAGNITUDES)) == 0)
        some = words[:: max(1, len(words) // LOOKED_AT)]
        full = some & (some >> np.uint64(1)) & (some >> np.uint64(2)) & np.uint64(_ONES)
        counts = np.bincount(scales[:: max(1, len(scales) // COUNTED)].ravel(), minlength=256)
        low, high = int(scales.min()), int(scales.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        if high >= WRAPPED:
            self.nan += int(np.count_nonzero(scales == 255))
            self.wrapped += int(np.count_nonzero(scales >= WRAPPED))
        self.scales = counts if self.scales is None else self.scales + counts
        self.blocks += empty.size
        self.empty += int(np.count_nonzero(empty))
        self.elements += 16 * full.size
        self.saturated += int(np.bitwise_count(full).sum()) if hasattr(np, "bitwise_count") else int(np.unpackbits(full.view(np.uint8)).sum())
        if low == 0:
            self.used_at_zero += int(((scales == 0) & ~empty).sum())
        return empty


def pieces(projection: Projection, experts: int, rows: int, columns: int, want: list[tuple[int, int, int]] | None = None
           ) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
    """(expert, first row, values [r, blocks, 16], scales [r, blocks]) of the whole projection, or of `want`: (expert, first row, rows).

    Of a whole projection a thread reads the next piece meanwhile, into one of two buffers that are used again: a piece is gone once the next is asked for.
    """
    import numpy as np

    asked, end = 0, projection.values.start + projection.values.size
    blocks = columns // GROUP
    size = 17 if projection.layout == "gguf" else 16
    step = -(-rows // max(1, -(-rows * blocks * size // CHUNK)))  # equal pieces: the last one shows an expert's end
    spans = want if want is not None else [(e, r, min(step, rows - r)) for e in range(experts) for r in range(0, rows, step)]
    scale_size = 0 if projection.scales is None else blocks
    longest = max((count for _, _, count in spans), default=0)
    buffers = [(bytearray(longest * blocks * size), bytearray(longest * scale_size)) for _ in range(2 if want is None else len(spans))]
    with projection.values.file.open("rb", buffering=0) as file, (projection.scales or projection.values).file.open("rb", buffering=0) as other:
        def fill(number: int) -> tuple[int, int, np.ndarray, np.ndarray]:
            expert, first, count = spans[number]
            at = (expert * rows + first) * blocks
            values, scales = buffers[number % len(buffers)]
            begin = projection.values.start + at * size
            ahead(begin)
            raw = np.frombuffer(read_into(file.fileno(), memoryview(values)[: count * blocks * size], begin), np.uint8)
            if projection.scales is None:
                raw = raw.reshape(count, blocks, 17)
                return expert, first, raw[..., 1:], raw[..., 0]
            own = read_into(other.fileno(), memoryview(scales)[: count * blocks], projection.scales.start + at)
            return expert, first, raw.reshape(count, blocks, 16), np.frombuffer(own, np.uint8).reshape(count, blocks)

        def ahead(begin: int) -> None:
            nonlocal asked
            if want is None and begin + AHEAD // 2 >= asked and hasattr(os, "posix_fadvise"):
                asked = max(asked, begin) + AHEAD
                os.posix_fadvise(file.fileno(), begin, min(asked, end) - begin, os.POSIX_FADV_WILLNEED)

        if want is not None or len(spans) < 2:
            yield from map(fill, range(len(spans)))
            return
        with ThreadPoolExecutor(1) as reader:
            coming = reader.submit(fill, 0)
            for number in range(1, len(spans) + 1):
                piece = coming.result()
                if number < len(spans):
                    coming = reader.submit(fill, number)
                yield piece


def read_into(file: int, where: memoryview, begin: int) -> memoryview:
    """Fill a buffer from a file's byte ``begin`` on; what the file does not have is cut off."""
    done = 0
    while done < len(where) and (got := os.preadv(file, [where[done:]], begin + done)):
        done += got
    return where[:done]


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
