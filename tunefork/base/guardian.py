"""The guardian: a small process between build.py and the server that leaves no process behind, whoever dies first.

    python -m tunefork.base.guardian

The first line of its standard input is a JSON object: "argv", "env" (the whole environment), "cwd", "log", "grace_s". It starts
that program in its own session with both outputs appended to the log, and makes itself the reaper of everything below: a process
whose parent dies becomes the guardian's child, so that "no child is left" means that nothing is. It stops the whole tree
(SIGINT to the program's group, SIGTERM, then SIGKILL to all, grace_s seconds apart) when it reads "stop", when the program ends,
at a SIGTERM, and when its standard input closes - which is what the kernel does when build.py is killed. "kill" skips the grace.
It tells what happened on standard output, one JSON object a line:

    {"event": "started", "pid": 12}    {"event": "exited", "code": 0}    {"event": "stopped", "killed": 0, "left": 0}

An exit by signal N has code -N. Standard library and psutil only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import Any

import psutil

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
KILL_SECONDS = 30.0
"""How long a killed process may take to go; one that hangs in a driver call outlives SIGKILL."""


def prctl(option: int, value: int) -> None:
    """Linux' prctl; elsewhere the guardian still stops what it can list."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def tell(event: str, **fields: int) -> None:
    """One event to build.py, which may no longer be there."""
    with contextlib.suppress(OSError):
        os.write(1, (json.dumps({"event": event, **fields}) + "\n").encode())


class Guardian:
    """One program and all that it starts."""

    def __init__(self, task: dict[str, Any], heard: bytes) -> None:
        """task: the first line.  heard: what was read beyond it."""
        self.grace_s = float(task["grace_s"])
        self.wake = self._signals()
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        # Only its owner reads it, also where it was there: what a program prints may hold what it was given (as files.open_private).
        with os.fdopen(os.open(task["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as sink:
            with contextlib.suppress(PermissionError):
                os.fchmod(sink.fileno(), 0o600)
            self.program = subprocess.Popen(
                task["argv"], env=task["env"], cwd=task["cwd"], stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
                start_new_session=True, preexec_fn=self._child)  # noqa: PLW1509 - this process has one thread
        self.exited = False
        self.asked: str | None = None
        self.listening = True
        self._hear(heard)
        tell("started", pid=self.program.pid)

    @staticmethod
    def _signals() -> int:
        """Let SIGCHLD and SIGTERM wake the loop through a pipe; Ctrl-C is build.py's business."""
        reading, writing = os.pipe()
        for end in (reading, writing):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(writing)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for one in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(one, lambda _number, _frame: None)
        return reading

    @staticmethod
    def _child() -> None:
        """In the program before exec: should the guardian itself be killed, the program is told to end."""
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def _reap(self) -> None:
        """Collect every child that has ended, the program's exit code among them."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self.program.pid:
                self.exited = True
                self.program.returncode = os.waitstatus_to_exitcode(status)
                tell("exited", code=self.program.returncode)

    def _wait(self, seconds: float | None) -> None:
        """Sleep until a child ends, a signal or a word comes, or time is up."""
        ears = [self.wake, *([0] if self.listening else [])]
        ready, _, _ = select.select(ears, [], [], seconds)
        if self.wake in ready:
            numbers = os.read(self.wake, 4096)
            if signal.SIGTERM in numbers or signal.SIGHUP in numbers:
                self.asked = self.asked or "stop"
        if 0 in ready:
            words = os.read(0, 4096)
            self.listening = bool(words)
            self._hear(words or b"stop")
        self._reap()

    def _hear(self, words: bytes) -> None:
        if b"kill" in words:
            self.asked = "kill"
        elif b"stop" in words:
            self.asked = self.asked or "stop"

    def _left(self) -> list[psutil.Process]:
        """All living processes below the guardian."""
        left = []
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if process.status() != psutil.STATUS_ZOMBIE:
                    left.append(process)
        return left

    def _gone_within(self, seconds: float) -> bool:
        """Wait for the tree to end, unless "kill" comes first."""
        deadline = time.monotonic() + seconds
        while self._left():
            remaining = deadline - time.monotonic()
            if remaining <= 0 or self.asked == "kill":
                return False
            self._wait(min(remaining, 0.1))
        return True

    def _signal_group(self, number: signal.Signals) -> None:
        """To the program's process group: what a terminal does at Ctrl-C."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.program.pid, number)

    def _signal_all(self, number: signal.Signals) -> int:
        """To every process below, whichever group it moved to."""
        count = 0
        for process in self._left():
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
                count += 1
        return count

    def stop(self) -> None:
        """End the whole tree and say how many had to be killed."""
        killed = 0
        if self.asked != "kill":
            self._signal_group(signal.SIGINT)
            if not self._gone_within(self.grace_s) and self.asked != "kill":
                self._signal_all(signal.SIGTERM)
                self._gone_within(self.grace_s)
        deadline = time.monotonic() + KILL_SECONDS
        while self._left() and time.monotonic() < deadline:
            # Again and again: a process may start another between the listing and the signal.
            killed += self._signal_all(signal.SIGKILL)
            self._wait(0.1)
        self._reap()
        tell("stopped", killed=killed, left=len(self._left()))

    def run(self) -> None:
        """Sleep until there is a reason to stop, then stop."""
        while not self.exited and self.asked is None:
            self._wait(None)
        self.stop()


def first_line() -> tuple[dict[str, Any], bytes]:
    """The task, and what came after it; without a reader's buffer, which would hide words from select."""
    heard = b""
    while b"\n" not in heard:
        chunk = os.read(0, 65536)
        if not chunk:
            sys.exit(f"usage: {__doc__}")
        heard += chunk
    line, rest = heard.split(b"\n", 1)
    return json.loads(line), rest


def main() -> int:
    """See the module's text."""
    task, heard = first_line()
    try:
        guardian = Guardian(task, heard)
    except OSError as error:
        print(json.dumps({"event": "failed", "why": str(error)}), flush=True)
        return 1
    guardian.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
