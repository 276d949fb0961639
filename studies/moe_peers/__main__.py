"""The MoE layer on an H200 beside its peers, in parts that end by themselves; `parts.sh` runs one of them on the device machine.

    python -m studies.moe_peers repeats --seconds 120 --out rows.jsonl
    python -m studies.moe_peers table --tp 8 --seconds 380
    python -m studies.moe_peers others --first 0 --last 14 --seconds 380
    python -m studies.moe_peers clocks --tp 1 --tokens 16384
    python -m studies.moe_peers cold --tp 1

Every row is one JSON line on standard output, and in --out at once.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tunefork.base.errors import MissingTool, TuneforkError

WAYS = ("repeats", "table", "others", "clocks", "cold", "first")


def rows(words: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What was asked for."""
    from studies.moe_peers import timed

    end = time.monotonic() + words.seconds
    if not torch.cuda.is_available():
        raise MissingTool("no GPU: nothing can be timed", "run it on a machine with one")
    tokens = words.tokens
    ways = {
        "repeats": lambda: timed.repeat_rows(words.repeats, end),
        "table": lambda: timed.table_rows(words.tp, tokens or {**timed.CELLS, **timed.OTHER_TPS}[words.tp], words.rounds, end),
        "others": lambda: timed.other_rows(timed.OTHERS[words.first : words.last], words.rounds, end),
        "clocks": lambda: timed.clock_rows(words.tp, (tokens or (16384,))[0], 4.0),
        "first": lambda: timed.first_calls(words.tp, tokens or timed.CAPTURES),
        "cold": lambda: timed.cold_rows(words.tp, tempfile.mkdtemp(prefix="cold-")),
    }
    return ways[words.what]()


def parser() -> argparse.ArgumentParser:
    """The words of all ways."""
    found = argparse.ArgumentParser(prog="python -m studies.moe_peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("what", choices=WAYS)
    found.add_argument("--out", type=Path)
    found.add_argument("--tp", type=int, choices=(1, 2, 4, 8), default=1)
    found.add_argument("--tokens", type=int, nargs="+")
    found.add_argument("--seconds", type=float, default=300.0, help="no cell is begun after so many")
    found.add_argument("--rounds", type=int, default=12)
    found.add_argument("--repeats", type=int, default=120)
    found.add_argument("--first", type=int, default=0, help="of others: cells from this on")
    found.add_argument("--last", type=int)
    return found


def main(argv: list[str] | None = None) -> int:
    words = parser().parse_args(argv)
    try:
        for row in rows(words):
            print(json.dumps(row), flush=True)
            if words.out:
                with words.out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
    except TuneforkError as error:
        print(error.told, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
