"""Run an experiment: pair after pair on this machine, or pairs beside each other on GPUs of their own, going on where it was cut.

What is done is read from the records, which are whole or absent; so a kill at any moment costs the pair it hit. A pair that was cut is
measured again as a whole: its two trials must be next to each other, on the same GPUs. Pairs of several comparisons take turns, so that all
of them see the same hours.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tunefork.base import redact
from tunefork.base.errors import TuneforkError
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.bench.ab import evidence, progress
from tunefork.bench.ab.evidence import Evidence
from tunefork.bench.ab.experiment import Comparison, Experiment
from tunefork.bench.ab.pairs import Scenario, collect, key
from tunefork.bench.ab.plan import Slot, plan
from tunefork.bench.errors import NothingMeasured
from tunefork.bench.machine import devices
from tunefork.bench.machine.gpu_processes import on_devices
from tunefork.bench.machine.spread import Local, Ray, Task, spread
from tunefork.bench.records.schema import Record, utc_now
from tunefork.bench.records.store import Followed, Store

Trial = Callable[[str, Slot, Mapping[str, str]], None]
"""trial(variant, slot, labels): start that variant's server, measure every scenario with slot.seed, write labelled records, stop it."""

GIVE_UP = 2  # failures in a row
ATTEMPTS = 2  # of a pair: one that was spoiled is made once more
FAILURES = "failures.jsonl"
PAIR_DEADLINE_S = 7 * 86_400.0  # what a pair does has deadlines of its own


def run(layout: Layout, store: Store, where: Path, planned: Experiment, scenarios: Iterable[Scenario], trial: Trial, gpus: int, say: Say) -> None:
    """Make every trial that is not done, one at a time. gpus: of a server. NothingMeasured when an arm fails twice in a row."""
    failed: dict[str, int] = {}
    wanted, own = frozenset(scenarios), records_of(store, planned)
    for number in range(ATTEMPTS):
        took = []
        todo = missing(own.all(), planned, wanted, number)
        for place, (comparison, pair) in enumerate(todo, start=1):
            started = time.monotonic()
            with devices.machine(layout.cache, say):
                both(where, planned, comparison, pair, trial, devices.visible()[:gpus], failed, say, number)
            took.append(time.monotonic() - started)
            for line in progress.lines(of(own.all(), comparison), planned, pair, len(todo) - place, statistics.mean(took)):
                say(line)


def run_spread(layout: Layout, store: Store, where: Path, planned: Experiment, scenarios: Iterable[Scenario], gpus: int, place: Local | Ray,
               say: Say) -> None:
    """Make every pair that is not done, beside each other, each on ``gpus`` GPUs that nobody else has. NothingMeasured as in ``run``."""
    failed: dict[str, int] = {}
    wanted, own = frozenset(scenarios), records_of(store, planned)
    for number in range(ATTEMPTS):
        tasks = [worker(layout, where, comparison, pair, number, gpus) for comparison, pair in missing(own.all(), planned, wanted, number)]
        spread_once(tasks, where, place, failed, say)


def spread_once(tasks: Sequence[Task], where: Path, place: Local | Ray, failed: dict[str, int], say: Say) -> None:
    """One attempt at each pair. failed: by comparison, its failures in a row."""
    for ended in spread(tasks, place, say):
        comparison = ended.task.argv[-3]
        failed[comparison] = 0 if ended.good else failed.get(comparison, 0) + 1
        if not ended.good:
            say(f"  {ended.task.name} failed on {ended.host}: {ended.problem or ended.finished.how}; log: {ended.task.log}")
        if failed[comparison] >= GIVE_UP:
            raise NothingMeasured(f"{GIVE_UP} pairs{f' of {comparison}' if comparison else ''} failed in a row",
                                  f"read {where / FAILURES} and {ended.task.log}")


def worker(layout: Layout, where: Path, comparison: Comparison, pair: int, number: int, gpus: int) -> Task:
    """The command that measures one pair (ab/worker.py)."""
    name = f"{f'{comparison.name}, ' if comparison.name else ''}pair {pair + 1}"
    log = where / "trials" / f"{(comparison.name or 'pair').replace(':', '-')}-{pair + 1}{'-again' * number}.log"
    env = {"TUNEFORK_ROOT": str(layout.root), "TUNEFORK_CACHE": str(layout.cache)}
    argv = (sys.executable, "-m", "tunefork.bench.ab.worker", str(where), comparison.name, str(pair), str(number))
    return Task(name, argv, gpus, where / "trials", log, PAIR_DEADLINE_S, env)


def records_of(store: Store, planned: Experiment) -> Followed:
    """The records of an experiment."""
    return Followed(store, lambda record: record.labels.get("experiment") == planned.name)


def of(own: Iterable[Record], comparison: Comparison) -> list[Record]:
    """The records of one comparison. own: the experiment's."""
    return [one for one in own if one.labels.get("comparison", "") == comparison.name]


def missing(own: Sequence[Record], planned: Experiment, scenarios: frozenset[Scenario], number: int = 0) -> list[tuple[Comparison, int]]:
    """The pairs that an attempt (from 0) has still to measure, in the order of the plan: those without a record of every scenario and arm;
    of a second attempt, those of them that the first one spoiled. own: the experiment's records.
    """
    found = []
    for comparison in planned.comparisons:
        records = [evidence.of(one) for one in of(own, comparison)]
        done = finished(records, scenarios, number)
        wanted = set(range(planned.pairs)) if number == 0 else spoiled(records)
        found += [(pair, comparison) for pair in sorted(wanted) if not {(pair, arm) for arm in "AB"} <= done]
    return [(comparison, pair) for pair, comparison in sorted(found, key=lambda one: one[0])]


def spoiled(records: Iterable[Evidence]) -> set[int]:
    """The pairs of a comparison to be made once more; none where every pair is spoiled: once more, it would be too."""
    by_scenario = collect(records).values()
    if not any(pairs.accepted for pairs in by_scenario):
        return set()
    return {bad.pair for pairs in by_scenario for bad in pairs.rejected}


def finished(records: Iterable[Evidence], scenarios: frozenset[Scenario], number: int) -> set[tuple[int, str]]:
    """(pair, arm) of every trial of an attempt that left a record of each scenario; interrupted ones do not count."""
    seen: dict[tuple[int, str], set[Scenario]] = {}
    for record in records:
        if record.status != "interrupted" and int(record.labels.get("attempt", "0")) == number:
            seen.setdefault((int(record.labels["pair"]), record.labels["arm"]), set()).add(key(record))
    return {where for where, found in seen.items() if scenarios <= found}


def both(where: Path, planned: Experiment, comparison: Comparison, pair: int, trial: Trial, gpus: Sequence[str], failed: dict[str, int],
         say: Say, number: int = 0) -> None:
    """The two trials of a pair, in the plan's order. failed: by variant, its failures in a row.  number: of the attempt, from 0."""
    for slot in plan(planned.pairs, planned.seed)[2 * pair : 2 * pair + 2]:
        variant = comparison.a if slot.arm == "A" else comparison.b
        title = f"pair {pair + 1} of {planned.pairs}, arm {slot.arm} ({variant})"
        say(f"{title}{f', {comparison.name}' if comparison.name else ''}{', again: it was spoiled' if number else ''}")
        labels = {"experiment": planned.name, "comparison": comparison.name, "a": comparison.a, "b": comparison.b, "arm": slot.arm,
                  "pair": str(pair), "position": str(slot.position), "look": str(planned.look(pair)), "attempt": str(number),
                  "gpus": ",".join(gpus), "foreign": on_devices(gpus)}
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
        sink.write(json.dumps({name: redact.text(value) for name, value in entry.items()}) + "\n")
