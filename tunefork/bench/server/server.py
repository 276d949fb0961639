"""The server under test: start it, wait until it answers, stop it and all that it started.

    with Server(command, log=path, ready_timeout_s=600) as server:
        print(server.complete("Hello", 16).text)

GET /health and then /v1/models tell when it is ready, and the port must belong to our process tree. Nothing of that tree
survives this process, however it ends (base/guardian.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import psutil

from tunefork.base import leftover, ports, redact
from tunefork.base.errors import ServeError
from tunefork.base.files import open_private
from tunefork.base.guarded import Guarded, Stopped
from tunefork.base.process import Say, quiet
from tunefork.base.waiting import Waiting, watched
from tunefork.bench.server import fetching
from tunefork.bench.server.client import Client, Completion
from tunefork.bench.server.command import ServeCommand
from tunefork.bench.server.logtail import last_lines

POLL_S = 0.25
TAIL_LINES = 20
PORT_RELEASE_S = 5.0
# Seconds after which the wait is spoken of: often at first, then once a minute.
PROGRESS_S = (5, 10, 20, 30, 45, 60)


class Server:
    """One `vllm serve` and its process tree."""

    def __init__(
        self,
        command: ServeCommand,
        *,
        log: Path,
        ready_timeout_s: float,
        grace_s: float = 15.0,
        say: Say = quiet,
    ) -> None:
        """log: where its output goes.  grace_s: seconds between one way to stop it and a harder one."""
        self.command, self.log, self.say = command, log, say
        self.ready_timeout_s, self.grace_s = ready_timeout_s, grace_s
        self.seconds_to_ready = 0.0
        self.stopped: Stopped | None = None
        self.client = Client(command.base_url, command.served_name)
        self._program: Guarded | None = None

    @property
    def base_url(self) -> str:
        return self.command.base_url

    @property
    def pid(self) -> int:
        """Process id of `vllm serve`, which is also its session and process group; 0 before the start."""
        return self._program.pid if self._program else 0

    def processes(self) -> list[psutil.Process]:
        """All processes of the server that live now."""
        return self._program.processes() if self._program else []

    def complete(self, prompt: str, max_tokens: int = 16) -> Completion:
        """A greedy completion."""
        return self.client.complete(prompt, max_tokens)

    def __enter__(self) -> Server:
        try:
            self.start()
        except BaseException as error:
            self._stop_after(error)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop_after(error)

    def _stop_after(self, error: BaseException | None) -> None:
        """Stop; a failure to do so must not hide the error that led here."""
        try:
            self.stop()
        except ServeError as late:
            if error is None:
                raise
            error.add_note(late.message)

    def start(self) -> None:
        """Start the server and return when it answers; ServeError when the port is taken, it ends, or it is too late."""
        leftover.sweep()  # a server of a killed command may hold the port
        ports.require_free(self.command.host, self.command.port)
        for folder in (self.command.cwd, self.log.parent):
            folder.mkdir(parents=True, exist_ok=True)
        with os.fdopen(open_private(self.log), "a", encoding="utf-8") as sink:
            sink.write(f"$ {self.command.shell()}\n")
        started = time.monotonic()
        self._program = Guarded(
            self.command.argv, env=self.command.environment(os.environ), cwd=self.command.cwd, log=self.log,
            grace_s=self.grace_s)
        self._wait_ready(started)
        self.seconds_to_ready = time.monotonic() - started

    def _wait_ready(self, started: float) -> None:
        with Waiting(f"not ready yet, at most {self.ready_timeout_s:.0f} s", now=self._doing, log=self.log) as waiting:
            self._wait_answer(started, waiting)

    def _wait_answer(self, started: float, waiting: Waiting) -> None:
        spoken = 0
        while True:
            waiting.look()
            self._require_running("before it was ready")
            if self.client.healthy():
                return self._check_ours()
            waited = time.monotonic() - started
            if waited > self.ready_timeout_s:
                raise ServeError(f"the server (pid {self.pid}) did not answer within {self.ready_timeout_s:.0f} s"
                                 f"{self._tail()}", f"read {self.log}; to wait longer: --ready-timeout SECONDS")
            due = PROGRESS_S[spoken] if spoken < len(PROGRESS_S) else 60 * (spoken - len(PROGRESS_S) + 2)
            if waited > due and not watched():
                self.say(f"  {waited:.0f} s, not ready yet: {self._doing()}")
                spoken += 1
            time.sleep(POLL_S)

    def _check_ours(self) -> None:
        """That who answers is the server that was started, and serves what was asked for."""
        ours = {process.pid for process in self.processes()}
        listening = ports.listeners(self.command.port)
        if listening and not any(one.pid in ours for one in listening):
            raise ServeError(f"port {self.command.port} is answered by {ports.describe(listening[0])}, not by the "
                             "server that was started", f"--port {ports.free_port(self.command.host)}")
        served = self.client.models()
        if self.command.served_name not in served:
            raise ServeError(f"{self.base_url} serves {', '.join(served) or 'nothing'}, expected "
                             f"{self.command.served_name}", f"read {self.log}")

    def check(self) -> None:
        """ServeError when the server has ended by itself; costs no wait."""
        self._require_running("by itself")

    def _require_running(self, when: str) -> None:
        assert self._program is not None
        self._program.listen(0.0)
        if not self._program.running:
            self._program.listen(0.0)  # its last words, when it ended in between
            raise ServeError(f"the server ended {when} ({how(self._program.exit_code)}){self._tail()}",
                             f"read {self.log}")

    def _doing(self) -> str:
        """What it fetches; else its last words, in which vLLM counts what it loads, compiles (JIT) and captures."""
        return fetching.words(self.command.argv, self.command.environment(os.environ)) or self._last_words()[:120]

    def _last_words(self) -> str:
        last = self._last_lines(1)
        return "it has said nothing" if not last or last[0].startswith("$ ") else last[0]

    def _tail(self) -> str:
        lines = self._last_lines(TAIL_LINES)
        return "; the last lines of its log:\n" + "\n".join(f"    {line}" for line in lines)

    def _last_lines(self, count: int) -> list[str]:
        secrets = self.command.secrets(os.environ)
        return [redact.text(redact.without(line, secrets)) for line in last_lines(self.log, count)]

    def wait(self, keep_on: Callable[[], bool] = lambda: True) -> None:
        """Block while ``keep_on()``, asked every second; ServeError when the server ends by itself."""
        assert self._program is not None
        while keep_on():
            self._require_running("by itself")
            self._program.listen(1.0)

    def stop(self) -> Stopped:
        """Stop the whole tree, check that no process is left and that the port is free; a Ctrl-C meanwhile kills at once."""
        if self.stopped is not None or self._program is None:
            return self.stopped or Stopped(0, 0.0)
        self.client.close()
        try:
            self.stopped = self._program.stop()
        finally:
            redact.clean_file(self.log, self.command.secrets(os.environ))  # vLLM prints the arguments that it was given
        deadline = time.monotonic() + PORT_RELEASE_S
        while not ports.is_free(self.command.host, self.command.port):
            if time.monotonic() > deadline:
                holders = ", ".join(map(ports.describe, ports.listeners(self.command.port))) or "an unknown process"
                raise ServeError(f"the server is gone, but port {self.command.port} is held by {holders}",
                                 "stop that process")
            time.sleep(0.1)
        return self.stopped


def how(exit_code: int | None) -> str:
    """How a program ended, in words."""
    if exit_code is None:
        return "its guardian was killed"
    return f"killed by signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
