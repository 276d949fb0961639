"""One way to run a program that is not git: logged, with its last lines shown when it fails."""

from __future__ import annotations

import shlex
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tunefork.base.errors import BuildError

Say = Callable[[str], None]
"""Tells the user of a step, in one line."""

TAIL_LINES = 15


def quiet(_line: str) -> None:
    """A Say that says nothing, for callers that only want the result."""


def run(
    argv: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    on_line: Say = quiet,
    error: type[BuildError] = BuildError,
) -> str:
    """Run a program to its end and return what it printed (stdout and stderr together).

    Every line is appended to ``log`` as it comes and handed to ``on_line``. A non-zero exit raises ``error`` with the
    last lines in its message and the log's path as the remedy.
    """
    import subprocess  # whoever only names Say does not pay for it

    words = [str(word) for word in argv]
    log.parent.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    with log.open("a", encoding="utf-8", errors="replace") as sink:
        sink.write(f"\n$ {shlex.join(words)}   # cwd {cwd or Path.cwd()}, {time.strftime('%F %T')}\n")
        sink.flush()
        with subprocess.Popen(
            words,
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as child:
            assert child.stdout is not None
            try:
                for line in child.stdout:
                    sink.write(line)
                    lines.append(line)
                    tail.append(line.rstrip())
                    on_line(line.rstrip())
            except BaseException:
                child.kill()
                raise
    if child.returncode:
        shown = "\n".join(f"    {line}" for line in tail)
        raise error(f"`{shlex.join(words[:6])}` ended with exit code {child.returncode}:\n{shown}", f"read {log}")
    return "".join(lines)
