"""The steps of a call of the manager, and a kill at one of them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tunefork.patchset.git import Git


@contextmanager
def counting(last: int) -> Iterator[list[int]]:
    """Count the steps of what is done inside: git commands, renames, links, deletions; SIGKILL before the one after ``last``."""
    count = [0]

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*args: object, **kwargs: object) -> object:
            if count[0] >= last:
                os.kill(os.getpid(), signal.SIGKILL)
            count[0] += 1
            return function(*args, **kwargs)

        return wrapper

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Git, "run", counted(Git.run))
        for name in ("replace", "rename", "unlink", "link"):
            patch.setattr(os, name, counted(getattr(os, name)))
        yield count
