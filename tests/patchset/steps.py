"""The steps of a call of the manager, and a kill at one of them: for every kill test, in this process or in killer.py's."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tunefork.patchset.git import Git

STEPS = ((Git, "run"), (os, "replace"), (os, "rename"), (os, "unlink"), (os, "link"))
"""What is a step: a git command, a rename, a deletion, a link."""


@contextmanager
def counting(last: int) -> Iterator[list[int]]:
    """Count the steps of what is done inside; SIGKILL before the one after ``last``."""
    count = [0]

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*args: object, **kwargs: object) -> object:
            if count[0] >= last:
                os.kill(os.getpid(), signal.SIGKILL)
            count[0] += 1
            return function(*args, **kwargs)

        return wrapper

    plain = [getattr(owner, name) for owner, name in STEPS]
    try:
        for (owner, name), function in zip(STEPS, plain, strict=True):
            setattr(owner, name, counted(function))
        yield count
    finally:
        for (owner, name), function in zip(STEPS, plain, strict=True):
            setattr(owner, name, function)
