"""Run one manager call in this process and kill it (SIGKILL) at the N-th step: a git command, a rename, a link or a deletion.

usage: killer.py N ROOT CACHE CALL     where CALL is Python, evaluated with `layout`, `apply`, `export` in reach. Exit 0: the call ended first.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from tunefork.base.layout import Layout
from tunefork.patchset.checkout import apply as applying
from tunefork.patchset.checkout import export as exporting
from tunefork.patchset.checkout import park
from tunefork.patchset.git import Git
from tunefork.patchset.rebase import rebase

left = int(sys.argv[1])


def counted(function: Any) -> Any:
    """The function, killed before its call when the count is up."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        global left  # noqa: PLW0603 - the one counter of this program
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)

    return wrapper


def torn_read_tree(function: Any) -> Any:
    """`read-tree -u` as a kill in its middle leaves it: half of the files written, one of them cut short."""

    def wrapper(self: Git, *args: str, **kwargs: Any) -> Any:
        if args[:3] != ("read-tree", "-m", "-u"):
            return function(self, *args, **kwargs)
        names = function(self, "diff-tree", "-r", "-z", "--name-only", "--no-renames", args[3], args[4]).out.split(b"\0")[:-1]
        for number, name in enumerate(names[: len(names) // 2 + 1]):
            content = function(self, "cat-file", "blob", f"{args[4]}:{os.fsdecode(name)}")
            path = Path(os.fsdecode(os.path.join(os.fsencode(self.directory), name)))
            path.unlink(missing_ok=True)
            if content.code == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.out[: len(content.out) // 2] if number == 0 else content.out)
        os.kill(os.getpid(), signal.SIGKILL)

    return wrapper


if left >= 0:
    Git.run = counted(Git.run)  # type: ignore[method-assign]
    os.replace = counted(os.replace)
    os.link = counted(os.link)
    os.unlink = counted(os.unlink)
else:
    Git.run = torn_read_tree(Git.run)  # type: ignore[method-assign]
eval(sys.argv[4], {
    "layout": Layout(Path(sys.argv[2]), Path(sys.argv[3])), "apply": applying.apply, "export": exporting.export, "lock_or_park": park.lock_or_park,
    "go_on": park.go_on,
    "rebase": rebase,
})  # fmt: skip
