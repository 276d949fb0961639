"""A step of `develop`, as data: `--dry-run` prints exactly what a real run does, because both read the same steps."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunefork.base.files import write_atomically
from tunefork.base.process import Say, quiet, run
from tunefork.base.waiting import counted, ticking, watched

HEARTBEAT_SECONDS = 15.0
SPOKEN = ("Collecting ", "Downloading ", "Building wheel", "Installing ")
"""How pip's lines begin that say what it does."""


@dataclass(frozen=True)
class Step:
    """One step: first ``writes`` (path -> content), then ``removes`` (glob patterns below ``cwd``), then ``argv`` or ``action``.

    title: what the user sees.  why: one line for --dry-run.  env: what is added to the environment; "" unsets a variable.
    action: what is done in this process where no program is run.
    """

    title: str
    why: str
    cwd: Path
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    writes: Mapping[str, str] = field(default_factory=dict)
    removes: tuple[str, ...] = ()
    action: Callable[[], object] | None = field(default=None, repr=False, compare=False)

    @property
    def command(self) -> str:
        """What --dry-run shows: the command line with its environment, or what is removed or done."""
        lines = [f"write {path}: {'; '.join(content.splitlines())}" for path, content in self.writes.items()]
        lines += [f"rm -rf {pattern}" for pattern in self.removes]
        if self.argv:
            settings = [f"{name}={shlex.quote(value)}" if value else f"-u {name}" for name, value in self.env.items()]
            prefix = ["env", *sorted(settings, key=lambda word: not word.startswith("-u"))] if settings else []
            lines.append(" ".join([*prefix, shlex.join(self.argv)]))
        return "\n".join(lines) or "(in this process)"

    def described(self) -> dict[str, Any]:
        """The step as JSON."""
        return {
            "title": self.title,
            "why": self.why,
            "cwd": str(self.cwd),
            "writes": dict(self.writes),
            "removes": list(self.removes),
            "argv": list(self.argv),
            "env": dict(self.env),
        }


def run_steps(steps: Sequence[Step], *, log: Path, say: Say = quiet) -> None:
    """Run steps in order; the first that fails raises BuildError with the log's last lines."""
    for number, step in enumerate(steps, 1):
        say(f"[{number}/{len(steps)}] {step.title}")
        run_step(step, log=log, say=say)


def run_step(step: Step, *, log: Path, say: Say = quiet) -> None:
    """Run one step; while a long one runs, a line now and then says how far it is."""
    for name, content in step.writes.items():
        write_atomically(Path(name), content.encode())
    for pattern in step.removes:
        for path in sorted(step.cwd.glob(pattern)):
            remove(path)
    if step.argv:
        environment = {**os.environ, **step.env}
        for name in [name for name, value in step.env.items() if not value]:
            environment.pop(name, None)
        beat = Heartbeat(quiet if watched() else say)
        with ticking(step.title, far=lambda: counted(beat.last), now=lambda: beat.last, log=log):
            run(step.argv, log=log, cwd=step.cwd, env=environment, on_line=beat)
    if step.action is not None:
        step.action()


def remove(path: Path) -> None:
    """Remove a file, a link or a folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


class Heartbeat:
    """A Say for a program's output: at most one line in a while, the latest that tells how far a build is."""

    def __init__(self, say: Say, every: float = HEARTBEAT_SECONDS) -> None:
        self.say = say
        self.every = every
        self.next = time.monotonic() + every
        self.last = ""

    def __call__(self, line: str) -> None:
        now = time.monotonic()
        if not (counted(line) or line.startswith(SPOKEN)):
            return
        self.last = line.strip().partition(" (from ")[0][:110]
        if now >= self.next:
            self.next = now + self.every
            self.say(f"    {self.last}")
