"""A load that comes back every few trials is found; noise, drift and the difference of the arms are none."""

from __future__ import annotations

import random

import pytest
from scipy import stats

from tests.bench.report import samples
from tunefork.bench.ab import evidence, rhythm
from tunefork.bench.ab.outcome import as_json, outcomes
from tunefork.bench.ab.plan import plan


def trials(pairs: int, seed: int, *, every: int = 0, effect: float = 1.05, drift: float = 0.0, cv: float = 0.005) -> tuple[list[float], list[str]]:
    """Throughputs of an experiment; every ``every``-th trial is 5 % slower."""
    draw = random.Random(seed)
    arms = [slot.arm for slot in plan(pairs, seed)]
    values = [draw.lognormvariate(0, cv) * (effect if arm == "B" else 1) * (1 + drift * at) * (0.95 if every and at % every == 0 else 1) for at, arm in enumerate(arms)]
    return values, arms


@pytest.mark.parametrize("every", [3, 4, 5])
def test_a_rhythm_is_found_with_its_period(every: int) -> None:
    found = [rhythm.period(*trials(10, seed, every=every)) for seed in range(40)]
    assert sum(one is not None for one in found) >= 28
    assert {one for one in found if one} == {every}


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [4, 6, 10, 20])
def test_noise_with_drift_and_an_effect_has_none(pairs: int) -> None:
    found = [rhythm.period(*trials(pairs, seed, drift=0.003, cv=0.02)) for seed in range(1000)]
    assert sum(one is not None for one in found) <= 30, "about 1 %"


def test_the_f_test_by_hand() -> None:
    assert rhythm.chance(3.0, 1.0, 2, 10) == pytest.approx(stats.f.sf(10.0, 2, 10))
    assert rhythm.chance(1.0, 0.0, 2, 10) == 0.0
    assert rhythm.chance(1.0, 0.5, 0, 10) == rhythm.chance(1.0, 0.5, 1, 1) == 1.0


def test_too_few_or_equal_trials_say_nothing() -> None:
    assert rhythm.period([1.0, 2.0] * 3, ["A", "B"] * 3) is None
    assert rhythm.period([1.0, 2.0] * 6, ["A", "B"] * 6) is None


def test_an_outcome_says_it() -> None:
    records = samples.experiment("x", "base", "only:p", 1.05, pairs=12, concs=(4,), noise=0.001)
    assert outcomes(map(evidence.of, records))[0].scenarios[0].period is None
    slowed = [one.model_copy(update={"metrics": {**one.metrics, "total_token_throughput": one.metrics["total_token_throughput"] * (0.9 if at % 3 == 0 else 1)}})
              for at, one in enumerate(records) if one.metrics]
    found = outcomes(map(evidence.of, slowed))[0]
    assert found.scenarios[0].period == 3
    assert as_json(found)["scenarios"][0]["period"] == 3  # type: ignore[index]
    assert "every 3 trials" in found.notes()[0]
