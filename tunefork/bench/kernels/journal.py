"""An append-only journal of results: one JSON line each, with a checksum, on disk before the next begins; what was cut off by a kill is dropped.

    with Journal.open(path, {"arch": "gfx950", "triton": "3.7.1"}) as journal:
        if key not in journal.rows:
            journal.append(key, {"us": 12.5})

The first line says what the results hold for; a journal of something else is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from tunefork.base.errors import BadInput
from tunefork.base.mutex import claimed

HEADER = "(journal)"


def checksum(key: str, row: Mapping[str, Any]) -> str:
    """Of a row as it is written."""
    return hashlib.sha256(json.dumps([key, row], sort_keys=True).encode()).hexdigest()[:16]


def line_of(key: str, row: Mapping[str, Any]) -> bytes:
    """A row as it stands in the file."""
    return json.dumps({"key": key, "row": row, "sum": checksum(key, row)}).encode() + b"\n"


def read(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """-> the rows by key (the header under HEADER), and the length of the part that is whole. Errors: BadInput for damage before the last line."""
    rows: dict[str, dict[str, Any]] = {}
    good = 0
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    for number, line in enumerate(lines):
        try:
            entry = json.loads(line)
            key, row = entry["key"], entry["row"]
            whole = line.endswith(b"\n") and isinstance(key, str) and isinstance(row, dict) and entry["sum"] == checksum(key, row)
        except (ValueError, KeyError, TypeError, RecursionError):
            whole = False
        if not whole:
            if number == len(lines) - 1:
                break
            raise BadInput(f"{path}: line {number + 1} is damaged", "remove the file to measure again, or restore it from a copy")
        rows[key] = row
        good += len(line)
    return rows, good


class Journal:
    """An open journal; ``rows`` holds what it had and what was added."""

    def __init__(self, path: Path, file: BinaryIO, rows: dict[str, dict[str, Any]]) -> None:
        self.path, self.file, self.rows = path, file, rows

    @classmethod
    def open(cls, path: Path, about: Mapping[str, Any]) -> Journal:
        """Open or begin the journal of ``about``. Errors: BadInput where it is another's, or damaged."""
        if path.is_symlink() or (path.exists() and not path.is_file()):
            what = "a link" if path.is_symlink() else "no file"
            raise BadInput(f"{path} is {what}: a journal is written to a file of its own", "give another place, or remove it")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)  # through no link
        file = open(handle, "ab")  # noqa: PTH123, SIM115 - kept open
        try:
            return cls._begun(path, file, about)
        except BaseException:
            file.close()
            raise

    @classmethod
    def _begun(cls, path: Path, file: BinaryIO, about: Mapping[str, Any]) -> Journal:
        """Of an open file. Held by its writer until that ends: another one would cut off what comes between its reading and its first line."""
        if not claimed(file):
            raise BadInput(f"another process writes {path}", "wait for its end, then the same command goes on; or give another --out")
        rows, good = read(path)
        head = line_of(HEADER, dict(about))
        if not good and path.is_file() and not head.startswith(path.read_bytes()):  # else: a kill cut off the first line
            raise BadInput(f"{path} does not begin as a journal does", "give another --out, or remove the file")
        known = rows.pop(HEADER, None)
        if rows and known is None:
            raise BadInput(f"{path} does not begin as a journal does", "give another --out, or remove the file")
        if known is not None and known != dict(about):
            changed = [name for name in {*known, *about} if known.get(name) != about.get(name)]
            told = ", ".join(f"{name} {known.get(name)} there, {about.get(name)} here" for name in sorted(changed))
            raise BadInput(f"{path} holds results of something else: {told}", "give another --out, or remove the file to begin again")
        file.truncate(good)
        journal = cls(path, file, rows)
        if known is None:
            journal._write(HEADER, dict(about))
        return journal

    def append(self, key: str, row: Mapping[str, Any]) -> None:
        """Add a result; on return it is on disk."""
        self._write(key, dict(row))
        self.rows[key] = dict(row)

    def _write(self, key: str, row: dict[str, Any]) -> None:
        self.file.write(line_of(key, row))
        self.file.flush()
        os.fsync(self.file.fileno())

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.file.close()
