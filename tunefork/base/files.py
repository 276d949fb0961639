"""Files, replaced in one step: a reader, and whoever comes after a kill, sees the old content or the new one; and read within a bound."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Protocol

from tunefork.base.errors import TuneforkError

COPY_BYTES = 1 << 20


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content in one step; its bytes are on the disk before it has the name. Makes the folder."""
    try:
        replace_content(path, data)
    except OSError as error:
        why = f"cannot write {path}: {error.strerror}"
        raise TuneforkError(why, "make its folder writable, or free space, then run this again") from error


def remove(path: Path) -> None:
    """Remove a file, if it is there."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise TuneforkError(f"cannot remove {path}: {error.strerror}", f"make {path.parent} writable, then run this again") from error


def replace_content(path: Path, data: bytes, fresh: Path | None = None) -> None:
    """``write_atomically`` for callers that say themselves what an OSError means. fresh: as in ``replacing``."""
    with replacing(path, fresh) as made:
        _write(made, data, "wb")  # over what a killed process that had this one's number left


@contextmanager
def replacing(path: Path, fresh: Path | None = None) -> Iterator[Path]:
    """A new file's path, to fill: it becomes ``path`` when the block ends, and goes where the block fails.

    fresh: where it is made instead of beside ``path``; on the same disk. What a kill leaves beside has ".tmp" in its name.
    """
    # Drawn, not only numbered: two containers on one disk have the same process numbers.
    fresh = fresh or path.with_name(f"{path.name}.tmp{os.getpid()}-{os.urandom(4).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield fresh
        os.replace(fresh, path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # the block's own error is the one to tell
            fresh.unlink(missing_ok=True)
        # A write does not say where: the remedy would name another disk. Of an error that only has words these would go.
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def copy_whole(source: Path, target: Path, fresh: Path | None = None) -> None:
    """Copy a file's bytes so that ``target`` is whole or absent, also after a kill or on a full disk. OSError where it cannot be.

    fresh: as in ``replacing``.
    """
    with replacing(target, fresh) as made, source.open("rb") as reader, made.open("wb") as writer:
        shutil.copyfileobj(reader, writer, COPY_BYTES)
        writer.flush()
        os.fsync(writer.fileno())


class Readable(Protocol):
    """A file at hand, or one that unpacks as it is read."""

    def read(self, size: int, /) -> bytes: ...


def open_private(path: str | Path) -> int:
    """A descriptor that appends to a file which its owner alone reads: a log may hold what a program was given. One that was there is closed to others, too."""
    found = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with contextlib.suppress(PermissionError):  # another's file, where root or a group lets us append
        os.fchmod(found, 0o600)
    return found


def read_within(file: Readable, most: int) -> bytes | None:
    """All that a file holds; None where that is more than ``most`` bytes: a small packed file may unpack to more than there is memory."""
    found = file.read(most + 1)
    return found if len(found) <= most else None


def write_synced(path: Path, data: bytes) -> None:
    """A new file, on the disk when this returns. FileExistsError where there is one: of two that write it, one does."""
    _write(path, data, "xb")


def _write(path: Path, data: bytes, mode: Literal["wb", "xb"]) -> None:
    with path.open(mode) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last; some file systems cannot, and need not."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)
