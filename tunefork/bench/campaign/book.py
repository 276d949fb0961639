"""The book of a campaign: what was done, a checked line each, on disk before the next thing begins; and the day that it tells of.

    step:NAME       doctor, develop, tune, final: how it went
    warm:ARM        its caches are full, or it does not start
    block:N         which arms in which order, before the first of them starts
    again:N-SLOT    a start failed; it is made once more
    start:N-SLOT    what one start gave
    lanes:K         so many lanes are left
    alone           neighbours disturb each other: one start at a time from here
    confirm, pair:N, finish
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunefork.base.errors import BadInput
from tunefork.bench.campaign.cost import LEAST
from tunefork.bench.campaign.day import Block, Confirm, Day, Rules
from tunefork.bench.campaign.planned import Planned, named
from tunefork.bench.campaign.racing import Arm, Start
from tunefork.bench.kernels.journal import HEADER, Journal, read

FILE = "journal.jsonl"
Rows = Mapping[str, Mapping[str, Any]]


def opened(where: Path, planned: Planned) -> Journal:
    """The book of a campaign, begun or gone on with. BadInput where it is damaged or another's."""
    return Journal.open(where / FILE, {"campaign": planned.name, "seed": planned.rules.seed})


def rows(where: Path) -> Rows:
    """What the book says, for who only looks."""
    found, _ = read(where / FILE)
    return {key: row for key, row in found.items() if key != HEADER}


def day(planned: Planned, book: Rows) -> Day:
    """The day so far. BadInput where the book says what is none."""
    try:
        return told(planned, book)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"the journal of campaign {planned.name} holds a row that this version does not write ({type(error).__name__}: {error})",
                       "plan the campaign again, under another name") from None


def told(planned: Planned, book: Rows) -> Day:
    made = Day(rules(planned.rules, book))
    for key, row in book.items():
        kind, _, rest = key.partition(":")
        if kind == "warm":
            (made.warmed if row["good"] else made.unready).add(arm_of(row["arm"]))
        elif kind == "block":
            made.blocks.append(Block(int(rest), row["kind"], tuple(arm_of(one) for one in row["slots"])))
        elif kind == "start":
            made.starts.append(start_of(row))
        elif kind == "confirm":
            made.confirm = Confirm(arm_of(row["arm"]), int(row["pairs"]))
        elif kind == "pair":
            made.pairs += 1
    return made


def rules(planned: Rules, book: Rows) -> Rules:
    """The rules with the lanes that are left, and with what a start takes here today, once that is known."""
    lanes = min([planned.lanes, *(int(key.partition(":")[2]) for key in book if key.startswith("lanes:"))])
    took = [float(row["minutes"]) for key, row in book.items() if key.startswith("start:") and row["value"] is not None]
    start = statistics.median(took) if len(took) >= LEAST else planned.start
    return replace(planned, lanes=1 if "alone" in book else max(lanes, 1), start=start)


def arm_of(names: list[str]) -> Arm:
    return tuple(names)


def start_of(row: Mapping[str, Any]) -> Start:
    return Start(int(row["block"]), int(row["slot"]), arm_of(row["arm"]), row["value"], int(row["lane"]), float(row["minutes"]))


def start_row(start: Start, reason: str, records: list[str]) -> dict[str, Any]:
    """What is written of a start."""
    assert start.value is None or math.isfinite(start.value)
    return {"block": start.block, "slot": start.slot, "arm": list(start.arm), "value": start.value, "lane": start.lane, "minutes": round(start.minutes, 3),
            "reason": reason, "records": records}


def key_of(arm: Arm) -> str:
    return f"warm:{named(arm)}"
