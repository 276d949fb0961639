"""How many examples a property test draws: a share of its full budget, which stands at the test.

`--long` draws all of them, a usual run a quarter, `--quick` a twentieth (docs/decisions/0027 lists what that is for each test).
TUNEFORK_EXAMPLES=1000 draws a thousand for every hundred of the full budget.
"""

from __future__ import annotations

import os

LONG, USUAL, QUICK = 100, 25, 5
percent = USUAL


def choose(*, long: bool, quick: bool) -> None:
    """Before the test modules are imported: their settings are made then."""
    global percent  # noqa: PLW0603 - one run has one budget
    percent = int(os.environ.get("TUNEFORK_EXAMPLES") or (LONG if long else QUICK if quick else USUAL))


def examples(full: int) -> int:
    """The examples of a test whose full budget is ``full``."""
    return max(1, full * percent // 100)
