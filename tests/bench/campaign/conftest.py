"""A machine of known times in the place of servers: its clock is a number, its records outlive the process that made them."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from loading import module

from tunefork.bench.ab import evidence
from tunefork.bench.ab.outcome import Outcome, outcomes
from tunefork.bench.campaign.candidate import Candidate
from tunefork.bench.campaign.clock import Sources
from tunefork.bench.campaign.cost import Costs
from tunefork.bench.campaign.day import Rules
from tunefork.bench.campaign.plan import planned
from tunefork.bench.campaign.planned import Planned, named
from tunefork.bench.campaign.racing import Arm
from tunefork.bench.campaign.runner import Given, Wanted


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


@dataclass
class Time:
    """Seconds since boot, wall clock, boot."""

    since: float = 1000.0
    wall: float = 1_000_000.0
    boot: str = "first"

    def sources(self) -> Sources:
        return Sources(lambda: self.boot, lambda: self.since, lambda: self.wall)

    def pass_(self, seconds: float) -> None:
        self.since += seconds
        self.wall += seconds


@dataclass
class Fake:
    """As runner.Runner. gains: ln ratios of candidates; an arm's is their sum.  fault: called before each start, may raise or return what is given."""

    folder: Path
    planned: Planned
    time: Time
    samples: ModuleType
    gains: dict[str, float] = field(default_factory=dict)
    noise: float = 0.01
    servers: int = 1
    broken: set[str] = field(default_factory=set)
    fault: Callable[[Wanted], Given | None] = lambda _wanted: None
    after: Callable[[Wanted], None] = lambda _wanted: None
    gate: tuple[bool, str] = (True, "passed")
    developed: tuple[bool, str] = (True, "done")
    made: list[Wanted] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    finals: list[Arm] = field(default_factory=list)
    compared: list[int] = field(default_factory=list)

    def lanes(self) -> int:
        return self.servers

    def prepare(self, name: str, within_s: float) -> tuple[bool, str]:
        self.steps.append(name)
        self.time.pass_(30)
        return self.developed if name == "develop" else (True, "well")

    @property
    def store(self) -> Path:
        return self.folder / "kept.json"

    def kept(self) -> dict[str, Any]:
        return json.loads(self.store.read_text()) if self.store.exists() else {}

    def keep(self, key: str, value: Any) -> None:
        self.store.write_text(json.dumps({**self.kept(), key: value}))

    def gain(self, arm: Arm, key: str) -> float:
        return 5.0 + sum(self.gains.get(name, 0.0) for name in arm) + random.Random(f"{key}{arm}").gauss(0, self.noise)

    def there(self, wanted: Wanted) -> Given | None:
        value = self.kept().get(f"{wanted.block}-{wanted.slot}")
        return None if value is None else Given(value, "", (f"r{wanted.block}-{wanted.slot}",), self.planned.rules.start)

    def start(self, wanted: Sequence[Wanted], within_s: float) -> list[Given]:
        given = []
        for one in wanted:
            self.made.append(one)
            if (odd := self.fault(one)) is not None:
                given.append(odd)
            elif set(one.arm) & self.broken:
                given.append(Given(None, "the server ended before it was ready", (), 1.0))
            else:
                value = self.gain(one.arm, f"{one.block}-{one.slot}")
                if one.block >= 0:
                    self.keep(f"{one.block}-{one.slot}", value)
                given.append(Given(value, "", (f"r{one.block}-{one.slot}",), self.planned.rules.start))
            self.after(one)
        warming = max((self.planned.rules.warming(one.arm) for one in wanted if one.block < 0), default=0.0)
        self.time.pass_(60 * min(self.planned.rules.start + warming, within_s))
        return given

    def pairs(self, arm: Arm, of: int, numbers: Sequence[int], within_s: float) -> list[bool]:
        assert len(numbers) <= self.servers
        self.time.pass_(120 * self.planned.rules.start)
        for number in numbers:
            self.compared.append(number)
            self.keep(f"pair{number}", [self.gain((), f"pair{number}"), self.gain(arm, f"pair{number}"), named(arm)])
            self.after(Wanted(-2, number, arm))
        return [True] * len(numbers)

    def paired(self) -> set[int]:
        return {int(key[4:]) for key in self.kept() if key.startswith("pair")}

    def confirmed(self) -> Outcome | None:
        records = []
        for key, value in self.kept().items():
            if key.startswith("pair"):
                a, b, arm = value
                for side, gain in (("A", a), ("B", b)):
                    labels = {"experiment": self.planned.name, "comparison": "", "a": "reference", "b": arm, "arm": side, "pair": key[4:],
                              "position": "0", "foreign": "", "client": "vllm"}
                    records.append(self.samples.record(len(records), conc=4, factor=math.exp(gain - 5), labels=labels))
        return next(iter(outcomes(map(evidence.of, records))), None)

    def final(self, arm: Arm, within_s: float) -> tuple[bool, str]:
        self.finals.append(arm)
        self.time.pass_(600)
        return self.gate


NAMES = ("good", "fine", "bad", "null1", "null2", "null3")
GAINS = {"good": 0.06, "fine": 0.05, "bad": -0.08}


def plan_of(name: str = "day", hours: float = 8.0, lanes: int = 1, names: Sequence[str] = NAMES, start: float = 5.0, warm: float = 5.0, aa: int = 0,
            gpus: int = 1) -> Planned:
    """A campaign over candidates of these names."""
    candidates = tuple(Candidate(one, "flag", "because", ((f"server.{one}", 1),)) for one in names)
    costs = Costs(start=start, warm=warm, develop=1, gate=5, scenarios=5, tuning=0)
    rules = Rules(tuple(names), {}, start, dict.fromkeys(names, warm), 11.0, 7, lanes=lanes, aa=aa, warm_reference=warm)
    made = planned(rules, hours, costs)
    return Planned(name, "smoke", "base", ("smoke",), hours, gpus, {}, "builtin", "total_token_throughput", 0.01, candidates, (), made.left_out, costs,
                   made.rules, made.steps)


@pytest.fixture(scope="session")
def record_samples() -> ModuleType:
    """tests/bench/report/samples.py."""
    return module("campaign_samples", Path(__file__).parents[1] / "report" / "samples.py")


@dataclass
class Desk:
    """What a test works with."""

    folder: Path
    time: Time
    samples: ModuleType
    Killed: type[BaseException] = Killed
    plan_of: Callable[..., Planned] = plan_of

    def fake(self, made: Planned, **changes: Any) -> Fake:
        return Fake(self.folder, made, self.time, self.samples, **{"gains": GAINS, "servers": made.rules.lanes, **changes})


@pytest.fixture
def desk(tmp_path: Path, record_samples: ModuleType) -> Desk:
    return Desk(tmp_path, Time(), record_samples)
