"""Run an experiment: pair after pair, one trial at a time on this machine, going on where it was cut.

What is done is read from the records, which are whole or absent; so a kill at any moment costs the pair it hit. A pair that was cut is
measured again as a whole: its two trials must be next to each other. Pairs of several comparisons take turns, so that all of them see the
same hours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tunefork.bench.ab.experiment import Experiment
from tunefork.bench.ab.foreign import on_devices
from tunefork.bench.ab.pairs import Scenario, key
from tunefork.bench.ab.plan import Slot, plan
from tunefork.bench.errors import NothingMeasured
from tunefork.bench.records.schema import Record, utc_now
from tunefork.bench.records.store import Store
from tunefork.patchset.errors import TuneforkError
from tunefork.patchset.layout import Layout
from tunefork.patchset.mutex import held
from tunefork.patchset.process import Say

Trial = Callable[[str, Slot, Mapping[str, str]], None]
"""trial(variant, slot, labels): start that variant's server, measure every scenario with slot.seed, write labelled records, stop it."""

GIVE_UP = 2  # failures of one arm in a row
FAILURES = "failures.jsonl"


def run(layout: Layout, store: Store, where: Path, planned: Experiment, scenarios: Iterable[Scenario], trial: Trial, say: Say) -> None:
    """Make every trial that is not done. NothingMeasured when an arm fails twice in a row."""
    wanted = frozenset(scenarios)
    failed: dict[str, int] = {}
    done = finished(store, planned.name, wanted)
    slots = plan(planned.pairs, planned.seed)
    for pair in range(planned.pairs):
        for comparison in planned.comparisons:
            if {(comparison.name, pair, arm) for arm in "AB"} <= done:
                continue
            with held(lock(layout), say, "waiting for another trial on this machine to end"):
                for slot in slots[2 * pair : 2 * pair + 2]:
                    variant = comparison.a if slot.arm == "A" else comparison.b
                    title = f"pair {pair + 1} of {planned.pairs}, arm {slot.arm} ({variant})"
                    say(f"{title}{f', {comparison.name}' if comparison.name else ''}")
                    labels = {"experiment": planned.name, "comparison": comparison.name, "a": comparison.a, "b": comparison.b,
                              "arm": slot.arm, "pair": str(pair), "position": str(slot.position), "foreign": on_devices()}
                    attempt(where, trial, variant, slot, labels, failed, say)


def attempt(where: Path, trial: Trial, variant: str, slot: Slot, labels: Mapping[str, str], failed: dict[str, int], say: Say) -> None:
    """One trial; a failure is written down and the experiment goes on, until the same variant fails again."""
    try:
        trial(variant, slot, labels)
    except TuneforkError as error:
        note(where, labels, error)
        failed[variant] = failed.get(variant, 0) + 1
        say(f"  failed: {error.message}")
        if failed[variant] >= GIVE_UP:
            raise NothingMeasured(f"{variant} failed {GIVE_UP} times in a row; the last: {error.message}",
                                  error.remedy or f"read {where / FAILURES}") from error
    else:
        failed[variant] = 0


def note(where: Path, labels: Mapping[str, str], error: TuneforkError) -> None:
    """Keep a failed trial's reason beside the plan."""
    with (where / FAILURES).open("a", encoding="utf-8") as sink:
        entry = {"at": utc_now().isoformat(), **labels, "kind": type(error).__name__, "message": error.message}
        sink.write(json.dumps(entry) + "\n")


def finished(store: Store, name: str, scenarios: frozenset[Scenario]) -> set[tuple[str, int, str]]:
    """(comparison, pair, arm) of every trial that left a record of each scenario; interrupted and damaged ones do not count."""
    seen: dict[tuple[str, int, str], set[Scenario]] = {}
    for record in store.records():
        if isinstance(record, Record) and record.labels.get("experiment") == name and record.status != "interrupted":
            where = record.labels.get("comparison", ""), int(record.labels["pair"]), record.labels["arm"]
            seen.setdefault(where, set()).add(key(record))
    return {where for where, found in seen.items() if scenarios <= found}


def lock(layout: Layout) -> Path:
    """Held while a pair is measured, by any checkout of this user on this machine."""
    return layout.cache / "trial.lock"
