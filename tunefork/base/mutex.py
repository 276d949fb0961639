"""A file lock between processes that says so when it waits, and that a killed process never leaves locked.

The kernel's flock is used directly: a no-op command spends a tenth of a second on importing the usual library.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tunefork.base.errors import TuneforkError
from tunefork.base.process import Say
from tunefork.base.typed import typed

PATIENCE_S = 60.0
"""For a folder, which is held for a few reads or writes of files."""


def opened(path: Path) -> IO[str]:
    """The file, made where it is not there; another user's, who may be the first on a shared machine, is locked without writing."""
    try:
        return path.open("a")
    except PermissionError:
        return path.open("r")


@contextmanager
def locked(path: Path, say: Say, waiting: str, *, shared: bool = False) -> Iterator[None]:
    """Lock the file ``path`` (made with its folders) for the block; ``waiting`` is said once if another process has it.

    shared: beside others that share it, and never beside one that does not.
    """
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened(path) as file:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(file, how)
        yield  # closing the file releases it


def busy(path: Path) -> bool:
    """Whether somebody holds the lock alone just now; nothing is made for the question."""
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def claimed(file: IO[Any]) -> bool:
    """Lock an open file until it is closed, without waiting: whether nobody else has it. Where files cannot be locked, nobody is known to."""
    with contextlib.suppress(OSError):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@contextmanager
def folder(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a folder itself for a few reads (shared) or writes, so that nobody reads between two writes that belong together.

    Without a word: who holds it is soon done; TuneforkError where one is not (a stopped process, or another user's: whoever may read a folder may hold it).
    No file is made for it, so it can be read where nothing can be written. A folder that is not there, or that its file system cannot lock (NFS takes no
    writer's lock on one), is not held.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, handle)  # which releases it
            take(path, handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def take(path: Path, handle: int, how: int) -> None:
    """Lock an open folder, within PATIENCE_S."""
    late = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > late:
                raise TuneforkError(f"another process has held {path} for {PATIENCE_S:.0f} s", f"see who: fuser -v {typed(path)}") from None
            time.sleep(0.02)
        else:
            return
