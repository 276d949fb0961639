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
from collections.abc import Callable, Mapping
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
MOST, LN_MOST = 1e9, 700.0
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


def number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST


def whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < MOST


def names(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


FIELDS: dict[str, Callable[[Any], bool]] = {
    "minutes": lambda value: number(value) and value >= 0, "value": lambda value: value is None or (number(value) and abs(value) < LN_MOST),
    "block": whole, "slot": whole, "lane": whole, "pairs": whole, "arm": names, "records": names,
    "slots": lambda value: isinstance(value, list) and all(map(names, value)),
    **dict.fromkeys(("note", "reason", "why", "kind"), lambda value: isinstance(value, str)),
}  # fmt: skip
"""What the fields of rows hold: a book may have been handed over, with sums that are right."""
NEEDED = {"start": ("block", "slot", "arm", "value", "lane", "minutes", "reason"), "warm": ("arm", "good"), "block": ("kind", "slots"),
          "confirm": ("arm", "pairs"), "step": ("note",)}  # fmt: skip
"""What rows of a kind have."""


def refuse_odd(planned: Planned, book: Rows) -> None:
    """ValueError for a row that no campaign writes: what reads the book asks no more."""
    known = {one.name for one in planned.candidates}
    for key, row in book.items():
        if missing := [field for field in NEEDED.get(key.partition(":")[0], ()) if field not in row]:
            raise ValueError(f"{key}: it has no {missing[0]}")
        for field, value in row.items():
            if field in FIELDS and not FIELDS[field](value):
                raise ValueError(f"{key}: {field} is {str(value)[:40]!r}")
        for arm in [row.get("arm", []), *row.get("slots", [])]:
            if not set(arm) <= known:
                raise ValueError(f"{key}: no candidate is called {' or '.join(sorted(set(arm) - known))[:80]!r}")


def told(planned: Planned, book: Rows) -> Day:
    refuse_odd(planned, book)
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
    if [block.number for block in made.blocks] != list(range(len(made.blocks))):
        raise ValueError("its blocks are not counted from 0")
    for start in made.starts:
        if not (0 <= start.block < len(made.blocks) and 0 <= start.slot < len(made.blocks[start.block].slots)):
            raise ValueError(f"start:{start.block}-{start.slot} is in no block")
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
