"""What a campaign does to a machine: its steps, its server starts, its pairs. ``Real`` does it; tests have one of known times."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from tunefork.base.errors import TuneforkError
from tunefork.base.layout import Layout
from tunefork.base.process import Say
from tunefork.base.program import run_program
from tunefork.bench.ab import evidence, experiment
from tunefork.bench.ab import run as runs
from tunefork.bench.ab.experiment import Comparison, Experiment
from tunefork.bench.ab.outcome import Outcome, outcomes
from tunefork.bench.campaign import approval, finalist, starts
from tunefork.bench.campaign.planned import Planned, named
from tunefork.bench.campaign.racing import REFERENCE, Arm
from tunefork.bench.errors import RecordError
from tunefork.bench.machine import devices
from tunefork.bench.machine.spread import Local, Ray, Task, spread
from tunefork.bench.records.schema import Record
from tunefork.bench.records.store import default_store
from tunefork.develop.doctor.doctor import examine

WARMING, PAIR = -1, -2
"""In place of a block's number: a start that fills caches, a pair of the confirmation."""
CONFIRM = "confirm"
"""The folder of the confirmation, an experiment."""


@dataclass(frozen=True)
class Wanted:
    """A start to make. lane: from 0."""

    block: int
    slot: int
    arm: Arm
    lane: int = 0


@dataclass(frozen=True)
class Given:
    """What a start gave. value: ln(score), None with a reason.  machine: the reason is not the arm's (the hours ended, a GPU went): it is made again."""

    value: float | None
    reason: str = ""
    records: tuple[str, ...] = ()
    minutes: float = 0.0
    machine: bool = False


@contextmanager
def bounded(seconds: float) -> Iterator[list[bool]]:
    """A block that ends as by Ctrl-C when its time is up; what it yields is then not empty. Whatever hangs in it, servers are stopped and records written."""
    late: list[bool] = []

    def up(_number: int, _frame: FrameType | None) -> None:
        late.append(True)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield late
    except KeyboardInterrupt:
        if not late:
            raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Runner(Protocol):
    """All that touches the machine."""

    def lanes(self) -> int:
        """How many servers fit beside each other now; 0 where the GPUs are gone."""

    def prepare(self, name: str, within_s: float) -> tuple[bool, str]:
        """A step before the race: doctor, develop or tune. (whether it is well, what it says)"""

    def there(self, wanted: Wanted) -> Given | None:
        """What the records have of a start already."""

    def start(self, wanted: Sequence[Wanted], within_s: float) -> list[Given]:
        """Make starts beside each other."""

    def pairs(self, arm: Arm, of: int, numbers: Sequence[int], within_s: float) -> list[bool]:
        """Pairs of the confirmation beside each other, ``of`` in all; False where a trial failed."""

    def paired(self) -> set[int]:
        """Pairs of the confirmation whose records are whole."""

    def confirmed(self) -> Outcome | None:
        """What the judge says of the pairs there are."""

    def final(self, arm: Arm, within_s: float) -> tuple[bool, str]:
        """Accuracy gate and full scenarios of an arm."""


class Real:
    """On this machine. approved: the digest of what was approved; "" for one that starts nothing."""

    def __init__(self, layout: Layout, where: Path, planned: Planned, say: Say, approved: str = "") -> None:
        self.layout, self.where, self.planned, self.say, self.approved = layout, where, planned, say, approved
        self.store = default_store(layout)
        self.mine = starts.Mine(self.store, planned)

    def lanes(self) -> int:
        if not self.planned.gpus or self.planned.ray:
            return self.planned.rules.lanes  # of a cluster Ray knows which GPUs are there, and waits for one
        return min(len(devices.visible()), self.planned.gpus) // self.planned.per_lane

    def prepare(self, name: str, within_s: float) -> tuple[bool, str]:
        if name == "doctor":
            bad = [one for one in examine(self.layout) if one.ok is False]
            return not bad, "; ".join(f"{one.check}: {one.found}" for one in bad) or "nothing is wrong"
        words = ["develop"] if name == "develop" else ["kernels", "tune", *(word for size in self.planned.tune for word in ("--tp", size))]
        done = self._command(words, name, within_s)
        return done == 0, "done" if done == 0 else f"exit code {done}; read {self._log(name)}"

    def _command(self, words: Sequence[str], name: str, within_s: float) -> int | None:
        """One of our own commands, which is stopped when its time is up (None)."""
        argv = [sys.executable, "-P", "-m", "tunefork.cli.main", *words]
        return run_program(argv, env=self._environment(), cwd=self.layout.root, log=self._log(name), deadline_s=within_s).exit_code

    def _require(self) -> None:
        """BadInput where a profile was changed under the campaign: nobody approved it, and its starts would not compare."""
        if self.approved:
            approval.require(self.planned, self.approved)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "TUNEFORK_ROOT": str(self.layout.root), "TUNEFORK_CACHE": str(self.layout.cache)}

    def _log(self, name: str) -> Path:
        return self.where / "logs" / f"{name}.log"

    def there(self, wanted: Wanted) -> Given | None:
        found = self.mine.of(wanted.block, wanted.slot)
        if len(found) < starts.loads(self.planned) or any(one.status == "interrupted" for one in found):
            return None
        value, reason = starts.score(found, self.planned)
        return Given(value, reason, tuple(one.id for one in found))

    def start(self, wanted: Sequence[Wanted], within_s: float) -> list[Given]:
        self._require()
        if self.planned.rules.lanes == 1 and not self.planned.ray:
            return [self._here(wanted[0], within_s)]
        return self._beside(wanted, within_s)

    def _here(self, one: Wanted, within_s: float) -> Given:
        """In this process, with the machine for itself."""
        begun, reason = time.monotonic(), ""
        with devices.machine(self.layout.cache, self.say), bounded(within_s) as late:
            try:
                starts.measure(self.layout, self.store, self.where, self.planned, one.arm, one.block, one.slot, within_s, self.say)
            except RecordError:
                raise  # a full disk is nobody's fault of the arms
            except TuneforkError as error:
                reason = error.message
        return self._given(one, reason or ("its time was up" if late else ""), (time.monotonic() - begun) / 60, bool(late))

    def _given(self, one: Wanted, reason: str, minutes: float, late: bool) -> Given:
        if one.block == WARMING:
            return Given(None if reason else 0.0, reason, (), minutes, late)
        found = self.mine.of(one.block, one.slot)
        value, why = starts.score(found, self.planned)
        return Given(None if reason else value, reason or why, tuple(record.id for record in found), minutes, late)

    def _beside(self, wanted: Sequence[Wanted], within_s: float) -> list[Given]:
        """Each in a process of its own (worker.py) on GPUs of its own."""
        tasks = {f"{named(one.arm)}, start {one.block}-{one.slot}": one for one in wanted}
        given: dict[Wanted, Given] = {}
        for ended in spread([self._task(name, one, within_s) for name, one in tasks.items()], self._place(), self.say):
            one = tasks[ended.task.name]
            reason = "" if ended.good else ended.problem or f"{ended.finished.how}; read {ended.task.log}"
            given[one] = self._given(one, reason, ended.finished.seconds / 60, ended.finished.exit_code is None)
        return [given[one] for one in wanted]

    def _place(self) -> Local | Ray:
        return Ray(self.planned.ray) if self.planned.ray else Local(devices.visible()[: self.planned.gpus])

    def _task(self, name: str, one: Wanted, within_s: float) -> Task:
        argv = (sys.executable, "-P", "-m", "tunefork.bench.campaign.worker", str(self.where), str(one.block), str(one.slot), f"{within_s:.0f}", *one.arm)
        env = {"TUNEFORK_ROOT": str(self.layout.root), "TUNEFORK_CACHE": str(self.layout.cache)}
        log = self.where / "logs" / f"start-{one.block}-{one.slot}.log"
        arms = (one.arm, REFERENCE) if one.block == PAIR else (one.arm,)
        return Task(name, argv, self.planned.gpus_of(*arms), self.where / "logs", log, within_s, env)

    def _experiment(self, arm: Arm, of: int) -> Experiment:
        """The confirmation as an experiment of bench ab's, which `bench report` knows too."""
        where = self.where / CONFIRM
        if (where / experiment.FILE).is_file():
            return experiment.read(where / experiment.FILE)
        planned = self.planned
        fixed = {**planned.settings().model_dump(mode="json"), "seed": 0, "client": planned.client, "accuracy": False, "kind": "variant"}
        asked = Experiment(planned.name, planned.profile, (Comparison("", named(REFERENCE), named(arm)),), of, planned.rules.seed, planned.metric,
                           planned.threshold, fixed)
        return experiment.begin(where, asked)

    def pairs(self, arm: Arm, of: int, numbers: Sequence[int], within_s: float) -> list[bool]:
        self._require()
        self._experiment(arm, of)
        if self.planned.rules.lanes == 1 and not self.planned.ray:
            with devices.machine(self.layout.cache, self.say):
                return [pair(self.layout, self.where, self.planned, arm, number, within_s, self.say) for number in numbers]
        tasks = [self._task(f"pair {number + 1}", Wanted(PAIR, number, arm), within_s) for number in numbers]
        good = {ended.task.name: ended.good for ended in spread(tasks, self._place(), self.say)}
        return [good[one.name] for one in tasks]

    def paired(self) -> set[int]:
        path = self.where / CONFIRM / experiment.FILE
        if not path.is_file():
            return set()
        planned = experiment.read(path)
        scenarios = frozenset((one.isl, one.osl, conc) for one in self.planned.served(REFERENCE).scenarios for conc in one.conc)
        return set(range(planned.pairs)) - {number for _, number in runs.missing(self._pairs_records(), planned, scenarios)}

    def _pairs_records(self) -> list[Record]:
        return [one for one in self.mine.all() if one.labels.get("experiment") == self.planned.name]

    def confirmed(self) -> Outcome | None:
        return next(iter(outcomes(map(evidence.of, self._pairs_records()), decides=self.planned.metric, threshold=self.planned.threshold)), None)

    def final(self, arm: Arm, within_s: float) -> tuple[bool, str]:
        self._require()
        path = finalist.write(self.where, self.planned, arm)
        code = self._command(["bench", "run", "--profile", str(path), "--variant", self.planned.variant(arm), "--port", "0",
                              "--out", str(self.where / "final")], "final", within_s)
        said = "its time was up" if code is None else finalist.CODES.get(code, f"exit code {code}")
        return code == 0, f"{said}; read {self._log('final')}" if code else said


def pair(layout: Layout, where: Path, planned: Planned, arm: Arm, number: int, within_s: float, say: Say) -> bool:
    """One pair of a confirmation that was begun, on the GPUs that are seen first."""
    asked, failed = experiment.read(where / CONFIRM / experiment.FILE), dict[str, int]()
    with bounded(within_s) as late:
        made = starts.trials(layout, default_store(layout), where / CONFIRM, planned, [REFERENCE, arm], within_s, say)
        gpus = devices.visible()[: planned.gpus_of(arm, REFERENCE)]
        runs.both(where / CONFIRM, asked, asked.comparisons[0], number, made, gpus, failed, say)
    return not late and not any(failed.values())
