"""One start, or one pair of the confirmation, of a campaign in a process of its own, which bench/machine/spread.py begins where its GPUs are.

    python -m tunefork.bench.campaign.worker CAMPAIGN_FOLDER BLOCK SLOT SECONDS [CANDIDATE]...

BLOCK -1 fills caches, BLOCK -2 is the pair SLOT. Exit code 1: the start failed, its reason is on stderr; 130: stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tunefork.base.errors import TuneforkError
from tunefork.base.layout import Layout
from tunefork.bench.campaign import planned, starts
from tunefork.bench.campaign.runner import PAIR, pair
from tunefork.bench.records.store import default_store


def say(line: str) -> None:
    """To the log of this start."""
    print(line, file=sys.stderr, flush=True)


def main(folder: str, block: str, slot: str, seconds: str, *arm: str) -> int:
    """Make the start, or the pair."""
    layout, where = Layout.here(), Path(folder)
    try:
        if int(block) == PAIR:
            return int(not pair(layout, where, planned.read(where), tuple(arm), int(slot), float(seconds), say))
        starts.measure(layout, default_store(layout), where, planned.read(where), tuple(arm), int(block), int(slot), float(seconds), say)
    except TuneforkError as error:
        say(error.told)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
