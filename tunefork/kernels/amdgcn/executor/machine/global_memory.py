"""Global memory: only registered buffers exist; every access is checked against them and counted.

A buffer's bytes are seen as overlapping items of the access width, so that one gather or scatter serves any width and alignment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tunefork.kernels.amdgcn.errors import ExecutionError, OutOfBounds

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class NoValue:
    """Bytes ``start`` up to ``end`` of a buffer that stand for something without a value here; a load of them is refused."""

    start: int
    end: int
    name: str


def check_values(forbidden: Iterable[NoValue], start: int, end: int) -> None:
    """Errors: ExecutionError where bytes ``start`` up to ``end`` touch one that has no value."""
    for item in forbidden:
        if start < item.end and item.start < end:
            raise ExecutionError(f"{item.name} (byte {item.start}) has no value here")


@dataclass
class Buffer:
    """A range of addresses backed by real bytes.

    base: address of the first byte.  data: (bytes,) uint8.
    no_values: what in it must not be loaded.
    loaded, stored: bytes that active lanes asked for.  touched: which bytes were ever loaded, where that is tracked.
    """

    base: int
    data: npt.NDArray[np.uint8] = field(repr=False)  # the tensor's own memory, which may be gone when a failure is printed
    name: str
    writable: bool = True
    no_values: tuple[NoValue, ...] = ()
    loaded: int = 0
    stored: int = 0
    touched: npt.NDArray[np.bool_] | None = field(default=None, repr=False)
    views: dict[int, Items] = field(default_factory=dict, repr=False)

    @property
    def end(self) -> int:
        return self.base + self.data.size

    def items(self, size: int) -> Items:
        """The bytes as overlapping items of ``size`` bytes, one at each offset."""
        if size not in self.views:
            self.views[size] = Items(self.data, size)
        return self.views[size]

    def loaded_unique(self) -> int:
        """Distinct bytes loaded; needs ``touched``."""
        if self.touched is None:
            raise ValueError(f"{self.name} does not track which bytes are loaded")
        return int(self.touched.sum())


def overlapping(data: Array, size: int) -> Array:
    """uint8 bytes as items of ``size`` bytes at every byte offset, sharing the memory."""
    return np.ndarray((max(data.size - size + 1, 0),), f"V{size}", data, strides=(1,))


WHOLE: dict[int, Any] = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64, 16: np.complex128}
"""Types that move as many bytes at once; nothing is computed in them."""


class Items:
    """uint8 bytes as items of ``size`` bytes at every byte offset. Where all offsets are whole items, numpy moves typed ones, which is faster."""

    def __init__(self, data: Array, size: int) -> None:
        self.anywhere, self.size = overlapping(data, size), size
        kind = WHOLE.get(size)
        self.shift = np.intp(size.bit_length() - 1)
        aligned = kind is not None and data.size >= size and data.ctypes.data % np.dtype(kind).alignment == 0
        self.whole: Array | None = np.ndarray((data.size // size,), kind, data) if aligned else None

    def at(self, offset: Array) -> Array | None:
        """The numbers of whole items, None where an offset is between two."""
        if self.whole is None or (self.size > 1 and (offset & (self.size - 1)).any()):
            return None
        number: Array = offset >> self.shift
        return number

    def get(self, offset: Array) -> Array:
        """(n,) byte offsets to (n, size) uint8."""
        number = self.at(offset)
        found = self.anywhere[offset] if number is None or self.whole is None else self.whole.take(number)
        return found.view(np.uint8).reshape(-1, self.size)

    def put(self, offset: Array, data: Array) -> None:
        """Write (n, size) uint8; the last one wins where offsets meet."""
        number, items = self.at(offset), np.ascontiguousarray(data)
        if number is None or self.whole is None:
            self.anywhere[offset] = items.view(f"V{self.size}")[:, 0]
        else:
            self.whole[number] = items.view(self.whole.dtype)[:, 0]


class GlobalMemory:
    """The registered buffers of one launch."""

    def __init__(self, *, track_touched: bool = False) -> None:
        self.buffers: list[Buffer] = []
        self.track_touched = track_touched
        self._recent: Buffer | None = None

    def register(self, base: int, data: npt.NDArray[np.uint8], name: str, *, writable: bool = True) -> Buffer:
        """Make ``data`` appear at ``base``; a buffer inside one that is already there is that one."""
        for known in self.buffers:
            if known.base <= base and base + data.size <= known.end:
                return known
        touched = np.zeros(data.size, np.bool_) if self.track_touched else None
        buffer = Buffer(base, data, name, writable, touched=touched)
        self.buffers.append(buffer)
        return buffer

    def find(self, address: int, size: int) -> Buffer:
        for buffer in self.buffers:
            if buffer.base <= address and address + size <= buffer.end:
                return buffer
        known = ", ".join(f"{item.name} [{item.base:#x}, {item.end:#x})" for item in self.buffers)
        raise OutOfBounds(f"{size} bytes at {address:#x} are in no registered buffer ({known})")

    def parts(self, address: Array, size: int) -> Iterator[tuple[Buffer, Array | slice, Array]]:
        """Split (n,) addresses by buffer: the buffer, which addresses, their byte offsets."""
        if not address.size:
            return
        low, high = int(address.min()), int(address.max())
        recent = self._recent
        if recent is None or low < recent.base or high + size > recent.end:
            recent = self.find(int(address[0]), size)
        if recent.base <= low and high + size <= recent.end:
            self._recent = recent
            yield recent, slice(None), (address - np.uint64(recent.base)).view(np.intp)
            return
        todo = np.ones(address.shape, np.bool_)
        while todo.any():
            buffer = self.find(int(address[np.argmax(todo)]), size)
            inside = todo & (address >= np.uint64(buffer.base)) & (address <= np.uint64(buffer.end - size))
            yield buffer, inside, (address[inside] - np.uint64(buffer.base)).astype(np.intp)
            todo &= ~inside

    def load(self, address: Array, size: int) -> Array:
        """(n,) uint64 addresses to (n, size) uint8. Errors: OutOfBounds."""
        result = np.empty((len(address), size), np.uint8)
        for buffer, which, offset in self.parts(address, size):
            if buffer.no_values:
                for start in np.unique(offset):
                    check_values(buffer.no_values, int(start), int(start) + size)
            found = buffer.items(size).get(offset)
            if len(found) == len(result):
                result = found
            else:
                result[which] = found
            buffer.loaded += offset.size * size
            if buffer.touched is not None:
                overlapping(buffer.touched.view(np.uint8), size)[offset] = np.ones(size, np.uint8).view(f"V{size}")
        return result

    def store(self, address: Array, data: Array) -> None:
        """(n,) uint64 addresses, (n, size) uint8 data; the last lane wins where addresses meet. Errors: OutOfBounds."""
        size = data.shape[1]
        for buffer, which, offset in self.parts(address, size):
            if not buffer.writable:
                raise OutOfBounds(f"store to {buffer.name}, which is read-only")
            buffer.items(size).put(offset, data[which])
            buffer.stored += offset.size * size
