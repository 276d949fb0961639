"""Programs that are not git: a step of a build, with its log; a question, with its answer; and no survivor of either.

``import tunefork.base`` says which way of running a program is for what.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tunefork.base.errors import BuildError
from tunefork.base.files import open_private

if TYPE_CHECKING:
    import subprocess

Say = Callable[[str], None]
"""Tells the user of a step, in one line."""

TAIL_LINES = 15
GRACE_S = 5.0
"""Between one way to end a program and a harder one."""
KILL_S = 5.0
"""How long a killed process may take to go; one that hangs in a driver outlives even SIGKILL."""


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

    Every line is appended to ``log`` as it comes and handed to ``on_line``, without the secrets that the program was given. A
    non-zero exit raises ``error`` with the last lines in its message and the log's path as the remedy. Whatever ends the wait
    early ends all that it started.
    """
    import subprocess  # whoever only names Say does not pay for it

    from tunefork.base import redact

    words = [str(word) for word in argv]
    log.parent.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    secrets = redact.values(words, os.environ if env is None else env)
    with os.fdopen(open_private(log), "a", encoding="utf-8", errors="replace") as sink:
        sink.write(f"\n$ {shlex.join(redact.words(words))}   # cwd {cwd or Path.cwd()}, {time.strftime('%F %T')}\n")
        sink.flush()
        with no_survivor(
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
            for line in child.stdout:
                lines.append(line)
                told = redact.without(line, secrets)
                sink.write(told)
                tail.append(told.rstrip())
                on_line(told.rstrip())
    if child.returncode:
        shown = "\n".join(f"    {redact.text(line)}" for line in tail)
        raise error(f"`{shlex.join(redact.words(words)[:6])}` ended with exit code {child.returncode}:\n{shown}", f"read {log}")
    return "".join(lines)


def ask(
    argv: Sequence[str | Path],
    *,
    words: str | None = None,
    timeout: float | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """What a program answers, whatever its exit code; 127 or 126, as a shell gives them, where it is not there or cannot be started. words: its input.

    subprocess.TimeoutExpired where it takes longer than ``timeout`` seconds.
    """
    import subprocess

    command = [str(word) for word in argv]
    started = False
    try:
        with no_survivor(
            command,
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.DEVNULL if words is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as child:
            started = True
            out, err = child.communicate(words, timeout)
    except OSError as error:
        if started:
            raise
        return subprocess.CompletedProcess(command, 127 if isinstance(error, FileNotFoundError) else 126, "", f"{error.strerror}: {error.filename}")
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def bound(argv: Sequence[str]) -> list[str]:
    """The command, so that it does not outlive this process even when that is killed: it would write on unlocked, or run on unseen."""
    import sys

    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("bound.py")), str(os.getpid()), *argv]


@contextmanager
def no_survivor(argv: Sequence[str], *, gently: bool = True, **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A program in a session of its own, waited for at the end of the block.

    gently: end it as Ctrl-C would, and only then harder.  options: Popen's.

    Where an exception (Ctrl-C is one), SIGTERM or SIGHUP ends the block, all that the program started is ended with it. Of a
    SIGKILL to this process nobody here hears: what may not outlive that runs under a guardian.
    """
    import subprocess

    with terminated_by_exception(), subprocess.Popen(argv, start_new_session=True, **options) as child:
        try:
            yield child
        except BaseException:
            end_session(child, gently=gently)
            if child.stdin is not None:
                with contextlib.suppress(OSError):  # of what was not yet written to it
                    child.stdin.close()
            raise


def end_session(child: subprocess.Popen[Any], *, gently: bool = True) -> None:
    """End the session that a child leads: as Ctrl-C at a terminal would, then harder; an exception meanwhile kills at once."""
    from tunefork.base.guarded import alive, session  # psutil takes time to import, and is seldom needed

    def gone(seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while child.poll() is None or any(map(alive, session(child.pid))):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.02)
        return True

    try:
        for number in (signal.SIGINT, signal.SIGTERM) if gently else ():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, number)
            if gone(GRACE_S):
                return
    finally:
        deadline = time.monotonic() + KILL_S
        while not gone(0.0) and time.monotonic() < deadline:
            for each in session(child.pid):  # again and again: one may start another between the listing and the signal
                with contextlib.suppress(Exception):
                    each.kill()
            time.sleep(0.01)


class Terminated(BaseException):
    """SIGTERM or SIGHUP came, whose default is to end this process without a chance to clean up."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def terminated_by_exception() -> Iterator[None]:
    """Raise Terminated in the block for a signal that would end this process, and let it do so after the block."""
    # Only the main thread may set handlers; who has set one, or ignores the signal (nohup), keeps that.
    numbers = (signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    ours = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _raise_terminated)
    try:
        yield
    except Terminated as end:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), end.number)
        raise
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _raise_terminated(number: int, _frame: FrameType | None) -> None:
    raise Terminated(number)
