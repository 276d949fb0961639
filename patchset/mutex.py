"""One process at a time: a file lock that says so when it waits, and that a killed process never leaves held."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from tunefork.patchset.process import Say


@contextmanager
def held(path: Path, say: Say, waiting: str) -> Iterator[None]:
    """Hold the lock file ``path`` (made with its folders); ``waiting`` is said once if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
