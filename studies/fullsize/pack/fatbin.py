"""GPU code inside a shared library, cut to one chip: entries of other chips become zeros, so that no offset moves and a compressor drops them.

A library holds containers, each of one source file: a header, then entries. An entry is a header and a payload, machine code of one chip or PTX, compressed
or not. The driver chooses an entry by its header, so a header stays and only the payload of what this chip would not choose goes. A kernel that had nothing
else for this chip fails when it is first called, with "unknown error".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

MAGIC = 0xBA55ED50
CONTAINER = struct.Struct("<IHHQ")  # magic, version, bytes of this header, bytes of all entries
ENTRY = struct.Struct("<HHIQ")  # kind, version, bytes of this header, bytes of the payload
CHIP_AT = 28  # in an entry's header: 90 for sm_90 and for sm_90a
PTX, CODE = 1, 2


class Damaged(ValueError):
    """Bytes that begin as a container of GPU code and go on otherwise."""


@dataclass(frozen=True)
class Entry:
    """kind: PTX or CODE.  chip: 90 for sm_90.  start, size: of the payload in the library, bytes."""

    kind: int
    chip: int
    start: int
    size: int


@dataclass(frozen=True)
class Cut:
    """containers: how many.  without: those with nothing left for the chip.  kept, zeroed: payload bytes."""

    containers: int
    without: int
    kept: int
    zeroed: int


def containers(library: bytes | bytearray) -> Iterator[list[Entry]]:
    """The entries of each container, in file order. Raises: Damaged, where entries do not fill their container."""
    magic, at = MAGIC.to_bytes(4, "little"), 0
    while (at := library.find(magic, at)) >= 0:
        header = CONTAINER.unpack_from(library, at) if at + CONTAINER.size <= len(library) else (MAGIC, 0, 0, 0)
        if header[1:3] != (1, CONTAINER.size):  # the same four bytes, by chance
            at += 4
            continue
        end = at + CONTAINER.size + header[3]
        if end > len(library):
            raise Damaged(f"the container at {at:#x} would end at {end:#x}, the library ends at {len(library):#x}")
        yield list(_entries(library, at + CONTAINER.size, end))
        at = end


def _entries(library: bytes | bytearray, at: int, end: int) -> Iterator[Entry]:
    while at < end:
        kind, _, header, size = ENTRY.unpack_from(library, at) if at + CHIP_AT + 4 <= end else (0, 0, 0, 0)
        if kind not in (PTX, CODE) or header < CHIP_AT + 4 or at + header + size > end:
            raise Damaged(f"expected an entry of PTX or machine code at {at:#x}, came kind {kind}, {header} + {size} bytes of {end - at} left")
        yield Entry(kind, int.from_bytes(library[at + CHIP_AT : at + CHIP_AT + 4], "little"), at + header, size)
        at += header + size


def chosen(entries: list[Entry], chip: int, ptx_limit: int) -> list[Entry]:
    """What the driver can use on a chip: its machine code; without any the newest PTX that it can compile, if that has at most ``ptx_limit`` bytes."""
    if code := [one for one in entries if one.kind == CODE and one.chip == chip]:
        return code
    ptx = [one for one in entries if one.kind == PTX and one.chip <= chip]
    newest = max((one.chip for one in ptx), default=0)
    return [one for one in ptx if one.chip == newest and one.size <= ptx_limit]


def cut(library: bytearray, chip: int, ptx_limit: int = 0) -> Cut:
    """Zero in place the payloads that ``chosen`` leaves. Raises: Damaged; the library is as it was then."""
    found = list(containers(library))
    kept = [chosen(entries, chip, ptx_limit) for entries in found]
    gone = [one for entries, those in zip(found, kept, strict=True) for one in entries if one not in those]
    for one in gone:
        library[one.start : one.start + one.size] = bytes(one.size)
    return Cut(len(found), sum(not those for those in kept), sum(one.size for those in kept for one in those), sum(one.size for one in gone))
