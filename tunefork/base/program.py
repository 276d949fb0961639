"""Run a program to its end under a guardian, with a deadline: the client and lm_eval leave no process behind either."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.guarded import Guarded

LISTEN_S = 0.2
GRACE_S = 5.0


@dataclass(frozen=True)
class Finished:
    """How it ended. exit_code: -N for signal N, None when it was stopped.  late: at its deadline.  seconds: by the monotonic clock."""

    exit_code: int | None
    seconds: float
    late: bool = False

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
    """Run it, its output appended to ``log``. watch is called several times a second; what it raises stops the program."""
    log.parent.mkdir(parents=True, exist_ok=True)
    cwd.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    program = Guarded(argv, env=env, cwd=cwd, log=log, grace_s=GRACE_S)
    late = False
    try:
        while program.running and not late:
            program.listen(LISTEN_S)
            watch()
            late = time.monotonic() - started > deadline_s
        program.listen(0.0)
        ended = time.monotonic()
    finally:
        program.stop()
    return Finished(None if late else program.exit_code, ended - started, late)
