"""Two records beside each other: their numbers with the ratio, and every other field that differs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tunefork.bench.ab import evidence
from tunefork.bench.ab.pairs import machine
from tunefork.bench.records.schema import Record

NUMBERS = ("metrics.", "score.")
IGNORED = ("id", "created", "trial", "batch", "timing.", "telemetry.", "server.log", "server.seconds_to_ready")


@dataclass(frozen=True)
class Number:
    """One number of both; None where a record has none."""

    name: str
    first: float | None
    second: float | None

    @property
    def ratio_shown(self) -> str:
        return f"{self.second / self.first:.4f}" if self.first and self.second is not None else "-"

    @staticmethod
    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.6g}"


@dataclass(frozen=True)
class RecordComparison:
    """warnings: what keeps the numbers from being compared as they stand."""

    first: str
    second: str
    warnings: tuple[str, ...]
    numbers: tuple[Number, ...]
    differences: tuple[tuple[str, str, str], ...]


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """Nested objects as dotted names; lists stay values."""
    if isinstance(value, dict) and value:
        return {key: inner for child, own in value.items() for key, inner in flat(own, f"{name}.{child}" if name else child).items()}
    return {name: value}


def compare(first: Record, second: Record) -> RecordComparison:
    """Compare two records."""
    ours, theirs = flat(first.model_dump(mode="json")), flat(second.model_dump(mode="json"))
    names = list(dict.fromkeys([*ours, *theirs]))
    numbers = tuple(Number(name, number(ours.get(name)), number(theirs.get(name))) for name in names
                    if name.startswith(NUMBERS) and (number(ours.get(name)) is not None or number(theirs.get(name)) is not None))
    differences = tuple((name, shown(ours.get(name)), shown(theirs.get(name))) for name in names
                        if not name.startswith((*NUMBERS, *IGNORED)) and ours.get(name) != theirs.get(name))
    return RecordComparison(first.id, second.id, tuple(warnings(first, second)), numbers, differences)


def warnings(first: Record, second: Record) -> list[str]:
    """What a reader must know before the ratios."""
    found = ["one record of each: how far apart they are, not whether that is noise; `bench ab` decides"]
    one, other = (machine(evidence.of(record)) for record in (first, second))
    if one != other:
        found.append(f"other machines: {one}; {other}")
    load = [one.scenario.model_dump(exclude={"seed"}) for one in (first, second)]
    if load[0] != load[1]:
        differing = (f"{key} {load[0][key]} and {load[1][key]}" for key in load[0] if load[0][key] != load[1][key])
        found.append("other loads: " + ", ".join(differing))
    found += [f"{one.id} {one.status}: {one.problems[0].message}" for one in (first, second) if one.problems]
    return found


def number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def shown(value: Any) -> str:
    """A value in a cell."""
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
