"""Which steps (patchset/steps.py) a kill test kills at, and the row that it gives docs/safety.md."""

from __future__ import annotations

import os
import sys

import budgets
import pytest

MOST = 2_000
"""Steps; no command has as many."""


def chosen(sample: int, offset: int = 0, *, sparse: bool = False) -> range:
    """The steps to kill at: every one under ``--long``, every ``sample``-th otherwise.

    TUNEFORK_KILL_EVERY=N asks for every N-th; for fewer than that only where ``sparse``, as CI does. TUNEFORK_KILL_FROM=0 to N-1 are its
    N pieces: together every step, each in a time that a busy machine has.
    """
    usual = 1 if budgets.percent >= budgets.LONG else sample
    asked = int(os.environ.get("TUNEFORK_KILL_EVERY") or usual)
    every = asked if sparse else min(asked, usual)
    return range((offset + int(os.environ.get("TUNEFORK_KILL_FROM") or 0)) % every, MOST, every)


def say_kills(capfd: pytest.CaptureFixture[str], what: str, kills: int, last: int, odd: int = 0) -> None:
    """The row of docs/safety.md, for whoever runs with -s or looks at a log."""
    capfd.readouterr()
    with capfd.disabled():
        print(f"\n{what}: {kills} kills, up to step {last}, {odd} odd", file=sys.stderr)
