"""The race's numbers by hand, and its rule: who is dropped, who is shown."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tunefork.bench.campaign import racing
from tunefork.bench.campaign.belief import believe
from tunefork.bench.campaign.racing import Start, fit, race, shown, spent


def block(number: int, values: dict[str, float | None], references: tuple[float, ...]) -> list[Start]:
    """Arms and references of a block."""
    made = [((name,), value) for name, value in values.items()] + [((), value) for value in references]
    return [Start(number, slot, arm, value) for slot, (arm, value) in enumerate(made)]


def test_an_effect_is_the_difference_within_its_block() -> None:
    found = fit([*block(0, {"a": 1.10, "b": 0.9}, (1.0,)), *block(1, {"a": 5.12, "b": 4.9}, (5.0,))])
    assert found.effect(("a",)) == pytest.approx(0.11) and found.effect(("b",)) == pytest.approx(-0.1) and found.effect(()) == 0
    assert (found.df, found.starts[("a",)]) == (2, 2)
    assert found.error(("a",)) == pytest.approx(found.sd * math.sqrt(2 / 2), rel=1e-9), "of two differences of two starts"


def test_lanes_of_other_speed_are_in_the_lane() -> None:
    starts = [Start(0, 0, (), 1.0, lane=0), Start(0, 1, (), 1.2, lane=1), Start(0, 2, ("a",), 1.5, lane=1), Start(0, 3, ("a",), 1.3, lane=0)]
    assert fit(starts).effect(("a",)) == pytest.approx(0.3)


def test_a_block_without_the_reference_says_nothing() -> None:
    assert fit(block(0, {"a": 9.0}, ())).arms == ()


def test_errors_are_those_of_simulation() -> None:
    draw = np.random.default_rng(1)
    estimates, errors = [], []
    for _ in range(200):
        found = fit([one for number in range(3) for one in block(number, dict(zip("abc", draw.normal(0, 0.02, 3), strict=True)), tuple(draw.normal(0, 0.02, 2)))])
        estimates.append(found.effect(("a",)))
        errors.append(found.error(("a",)) ** 2)
    assert np.std(estimates) ** 2 == pytest.approx(np.mean(errors), rel=0.3)


def test_a_useful_arm_is_dropped_in_at_most_a_tenth_of_days_and_a_bad_one_soon() -> None:
    """At the edge: an arm that gains just what matters, noise of 3 %, six blocks."""
    draw = np.random.default_rng(2)
    least = math.log1p(0.01)
    dropped = bad = 0
    for _ in range(200):
        starts = [one for number in range(6) for one in block(number, {"edge": least + draw.normal(0, 0.03), "bad": -0.1 + draw.normal(0, 0.03),
                                                                       "c": draw.normal(0, 0.03), "d": draw.normal(0, 0.03)}, tuple(draw.normal(0, 0.03, 2)))]
        out = race(starts, ["edge", "bad", "c", "d"], {}, least)
        dropped += "edge" in out
        bad += "bad" in out and out["bad"].look <= 5
    assert dropped / 200 <= racing.DROP
    assert bad / 200 >= 0.9


@pytest.mark.slow
def test_nothing_is_shown_where_nothing_is_in_more_than_the_race_may() -> None:
    draw = np.random.default_rng(3)
    names = [f"n{number}" for number in range(8)]
    wrong = 0
    for _ in range(200):
        starts: list[Start] = []
        hit = False
        for number in range(3):
            starts += block(number, dict(zip(names, draw.normal(0, 0.02, 8), strict=True)), tuple(draw.normal(0, 0.02, 3)))
            hit |= any(shown(fit(starts), name, len(names), number + 1, math.log1p(0.01)) for name in names)
        wrong += hit
    assert wrong / 200 <= 0.03, "1 % over the day; 200 days have a standard error of 0.7 %"


def test_a_rival_that_is_surely_worse_is_dropped_though_it_gains() -> None:
    values = [block(number, {"a": 0.10 + 0.001 * number, "b": 0.03, "c": 0.0, "d": 0.0}, (0.0, 0.001)) for number in range(3)]
    starts = [one for own in values for one in own]
    free = race(starts, ["a", "b"], {}, math.log1p(0.01))
    assert not free
    out = race(starts, ["a", "b"], {"a": frozenset("b"), "b": frozenset("a")}, math.log1p(0.01))
    assert set(out) == {"b"} and out["b"].reason == "a is better and excludes it"


def test_spending_adds_up() -> None:
    assert sum(spent(0.1, look) for look in range(1, 10_000)) == pytest.approx(0.1, rel=1e-3)


def test_a_failed_start_drops_and_a_later_good_one_does_not() -> None:
    bad = Start(0, 0, ("a",), None)
    assert racing.failed([bad], ("a",)) and not racing.failed([bad, Start(1, 0, ("a",), 1.0)], ("a",))


def test_belief_puts_single_changes_together_and_learns_of_interactions() -> None:
    singles = [one for number in range(4) for one in block(number, {"a": 0.05, "b": 0.04}, (0.0, 0.0))]
    before = believe(singles, ["a", "b"], 0.005)
    assert before.gain(("a", "b")) == pytest.approx(0.09, abs=0.01)
    assert before.better(("a", "b"), ("a",)) > 0.9 and before.better((), ("a",)) < 0.01
    together = [*singles, *(Start(4 + number, slot, arm, value) for number in range(4) for slot, (arm, value) in enumerate([((), 0.0), (("a", "b"), 0.05), (("a",), 0.05)]))]
    after = believe(together, ["a", "b"], 0.005)
    assert after.gain(("a", "b")) < after.gain(("a",)) + 0.02, "best of each is not best together"
    assert after.spread(("a", "b")) < before.spread(("a", "b"))


def test_belief_of_nothing_is_nothing() -> None:
    assert believe([], ["a"], math.inf).gain(("a",)) == 0
