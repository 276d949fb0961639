"""A whole day on a machine of known times, and ten and more faults: each leaves a right state, and the same command goes on."""

from __future__ import annotations

import json
import resource
from collections import Counter
from typing import Any

import pytest

from tunefork.base.errors import BadInput, MissingTool
from tunefork.bench.campaign import book, planned, run
from tunefork.bench.campaign.clock import DayClock
from tunefork.bench.campaign.day import Block, Day, best
from tunefork.bench.campaign.racing import Start
from tunefork.bench.campaign.result import Result
from tunefork.bench.campaign.runner import Given, Wanted
from tunefork.bench.errors import NothingMeasured, RecordError


def go(desk: Any, made: planned.Planned, runner: Any, said: list[str] | None = None) -> Result:
    """`campaign run`, without its page."""
    told: list[str] = [] if said is None else said
    return run.run(desk.folder, made, runner, told.append, lambda _going, _what: None, desk.time.sources())


def counted(desk: Any) -> Counter[str]:
    """How often each start that counts stands in the book."""
    return Counter(key for key in (json.loads(line)["key"] for line in (desk.folder / book.FILE).read_text().splitlines()) if key.startswith("start:"))


def used(desk: Any) -> float:
    return DayClock(desk.folder / run.CLOCK, desk.time.sources()).used_s() / 60


def after(count: int, what: Any) -> Any:
    """A fault at the start of this number, from 1, and at no other."""
    seen: list[Wanted] = []

    def fault(wanted: Wanted) -> Any:
        seen.append(wanted)
        return what(wanted) if len(seen) == count else None

    return fault


def test_a_day_ends_with_both_that_gain_and_they_are_confirmed(desk: Any) -> None:
    made, runner = desk.plan_of(), None
    runner = desk.fake(made)
    found = go(desk, made, runner)
    assert set(found.arm) >= {"good", "fine"} and "bad" not in found.arm
    assert (found.verdict, found.accepted) == ("better", "passed")
    assert runner.finals == [found.arm]
    advice = {one.name: one.advice for one in found.lines}
    assert advice["bad"] == "drop" and advice["good"] == "merge"
    assert used(desk) <= made.minutes
    assert max(counted(desk).values()) == 1
    assert runner.steps == ["doctor", "develop"]
    again = go(desk, made, runner)
    assert (again.arm, again.verdict) == (found.arm, found.verdict)
    assert runner.finals == [found.arm] and runner.steps == ["doctor", "develop"], "nothing is done twice"


@pytest.mark.slow
@pytest.mark.parametrize("at", range(1, 40, 3))
def test_a_kill_after_the_record_measures_nothing_twice(desk: Any, at: int) -> None:
    """Fault 1: kill -9 between the record and the book."""
    made = desk.plan_of()
    runner = desk.fake(made, after=after(at, lambda _one: (_ for _ in ()).throw(desk.Killed())))
    with pytest.raises(desk.Killed):
        go(desk, made, runner)
    hit = runner.made[-1]
    fresh = desk.fake(made)
    found = go(desk, made, fresh)
    assert set(found.arm) >= {"good", "fine"}
    if hit.block >= 0:
        assert hit not in fresh.made, "its record counts"
    assert max(counted(desk).values()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 9, 17, 25])
def test_a_kill_within_a_start_costs_that_start(desk: Any, at: int) -> None:
    """Fault 2: kill -9 while a server is measured."""
    def kill(_one: Wanted) -> None:
        raise desk.Killed

    made = desk.plan_of()
    runner = desk.fake(made, fault=after(at, kill))
    with pytest.raises(desk.Killed):
        go(desk, made, runner)
    fresh = desk.fake(made)
    found = go(desk, made, fresh)
    assert set(found.arm) >= {"good", "fine"}
    assert [one.arm for one in fresh.made[:1]] == [runner.made[-1].arm], "it is made again, first of all"
    twice = [one for one in runner.made[:-1] if one.block >= 0 and one in fresh.made]
    assert not twice


@pytest.mark.slow
def test_a_torn_last_line_is_dropped(desk: Any) -> None:
    """Fault 3: the kill came while the book was written."""
    made = desk.plan_of()
    runner = desk.fake(made, fault=after(20, lambda _one: (_ for _ in ()).throw(desk.Killed())))
    with pytest.raises(desk.Killed):
        go(desk, made, runner)
    path = desk.folder / book.FILE
    path.write_bytes(path.read_bytes()[:-30])
    fresh = desk.fake(made)
    assert set(go(desk, made, fresh).arm) >= {"good", "fine"}
    assert not [one for one in runner.made[:-1] if one.block >= 0 and one in fresh.made], "the start of the torn line has its record"


def test_damage_in_the_middle_of_the_book_is_told(desk: Any) -> None:
    made = desk.plan_of()
    go(desk, made, desk.fake(made))
    path = desk.folder / book.FILE
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], lines[3][:-20] + "\n", *lines[4:]]))
    with pytest.raises(BadInput, match="line 4 is damaged"):
        go(desk, made, desk.fake(made))


def test_a_reboot_goes_on_by_the_wall_clock(desk: Any) -> None:
    """Fault 4."""
    made = desk.plan_of()
    with pytest.raises(desk.Killed):
        go(desk, made, desk.fake(made, fault=after(12, lambda _one: (_ for _ in ()).throw(desk.Killed()))))
    before = used(desk)
    desk.time.wall += 600
    desk.time.since, desk.time.boot = 20.0, "second"
    said: list[str] = []
    found = go(desk, made, desk.fake(made), said)
    assert any("booted meanwhile; by the wall clock it was away for 10 min" in line for line in said)
    assert set(found.arm) >= {"good", "fine"} and before + 10 < used(desk) <= made.minutes


@pytest.mark.slow
@pytest.mark.parametrize("step", [-86_400.0, 86_400.0])
def test_a_clock_that_is_set_changes_nothing(desk: Any, step: float) -> None:
    """Fault 5: a day back or forth, in the middle and between two runs."""
    def jump(_one: Wanted) -> None:
        desk.time.wall += step

    def kill(_one: Wanted) -> None:
        desk.time.wall += step
        raise desk.Killed

    made = desk.plan_of()
    with pytest.raises(desk.Killed):
        go(desk, made, desk.fake(made, fault=lambda one: jump(one) if one.slot == 2 else after(1, kill)(one) if one.slot == 4 else None))
    begun = desk.time.since
    found = go(desk, made, desk.fake(made))
    assert set(found.arm) >= {"good", "fine"}
    assert used(desk) == pytest.approx((desk.time.since - 1000) / 60) and desk.time.since > begun


def test_a_server_that_never_starts_is_dropped(desk: Any) -> None:
    """Fault 6: a dead arm, warmed in vain twice."""
    made = desk.plan_of()
    runner = desk.fake(made, broken={"fine"})
    found = go(desk, made, runner)
    assert "fine" not in found.arm and "good" in found.arm
    assert next(one for one in found.lines if one.name == "fine").why == "its first start failed"
    assert sum("fine" in one.arm for one in runner.made) == 2


def test_a_server_that_dies_under_load_is_dropped_after_two(desk: Any) -> None:
    """Fault 7: it was warmed, and dies in the race, twice."""
    made = desk.plan_of()
    runner = desk.fake(made, fault=lambda one: Given(None, "the server died") if one.arm == ("good",) and one.block >= 0 else None)
    found = go(desk, made, runner)
    line = next(one for one in found.lines if one.name == "good")
    assert (line.advice, line.why) == ("drop", "its start failed twice") and found.arm


def test_a_start_that_fails_once_is_made_again(desk: Any) -> None:
    made = desk.plan_of()
    runner = desk.fake(made, fault=after(20, lambda _one: Given(None, "the client had no time")))
    found = go(desk, made, runner)
    rows = book.rows(desk.folder)
    assert sum(key.startswith("again:") for key in rows) == 1 and set(found.arm) >= {"good", "fine"}
    assert all(row["value"] is not None for key, row in rows.items() if key.startswith("start:"))


def test_a_kill_between_two_pairs_measures_none_twice(desk: Any) -> None:
    made = desk.plan_of()
    first = desk.fake(made, after=lambda one: (_ for _ in ()).throw(desk.Killed()) if one.block == -2 and one.slot == 2 else None)
    with pytest.raises(desk.Killed):
        go(desk, made, first)
    fresh = desk.fake(made)
    assert go(desk, made, fresh).verdict == "better"
    assert first.compared == [0, 1, 2] and fresh.compared[0] == 3 and len(set(fresh.compared)) == len(fresh.compared)


def test_a_lost_gpu_goes_on_with_the_others_and_blames_nobody(desk: Any) -> None:
    """Fault 8."""
    made = desk.plan_of(lanes=4, hours=5.0, aa=2, gpus=4)

    def lose(one: Wanted) -> Given:
        runner.servers = 3
        return Given(None, "no GPU")

    runner = desk.fake(made, fault=after(14, lose))
    said: list[str] = []
    found = go(desk, made, runner, said)
    assert "1 of 4 lanes are gone; going on with 3" in said
    assert set(found.arm) >= {"good", "fine"}
    rows = book.rows(desk.folder)
    assert all(row["value"] is not None for key, row in rows.items() if key.startswith("start:")) and not any(key.startswith("again:") for key in rows)
    assert max(one.lane for one in runner.made[18:]) == 2, "the four that were begun together had four"


def test_all_gpus_gone_ends_with_the_best_so_far(desk: Any) -> None:
    """Fault 9."""
    made = desk.plan_of()

    def lose(one: Wanted) -> Given:
        runner.servers = 0
        return Given(None, "no GPU")

    runner = desk.fake(made, fault=after(20, lose))
    found = go(desk, made, runner)
    assert found.why == "the GPUs are gone" and found.verdict == "not confirmed" and found.certainty is not None
    runner.servers, runner.fault = 1, lambda _one: None
    assert go(desk, made, runner).verdict == "better", "they came back"


def test_a_start_that_hangs_is_cut_in_time_and_blames_nobody(desk: Any) -> None:
    """Fault 10: it takes all that is left; gate and report still fit."""
    made = desk.plan_of()

    def hang(one: Wanted) -> Given:
        left = made.minutes - (desk.time.since - 1000) / 60 - made.rules.reserve
        desk.time.pass_(60 * (left - made.rules.start))
        return Given(None, "its time was up", machine=True)

    runner = desk.fake(made, fault=after(20, hang))
    found = go(desk, made, runner)
    assert runner.finals == [found.arm] and found.arm
    assert used(desk) <= made.minutes
    assert all(one.advice != "drop" or "failed" not in one.why for one in found.lines)
    assert not any(key.startswith("again:") for key in book.rows(desk.folder)), "it is no try of the arm's"


def test_a_full_disk_stops_and_the_same_command_goes_on(desk: Any) -> None:
    """Fault 11."""
    def full(_one: Wanted) -> None:
        raise RecordError("cannot write record x: No space left on device", "free space")

    made = desk.plan_of()
    with pytest.raises(RecordError, match="No space"):
        go(desk, made, desk.fake(made, fault=after(15, full)))
    found = go(desk, made, desk.fake(made))
    assert set(found.arm) >= {"good", "fine"} and max(counted(desk).values()) == 1


def test_a_failed_develop_stops_and_mended_goes_on(desk: Any) -> None:
    """Fault 12."""
    made = desk.plan_of()
    with pytest.raises(NothingMeasured, match="develop failed: no compiler") as caught:
        go(desk, made, desk.fake(made, developed=(False, "no compiler")))
    assert caught.value.remedy.endswith("python3 build.py campaign run --name day")
    assert set(go(desk, made, desk.fake(made)).arm) >= {"good", "fine"}


def test_too_few_open_files_are_told_before_anything_is_begun(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = desk.plan_of()
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (100, 100))
    with pytest.raises(MissingTool, match="open files, this shell allows 100"):
        go(desk, made, desk.fake(made))
    assert not (desk.folder / book.FILE).exists()


def test_a_missed_gate_proposes_the_reference(desk: Any) -> None:
    """Fault 13."""
    made = desk.plan_of()
    found = go(desk, made, desk.fake(made, gate=(False, "accuracy missed; read final.log")))
    assert found.arm == () and "outside the gate" in found.why


def test_a_reference_that_does_not_start_ends_the_day(desk: Any) -> None:
    made = desk.plan_of()
    found = go(desk, made, desk.fake(made, fault=lambda one: Given(None, "dead") if not one.arm else None))
    assert found.arm == () and found.why == "the reference does not start"


def test_hours_that_are_over_measure_nothing_more(desk: Any) -> None:
    made = desk.plan_of()
    with pytest.raises(desk.Killed):
        go(desk, made, desk.fake(made, fault=after(15, lambda _one: (_ for _ in ()).throw(desk.Killed()))))
    desk.time.pass_(10 * 3600)
    fresh = desk.fake(made)
    found = go(desk, made, fresh)
    assert fresh.made == [] and fresh.finals == [] and found.gain is not None and found.gain > 0


def test_a_change_that_does_far_more_than_expected_is_believed(desk: Any) -> None:
    """One block, two references 0.08 apart, an effect of 0.7 where the prior expects 0.04: it is not shrunk to a fifth."""
    values = {("good",): 0.74, ("fine",): 0.04, ("bad",): -0.26, ("null1",): 0.02, ("null2",): 0.06, ("null3",): 0.04}
    day = Day(desk.plan_of().rules, [Block(0, "race", (*values, (), ()))],
              [Start(0, slot, arm, value) for slot, (arm, value) in enumerate([*values.items(), ((), 0.0), ((), 0.08)])])
    assert day.belief().gain(("good",)) > 0.5 and abs(day.belief().gain(("null1",))) < 0.05
    assert best(day) == ("good",)


def test_neighbours_that_disturb_race_one_at_a_time(desk: Any) -> None:
    made = desk.plan_of(lanes=4, hours=8.0, aa=3, gpus=4)
    runner = desk.fake(made, fault=lambda one: Given(4.5 + 0.001 * one.slot, "", (), 5.0) if one.block == 1 else None)
    said: list[str] = []
    go(desk, made, runner, said)
    assert "neighbours disturb each other: one start at a time from here" in said
    assert max(one.lane for one in runner.made if one.block > 1) == 0


def test_quiet_neighbours_race_side_by_side(desk: Any) -> None:
    made = desk.plan_of(lanes=4, hours=4.0, aa=3, gpus=4)
    runner = desk.fake(made)
    found = go(desk, made, runner)
    assert set(found.arm) >= {"good", "fine"} and found.verdict == "better"
    assert max(one.lane for one in runner.made if one.block > 1) == 3 and len(runner.compared) >= 4 and used(desk) <= made.minutes


@pytest.mark.parametrize("row", [{"minutes": 1}, {}, {"block": "x", "slot": 0, "arm": [], "value": 1.0, "lane": 0, "minutes": 1}, {"arm": None}])
def test_a_row_that_this_version_does_not_write_is_one_line(desk: Any, row: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="does not write"):
        book.day(desk.plan_of(), {"start:0-0": row})
