"""The plan: what fits, what does not, that it never goes beyond the hours, and that it is quick."""

from __future__ import annotations

import math
import re
import time
from dataclasses import replace
from typing import Any

import pytest

from tunefork.bench.campaign import cost, day, picture, plan
from tunefork.bench.campaign.cost import DEFAULTS, of_machine
from tunefork.bench.campaign.day import Block, Confirm, Day, Finish, Rules, Warm, decide, finalist
from tunefork.bench.campaign.racing import Start


def rules(count: int, **changes: Any) -> Rules:
    names = tuple(f"c{number}" for number in range(count))
    return replace(Rules(names, {}, 10.0, dict.fromkeys(names, 20.0), 36.0, 1, warm_reference=20.0), **changes)


@pytest.mark.parametrize("lanes", [1, 4, 8])
@pytest.mark.parametrize("hours", [1.5, 3, 5, 8, 24])
def test_the_steps_fit_into_the_hours(hours: float, lanes: int) -> None:
    found = plan.planned(rules(40, lanes=lanes, aa=2), hours, DEFAULTS["gfx950"])
    assert len(found.rules.candidates) + len(found.left_out) == 40
    if found.rules.candidates:
        assert found.minutes <= 60 * hours + 1e-9
        assert all(one.minutes >= 0 and one.decides for one in found.steps)
    assert found.rules.candidates == tuple(f"c{number}" for number in range(len(found.rules.candidates))), "in their order"


def test_more_hours_fit_more() -> None:
    counts = [len(plan.planned(rules(40), hours, DEFAULTS["gfx950"]).rules.candidates) for hours in (3, 6, 12, 24)]
    assert counts == sorted(counts) and counts[0] < counts[-1]


def test_a_short_day_has_no_confirmation_unless_it_is_asked_for() -> None:
    assert not plan.planned(rules(4), 6, DEFAULTS["gfx950"]).rules.confirm
    assert plan.planned(rules(4), 6, DEFAULTS["gfx950"], auto=False).rules.confirm
    assert plan.planned(rules(4), 16, DEFAULTS["gfx950"]).rules.confirm


def test_two_hundred_candidates_take_less_than_a_second() -> None:
    """CPU time of this process: 0.01 s on two cores; with the first decision of the day."""
    begun = time.process_time()
    found = plan.planned(rules(200, lanes=8), 40, DEFAULTS["gfx950"])
    decide(Day(found.rules), 40 * 60)
    assert time.process_time() - begun < 1


def test_nothing_is_begun_that_would_not_end() -> None:
    """Whatever is left, what is decided fits between now and the reserve."""
    own = plan.admitted(rules(6), 12 * 60).rules
    for left in range(0, 720, 7):
        step = decide(Day(own), left)
        free = left - own.reserve
        if isinstance(step, Warm):
            assert own.warm_reference + own.start <= free
        elif isinstance(step, Block):
            assert own.minutes(len(step.slots)) <= free
        else:
            assert isinstance(step, Finish)


def test_the_order_is_drawn_and_the_same_again() -> None:
    arms = [(f"c{number}",) for number in range(9)]
    first = day.drawn(rules(9), 3, arms, 3)
    assert first == day.drawn(rules(9), 3, arms, 3) != day.drawn(rules(9), 4, arms, 3)
    assert sorted(one for one in first if one) == sorted(arms) and first.count(()) == 3
    places = [place for place, arm in enumerate(first) if not arm]
    assert places[0] <= 4 and places[2] >= 7, "in different parts of the block"


def test_costs_are_those_of_this_machine_where_it_has_records(record_samples: Any) -> None:
    slow, host = record_samples.record(1), record_samples.HOST.name
    assert of_machine([slow], "stage2", host, "gfx950", DEFAULTS["gfx950"]) == DEFAULTS["gfx950"], "too few"
    records = [record_samples.record(number, server=slow.server.model_copy(update={"seconds_to_ready": seconds}))
               for number, seconds in enumerate((300.0, 310.0, 1500.0))]
    found = of_machine(records, "stage2", host, "gfx950", DEFAULTS["gfx950"])
    assert found.start == pytest.approx((310 + 60.2) / 60) and found.warm == pytest.approx((1500 - 310) / 60)
    assert found.source == f"3 starts of stage2 on {host}"
    assert of_machine(records, "stage2", "another", "gfx950", DEFAULTS["gfx950"]).source == cost.Costs.source


def test_the_pictures_have_every_step() -> None:
    found = plan.planned(rules(4), 12, DEFAULTS["gfx950"])
    lines = picture.lines(found.steps, 720)
    assert len(lines) == len(found.steps) and all(len(line.split("|")[1]) == picture.WIDTH for line in lines)
    drawn = picture.svg([("race", 0, 30), ("warm <b>", 30, 60)], 60, 45)
    assert drawn.count("<rect") == 3 and "<b>" not in drawn and math.isfinite(len(drawn))


@pytest.mark.parametrize("hours", [1, 8, 12, 24])
def test_the_last_hour_is_written_within_the_picture(hours: int) -> None:
    """At 8 px a digit of its font of 15."""
    ends = []
    for x, end, text in re.findall(r'<text x="([\d.]+)"[^>]*?( text-anchor="end")?>([\d:]+)</text>', picture.svg([], 60 * hours)):
        ends.append(float(x) + (0 if end else 9 * len(text)))
    assert max(ends) <= 1000 and text == f"{hours}:00"


def test_a_finalist_on_other_gpus_than_the_reference_is_not_paired_with_it() -> None:
    """`bench ab` would reject each pair; the day ends with what the race knows, and says why."""
    starts = [Start(block, slot, arm, value) for block in range(6)
              for slot, (arm, value) in enumerate(((("tp2",), 1.3 + block / 1e4), ((), 1.0), (("tp2",), 1.3), ((), 1.0 - block / 1e4)))]
    blocks = [Block(number, "combine", (("tp2",), (), ("tp2",), ())) for number in range(6)]
    alone = Rules(("tp2",), {}, 1.0, {}, 1.0, 1)
    assert isinstance(finalist(Day(alone, blocks=blocks, starts=starts), 100.0), Confirm)
    ended = finalist(Day(replace(alone, resized=frozenset({"tp2"})), blocks=blocks, starts=starts), 100.0)
    assert isinstance(ended, Finish) and "another number of GPUs" in ended.why
