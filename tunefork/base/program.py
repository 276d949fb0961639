"""Run a program to its end under a guardian, with a deadline: the client and lm_eval leave no process behind either."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunefork.base import redact
from tunefork.base.guarded import Guarded

LISTEN_S = 0.2
GRACE_S = 5.0
SAMPLE_S = 1.0


@dataclass(frozen=True)
class Finished:
    """How it ended. exit_code: -N for signal N, None when it was stopped.  late: at its deadline.  seconds: by the monotonic clock.

    cpu: about once a second (seconds since the start, CPU seconds of all its processes so far), for programs that ran that long.
    """

    exit_code: int | None
    seconds: float
    late: bool = False
    cpu: tuple[tuple[float, float], ...] = ()

    def cpu_share(self, window_s: float) -> float | None:
        """CPU seconds per second over the last ``window_s``: 1.0 is one core, busy. None where fewer than two samples are in it."""
        inside = [one for one in self.cpu if one[0] >= self.seconds - window_s]
        if len(inside) < 2 or inside[-1][0] == inside[0][0]:
            return None
        return (inside[-1][1] - inside[0][1]) / (inside[-1][0] - inside[0][0])

    @property
    def how(self) -> str:
        """The end in words."""
        if self.exit_code is None and not self.late:
            return "lost its guardian (was that killed?) and was stopped"
        if self.exit_code is None:
            return f"did not end within {self.seconds:.0f} s and was stopped"
        return f"ended with {f'signal {-self.exit_code}' if self.exit_code < 0 else f'exit code {self.exit_code}'}"


def run_program(argv: Sequence[str], *, env: Mapping[str, str], cwd: Path, log: Path, deadline_s: float,
                watch: Callable[[], None] = lambda: None) -> Finished:
    """Run it, its output appended to ``log``. watch is called several times a second; what it raises stops the program.

    What it was given in secret is taken out of the log at its end; until then nobody else may read that.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    cwd.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    program = Guarded(argv, env=env, cwd=cwd, log=log, grace_s=GRACE_S)
    late = False
    cpu: list[tuple[float, float]] = []
    try:
        while program.running and not late:
            program.listen(LISTEN_S)
            watch()
            now = time.monotonic() - started
            late = now > deadline_s
            if program.running and now >= (cpu[-1][0] if cpu else 0.0) + SAMPLE_S:
                cpu.append((now, program.cpu_seconds()))
        program.listen(0.0)
        ended = time.monotonic()
    finally:
        try:
            program.stop()
        finally:
            with contextlib.suppress(OSError):  # a full disk: what the program did counts, and the log is its owner's alone
                redact.clean_file(log, redact.values(argv, env))
    return Finished(None if late else program.exit_code, ended - started, late, tuple(cpu))
