"""A program under a guardian (base/guardian.py), seen from the process that asked for it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tunefork.base import leftover
from tunefork.base.errors import ServeError
from tunefork.base.leftover import MARK
from tunefork.base.ports import describe
from tunefork.base.typed import typed

START_SECONDS = 30.0
KILL_SECONDS = 10.0


@dataclass(frozen=True)
class Stopped:
    """How a stop went. killed: processes that had to be killed.  seconds: from the request until all were gone."""

    killed: int
    seconds: float


class Guarded:
    """One program and its process tree; ``stop`` ends all of it, and so does the end of this process."""

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, grace_s: float
    ) -> None:
        """Start the program. grace_s: seconds between one way to stop it and a harder one."""
        self.grace_s = grace_s
        self.exit_code: int | None = None
        self._said: dict[str, dict[str, Any]] = {}
        self._unread = b""
        leftover.sweep()
        self._mark = secrets.token_hex(8)
        self._note = leftover.note(self._mark)
        self._guardian = subprocess.Popen(
            [sys.executable, "-m", "tunefork.base.guardian"],
            # Not the caller's folder: `python -m` searches it first, and ours have the names of libraries.
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            pass_fds=() if self._note is None else (self._note,),
        )
        try:
            task = {"argv": list(argv), "env": {**env, MARK: self._mark}, "cwd": str(cwd), "log": str(log), "grace_s": grace_s}
            self._tell(json.dumps(task).encode() + b"\n")
            self.pid = self._started(argv[0], log)
        except BaseException:
            # At the end of its input the guardian stops what it has started.
            self._close()
            leftover.let_go(self._note)
            raise

    def _started(self, program: str, log: Path) -> int:
        deadline = time.monotonic() + START_SECONDS
        while "started" not in self._said and time.monotonic() < deadline and self._guardian.poll() is None:
            self.listen(0.2)
        self.listen(0.0)
        if "failed" in self._said:
            raise ServeError(f"cannot start {program}: {self._said['failed']['why']}", "python3 build.py develop")
        if "started" not in self._said:
            ended = self._guardian.poll()
            how = f"said nothing for {START_SECONDS:.0f} s" if ended is None else f"ended with exit code {ended} before it began; what it said is above"
            raise ServeError(f"the guardian of {program} {how}",
                             f"`{typed(sys.executable)} -m tunefork.base.guardian < /dev/null` prints its usage where it starts")
        return int(self._said["started"]["pid"])

    @property
    def running(self) -> bool:
        """Whether the program runs, as far as has been heard."""
        return self.exit_code is None and self._guardian.poll() is None

    def cpu_seconds(self) -> float:
        """User and system time of the program's processes that live now, and of their children that have ended."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                total += sum(process.cpu_times()[:4])
        return total

    def processes(self) -> list[psutil.Process]:
        """All processes of the program that live now."""
        with contextlib.suppress(psutil.Error):
            below = psutil.Process(self._guardian.pid).children(recursive=True)
            return [one for one in below if alive(one)]
        return []

    def listen(self, seconds: float) -> None:
        """Take in what the guardian says within ``seconds``."""
        assert self._guardian.stdout is not None
        ready, _, _ = select.select([self._guardian.stdout], [], [], seconds)
        chunk = os.read(self._guardian.stdout.fileno(), 65536) if ready else b""
        if ready and not chunk and seconds:
            # End of file is always "ready": wait for the guardian's end instead of spinning.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guardian.wait(timeout=seconds)
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        for line in lines:
            said = json.loads(line)
            self._said[said["event"]] = said
            if said["event"] == "exited":
                self.exit_code = said["code"]

    def stop(self) -> Stopped:
        """End the whole tree; a Ctrl-C meanwhile kills at once. ServeError names what even SIGKILL did not end."""
        started = time.monotonic()
        seen = self.processes()
        self._tell(b"stop\n")
        # Two graces, the guardian's own patience after SIGKILL, and some slack.
        deadline = started + 2 * self.grace_s + 45.0
        while self._guardian.poll() is None and time.monotonic() < deadline:
            try:
                self.listen(0.2)
            except KeyboardInterrupt:
                self._tell(b"kill\n")
        self.listen(0.0)
        killed = self._kill_what_is_left(seen)
        left = self._left(seen)
        if left:
            raise ServeError(f"still there after SIGKILL: {', '.join(map(describe, left))}",
                             "a process that SIGKILL does not end hangs in a driver; see `dmesg`")
        leftover.forget(self._mark, self._note)
        self._note = None
        return Stopped(int(self._said.get("stopped", {}).get("killed", 0)) + killed, time.monotonic() - started)

    def _kill_what_is_left(self, seen: list[psutil.Process]) -> int:
        """The last resort, for a guardian that was itself killed or hangs."""
        if self._guardian.poll() is None:
            seen = [*seen, *self.processes()]
            self._guardian.kill()
        self._close()
        self._guardian.wait()
        killed: set[psutil.Process] = set()
        deadline = time.monotonic() + KILL_SECONDS
        while (left := self._left(seen)) and time.monotonic() < deadline:
            for one in left:  # again and again: one may start another between the listing and the signal
                with contextlib.suppress(psutil.Error):
                    one.kill()
            killed |= {*left}
            psutil.wait_procs(left, timeout=0.1)
        return len(killed)

    def _left(self, seen: list[psutil.Process]) -> list[psutil.Process]:
        """What still runs of the program. Where the guardian did not come to its end, what left the session, and the tree, is looked for by its mark."""
        marked = [] if "stopped" in self._said else leftover.marked(self._mark)
        return [one for one in {*seen, *session(self.pid), *marked} if alive(one)]

    def _tell(self, words: bytes) -> None:
        assert self._guardian.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._guardian.stdin.write(words)
            self._guardian.stdin.flush()

    def _close(self) -> None:
        for pipe in (self._guardian.stdin, self._guardian.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()


def alive(process: psutil.Process) -> bool:
    """Whether this very process still runs (a reused pid and a zombie do not count)."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def session(leader: int) -> list[psutil.Process]:
    """The processes of a session."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == leader:
                found.append(process)
    return found
