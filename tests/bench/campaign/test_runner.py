"""The real runner over real processes: a stand-in server that streams at a set pace is started for every arm, by the code that starts vLLM's."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunefork.base.layout import Layout
from tunefork.base.program import Finished
from tunefork.bench.ab import trial
from tunefork.bench.campaign import planned, result, runner, space, starts, worker
from tunefork.bench.campaign.candidate import Candidate
from tunefork.bench.campaign.planned import Planned
from tunefork.bench.campaign.runner import PAIR, WARMING, Real, Wanted
from tunefork.bench.machine import devices
from tunefork.bench.machine.spread import Ended, Ray
from tunefork.bench.records.store import Store

STREAMER = Path(__file__).parents[1] / "ab" / "streamer.py"
PROFILE = """
description = "a server that streams at a set pace"
targets = ["cpu"]
model = "fake"
served_name = "fake"
port = 8000
ready_timeout_s = 60
[server]
pace = "30 good"
[[scenarios]]
isl = 16
osl = 8
conc = [2]
"""
pytestmark = pytest.mark.slow


@pytest.fixture
def made(desk: Any) -> Planned:
    """Two candidates: half the pace, and a server that hangs under load."""
    path = desk.folder / "pace.toml"
    path.write_text(PROFILE)
    candidates = tuple(Candidate(name, "flag", "w", (("server.pace", pace),)) for name, pace in (("fast", "15 good"), ("hangs", "15 hang"), ("dies", "15 dies")))
    plan = desk.plan_of(names=[one.name for one in candidates], hours=24.0)
    race = {"isl": 16, "osl": 8, "conc": [2], "num_prompts": 6}
    return replace(plan, profile=str(path), race=race, gpus=0, candidates=candidates, rules=replace(plan.rules, lanes=1))


@pytest.fixture
def real(desk: Any, made: Planned, monkeypatch: pytest.MonkeyPatch) -> Real:
    """On a root of its own; every variant is the streamer."""
    monkeypatch.setattr(trial, "variant_arm", lambda layout, profile, own, _variant, say: trial.command_arm(
        layout, profile, own, f"{sys.executable} {STREAMER} {{port}} {profile.server['pace']}", say))
    where = desk.folder / "work" / "campaigns" / made.name
    planned.write(where, made)
    return Real(Layout(desk.folder, desk.folder / "cache"), where, made, lambda _line: None)


def test_a_start_leaves_its_records_and_is_there_afterwards(real: Real, made: Planned, desk: Any) -> None:
    slow, fast = Wanted(0, 0, ()), Wanted(0, 1, ("fast",))
    assert real.there(slow) is None
    values = [given.value for one in (slow, fast) for given in real.start([one], 100.0)]
    assert values[0] is not None and values[1] is not None
    assert values[1] - values[0] == pytest.approx(math.log(2), abs=0.35), "half the pace"
    again = Real(real.layout, real.where, made, lambda _line: None)
    kept = again.there(fast)
    assert kept is not None and kept.value == values[1] and len(kept.records) == 1
    records = [Store(desk.folder / "work" / "records").read(one) for one in kept.records]
    assert {one.labels["arm"] for one in records} == {"fast"} and {one.labels["campaign"] for one in records} == {made.name}
    assert real.start([Wanted(WARMING, 0, ("fast",))], 100.0)[0].value == 0.0
    assert again.there(Wanted(WARMING, 0, ("fast",))) is None, "what fills caches does not count"


def test_what_hangs_is_cut_in_time_and_leaves_no_server(real: Real) -> None:
    begun = time.monotonic()
    (given,) = real.start([Wanted(0, 0, ("hangs",))], 8.0)
    assert (given.value, given.machine, given.reason) == (None, True, "its time was up")
    assert 8 <= time.monotonic() - begun < 40
    assert real.there(Wanted(0, 0, ("hangs",))) is None, "it is made again"
    import psutil

    assert not [one for one in psutil.process_iter(["cmdline"]) if str(STREAMER) in (one.info["cmdline"] or []) and "hang" in one.info["cmdline"]]


def test_a_server_that_dies_is_the_arms_fault(real: Real) -> None:
    (given,) = real.start([Wanted(0, 0, ("dies",))], 100.0)
    assert given.value is None and not given.machine and given.reason


def test_pairs_are_an_experiment_of_bench_ab(real: Real, made: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    assert real.paired() == set() and real.confirmed() is None
    assert real.pairs(("fast",), 4, [0], 200.0) == [True] and real.paired() == {0}
    outcome = real.confirmed()
    assert outcome is not None and (outcome.a, outcome.b, outcome.experiment) == ("reference", "fast", made.name)
    assert outcome.scenarios[0].judgements[made.metric].pairs == 1
    assert result.gain(outcome) is None, "one pair has no interval"
    monkeypatch.setenv("TUNEFORK_ROOT", str(real.layout.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(real.layout.cache))
    assert worker.main(str(real.where), "-2", "2", "100", "fast") == 0 and real.paired() == {0, 2}, "in a process of its own, too"


def test_starts_beside_each_other_have_gpus_of_their_own(real: Real, made: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(devices.GIVEN, "0,1")
    wide = replace(made, gpus=2, rules=replace(made.rules, lanes=2))
    two = Real(real.layout, real.where, wide, lambda _line: None)
    assert (two.lanes(), two.planned.per_lane) == (2, 1)
    seen = two.where / "seen"
    script = f"import os, sys; open({str(seen)!r} + os.environ['HIP_VISIBLE_DEVICES'], 'w').write(' '.join(sys.argv[1:])); sys.exit(int('dies' in sys.argv))"
    task = Real._task

    def stand_in(self: Real, name: str, one: Wanted, within_s: float) -> Any:
        asked = task(self, name, one, within_s)
        assert asked.argv[1:4] == ("-P", "-m", "tunefork.bench.campaign.worker")
        return replace(asked, argv=(sys.executable, "-c", script, *asked.argv[4:]))

    monkeypatch.setattr(Real, "_task", stand_in)
    given = two.start([Wanted(0, 0, ("fast",), 0), Wanted(0, 1, ("dies",), 1)], 60.0)
    assert [one.value for one in given] == [None, None] and "exit code 1" in given[1].reason and given[0].reason == "0 of 1 loads were measured"
    assert sorted(path.name for path in two.where.glob("seen*")) == ["seen0", "seen1"]
    assert (two.where / "seen0").read_text().split()[1:] in (["0", "0", "60", "fast"], ["0", "1", "60", "dies"])
    monkeypatch.setenv(devices.GIVEN, "1")
    assert two.lanes() == 1, "a GPU is gone"


def test_a_start_has_as_many_gpus_as_its_arm_takes(real: Real, made: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference takes one, the candidate two: every lane has two, so that two starts of the candidate fit on four."""
    monkeypatch.setenv(devices.GIVEN, "0,1,2,3")
    pair = Candidate("pair", "flag", "w", (("server.tensor-parallel-size", 2),))
    wide = Real(real.layout, real.where, replace(made, gpus=4, candidates=(pair,), rules=replace(made.rules, candidates=("pair",), lanes=2)), lambda _line: None)
    asked = {one: wide._task("t", one, 60.0).gpus for one in (Wanted(0, 0, ()), Wanted(0, 1, ("pair",)), Wanted(PAIR, 0, ("pair",)))}
    assert list(asked.values()) == [1, 2, 2]
    assert wide.lanes() == 2
    monkeypatch.setenv(devices.GIVEN, "0,1,2")
    assert wide.lanes() == 1, "a GPU is gone"


def test_together_two_candidates_take_no_more_gpus_than_there_are(made: Planned) -> None:
    wide = [Candidate(name, "flag", "w", ((f"server.{flag}", 4),)) for name, flag in (("t", "tensor-parallel-size"), ("d", "data-parallel-size"))]
    apart = {gpus: planned.rivals(wide, made.served(()), space.Space((), (), ()), gpus)["t"] for gpus in (8, 16, 0)}
    assert apart == {8: frozenset({"d"}), 16: frozenset(), 0: frozenset()}


def test_a_clusters_gpus_are_rays_to_give(real: Real, made: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def stand_in(tasks: Any, place: Any, _say: Any) -> Any:
        asked.append((place, [task.gpus for task in tasks]))
        return iter([Ended(task, "host", (), Finished(0, 1.0)) for task in tasks])

    monkeypatch.setattr(runner, "spread", stand_in)
    far = Real(real.layout, real.where, replace(made, gpus=4, ray="10.0.0.1:6379", rules=replace(made.rules, lanes=4)), lambda _line: None)
    assert far.lanes() == 4
    assert [one.reason for one in far.start([Wanted(0, 0, ()), Wanted(0, 1, ("fast",), 1)], 9.0)] == ["0 of 1 loads were measured"] * 2
    assert far.pairs(("fast",), 4, [0, 1], 9.0) == [True, True]
    assert asked == [(Ray("10.0.0.1:6379"), [1, 1])] * 2


def test_the_worker_makes_one_start(real: Real, made: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEFORK_ROOT", str(real.layout.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(real.layout.cache))
    assert worker.main(str(real.where), "2", "1", "100", "fast") == 0
    assert real.there(Wanted(2, 1, ("fast",))) is not None
    assert worker.main(str(real.where), "2", "2", "100", "dies") == 1


def test_throughput_counts_per_gpu_and_less_latency_is_more() -> None:
    assert starts.value_of({"total_token_throughput": 800.0}, "total_token_throughput", 8) == pytest.approx(math.log(100))
    assert starts.value_of({"median_tpot_ms": 10.0}, "median_tpot_ms", 8) == pytest.approx(-math.log(10))
    assert starts.value_of({"median_tpot_ms": 0.0}, "median_tpot_ms", 1) is None


