"""Hashes of the gfx950 code objects that Tunefork ships, one line per row of the gate: ``python -m tools.code_objects [FILE]``.

What the machine loads is hashed: instructions, kernel descriptor, constants, metadata. Debug sections, which hold source paths and line
numbers, are not. So a change that only moves or renames prints what it printed before. With FILE, an earlier output, the lines that
differ are printed instead, and the exit code is 1 where there are any.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import struct
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tunefork.base.tied import tied
from tunefork.kernels.amdgcn.compile import Request, build

LOADED = (".text", ".rodata", ".note")  # instructions; descriptor and constants; metadata with the arguments, registers and LDS
NO_BITS = 8


def sections(elf: bytes) -> dict[str, bytes]:
    """Name -> content of the sections of a 64-bit little-endian ELF file."""
    (table,) = struct.unpack_from("<Q", elf, 0x28)
    size, count, names = struct.unpack_from("<HHH", elf, 0x3A)
    heads = [struct.unpack_from("<IIQQQQIIQQ", elf, table + at * size) for at in range(count)]

    def name(at: int) -> str:
        start = int(heads[names][4]) + at
        return elf[start : elf.index(b"\0", start)].decode()

    return {name(head[0]): elf[head[4] : head[4] + head[5]] for head in heads if head[1] != NO_BITS}


def digest(elf: bytes) -> str:
    """What a code object does, as a hash. Errors: KeyError for an object without one of the sections."""
    found, total = sections(elf), hashlib.sha256()
    for name in LOADED:
        total.update(name.encode() + struct.pack("<Q", len(found[name])) + found[name])
    return total.hexdigest()


def digest_of(request: Request) -> str:
    return digest(build(request).asm["hsaco"])


def lines() -> list[str]:
    """``hash  kernel [configuration] shape`` of every shipped row, sorted."""
    from tunefork.kernels import registry

    rows = registry.shipped()
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("forkserver"), initializer=tied) as pool:
        hashes = pool.map(digest_of, [Request.of(row) for row in rows])
        return sorted(f"{found}  {row.label}" for found, row in zip(hashes, rows, strict=True))


def main() -> int:
    found = lines()
    total = hashlib.sha256("".join(f"{line}\n" for line in found).encode()).hexdigest()
    if len(sys.argv) == 1:
        print("\n".join(found))
        print(f"{len(found)} rows, sha256 of the lines: {total}", file=sys.stderr)
        return 0
    before = Path(sys.argv[1]).read_text().splitlines()
    apart = [f"- {line}" for line in before if line not in set(found)] + [f"+ {line}" for line in found if line not in set(before)]
    print("\n".join(apart) if apart else f"{len(found)} rows, all as in {sys.argv[1]}; sha256 of the lines: {total}")
    return 1 if apart else 0


if __name__ == "__main__":
    sys.exit(main())
