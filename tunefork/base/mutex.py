"""One process at a time: a file lock that says so when it waits, and that a killed process never leaves held.

The kernel's flock is used directly: a no-op command spends a tenth of a second on importing the usual library.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunefork.base.process import Say


@contextmanager
def held(path: Path, say: Say, waiting: str) -> Iterator[None]:
    """Hold the lock file ``path`` (made with its folders); ``waiting`` is said once if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file releases it
