"""git's long conversations: with a remote, or fed with a stream. Progress on the terminal, a deadline, no prompt, no orphan.

The arguments and the environment are those of ``Git``; the process is our own because GitPython shows no progress while it waits.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import IO

from tunefork.base.errors import MissingTool
from tunefork.base.process import bound, end_session, no_survivor
from tunefork.base.visible import visible
from tunefork.patchset.git import Git, Outcome

TAIL_BYTES = 16_384
TIMED_OUT = 124

# English messages, so that reasons can be told apart; a transfer that stalls for a minute is given up.
ENVIRONMENT = {"LC_ALL": "C"}
PATIENCE = {"GIT_HTTP_LOW_SPEED_LIMIT": "1000", "GIT_HTTP_LOW_SPEED_TIME": "60"}

Feed = Callable[[IO[bytes]], None]


def converse(git: Git, *args: str, feed: Feed | None = None, timeout: float | None = None, progress: bool = False) -> Outcome:
    """Run a git command to its end, whatever its exit code.

    feed: writes the command's input.  timeout: seconds until it is stopped (exit code 124).  progress: copy what it says
    to the terminal, if there is one.  Whatever ends the wait early, Ctrl-C included, ends the command and its helpers too.
    """
    if shutil.which("git") is None:
        raise MissingTool("git is not installed", "install git 2.34 or newer")
    environment = {**PATIENCE, **os.environ, **git.environment, **ENVIRONMENT}
    with tempfile.TemporaryFile() as out:
        # In a session of its own ssh finds no terminal to prompt on.
        with no_survivor(
            bound(git.command(args)),
            gently=False,
            cwd=git.directory,
            env=environment,
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
        ) as child:
            tail = bytearray()
            assert child.stderr is not None
            echo = progress and sys.stderr.isatty()
            reader = threading.Thread(target=_collect, args=(child.stderr, tail, echo), daemon=True)
            reader.start()
            code = _finish(child, feed, timeout)
            reader.join(timeout=5)
        out.seek(0)
        return Outcome(code, out.read(), tail.decode("utf-8", "replace"))


def _finish(child: subprocess.Popen[bytes], feed: Feed | None, timeout: float | None) -> int:
    if feed is not None:
        assert child.stdin is not None
        with suppress(BrokenPipeError):  # it stopped reading: its exit code and message say why
            feed(child.stdin)
        with suppress(BrokenPipeError):
            child.stdin.close()
    try:
        return child.wait(timeout)
    except subprocess.TimeoutExpired:
        end_session(child, gently=False)
        return TIMED_OUT


def _collect(source: IO[bytes], tail: bytearray, echo: bool) -> None:
    """Keep the end of what git says, and show it while it says it."""
    with suppress(ValueError, OSError):  # closed by the waiter, who has what he needs
        while chunk := os.read(source.fileno(), 4096):
            tail += chunk
            del tail[:-TAIL_BYTES]
            if echo:
                os.write(2, shown(chunk))


def shown(chunk: bytes) -> bytes:
    """What a remote says, for the terminal: of its controls only the return to the line's begin, with which git draws its progress."""
    return "\r".join(visible(part) for part in chunk.decode("utf-8", "backslashreplace").split("\r")).encode()


def reason(outcome: Outcome, timeout: float | None = None) -> str:
    """Why a conversation with a remote failed, in a few words."""
    if outcome.code == TIMED_OUT and timeout is not None:
        return f"no answer within {timeout:.0f} s"
    lines = [line.strip() for line in re.split(r"[\r\n]+", outcome.err) if line.strip()]
    fatal = [line for line in lines if line.startswith(("fatal:", "error:", "ssh:"))] or lines[-1:]
    if not fatal:
        return f"git ended with exit code {outcome.code}"
    # "fatal: unable to access 'https://...': Could not resolve host: ..." -> what follows the address
    first = re.sub(r"^(fatal|error): ", "", fatal[0])
    return first.partition("': ")[2] or first
