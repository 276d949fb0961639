"""Run one manager call in this process and kill it (SIGKILL) at the N-th step (steps.py); N = -1: in the middle of a `read-tree -u`.

usage: killer.py N ROOT CACHE CALL     where CALL is Python, evaluated with `layout`, `apply`, `export` in reach. Exit 0: the call ended first.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from steps import counting

from tunefork.base.layout import Layout
from tunefork.patchset.checkout import apply as applying
from tunefork.patchset.checkout import export as exporting
from tunefork.patchset.checkout import park
from tunefork.patchset.git import Git
from tunefork.patchset.rebase import rebase


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


step = int(sys.argv[1])
if step < 0:
    Git.run = torn_read_tree(Git.run)  # type: ignore[method-assign]
with counting(step) if step >= 0 else nullcontext():
    eval(sys.argv[4], {
        "layout": Layout(Path(sys.argv[2]), Path(sys.argv[3])), "apply": applying.apply, "export": exporting.export,
        "lock_or_park": park.lock_or_park, "go_on": park.go_on, "rebase": rebase,
    })  # fmt: skip
