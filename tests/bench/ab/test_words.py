"""Headlines: what was found, in words that need no table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tunefork.bench.ab.judgement import Judgement, Verdict
from tunefork.bench.ab.outcome import Outcome, ScenarioOutcome, as_json, rows
from tunefork.bench.ab.pairs import Rejected
from tunefork.bench.ab.words import better_is, headline, size


def judged(ratio: float | None, verdict: Verdict, metric: str, spread: float = 0.01) -> Judgement:
    lo, hi = (None, None) if ratio is None else (ratio * (1 - spread), ratio * (1 + spread))
    return Judgement(metric, 6, ratio, lo, hi, 0.01, 0.001, 0.001, 0.03, verdict, None)


def outcome(*found: tuple[float | None, Verdict], metric: str = "total_token_throughput", **changes: Any) -> Outcome:
    scenarios = tuple(ScenarioOutcome(1, 1, number, metric, {metric: judged(ratio, verdict, metric)}, (), ()) for number, (ratio, verdict) in enumerate(found))
    return replace(Outcome("x", "", "base", "only:slow-step", "stage2", ("chip",), True, 0.01, scenarios), **changes)


@pytest.mark.parametrize(("found", "says"), [
    (outcome((1 / 2.3, "worse")), "slow-step: 2.3x slower"),
    (outcome((2.3, "worse"), metric="median_tpot_ms"), "slow-step: 2.3x slower"),
    (outcome((1 / 1.062, "better"), metric="median_tpot_ms"), "slow-step: 6.2 % faster"),
    (outcome((1.061, "better"), (1.066, "better")), "slow-step: 6.1 to 6.6 % faster"),
    (outcome((1.5, "better"), (2.5, "better")), "slow-step: 50.0 % to 2.5x faster"),
    (outcome((1.001, "no difference")), "slow-step: no difference above 1 %"),
    (outcome((1.001, "no difference"), threshold=0.025), "slow-step: no difference above 2.5 %"),
    (outcome((1.0, "inconclusive")), "slow-step: not decided, between 1.0 % slower and 1.0 % faster"),
    (outcome((None, "inconclusive")), "slow-step: not decided"),
    (outcome((1.02, "better"), a="without:p", b="all"), "p (in the whole series): 2.0 % faster"),
    (outcome((1.02, "better"), a="http://a", b="http://b"), "http://b against http://a: 2.0 % faster"),
    (outcome((1.0, "no difference"), a="base", b="base"), "base against itself: no difference above 1 %"),
])
def test_headline(found: Outcome, says: str) -> None:
    assert headline(found) == says


def test_a_selection_is_no_verdict() -> None:
    found = outcome((1.5, "better"))
    uneven = replace(found, scenarios=(replace(found.scenarios[0], uneven=True),))
    assert headline(uneven) == "slow-step: no verdict, one arm lost more of its trials than the other"


def test_pairs_that_are_all_spoiled_ask_for_no_more() -> None:
    found = outcome((None, "inconclusive"))
    none = replace(found.scenarios[0].judgements["total_token_throughput"], pairs=0, more_pairs=4)
    scenario = replace(found.scenarios[0], judgements={none.metric: none}, rejected=(Rejected(0, "B failed: in one piece", "B"),))
    spoiled = replace(found, scenarios=(scenario,))
    assert headline(spoiled) == "slow-step: no verdict, every pair was spoiled"
    assert [row[-1] for row in rows(spoiled)] == ["no verdict: every pair was spoiled"]
    assert as_json(spoiled)["scenarios"][0]["more_pairs"] is None  # type: ignore[index]
    waiting = replace(found, scenarios=(replace(scenario, rejected=()),))
    assert [row[-1] for row in rows(waiting)] == ["inconclusive, 4 more pairs should settle it"]


def test_directions() -> None:
    assert (better_is("total_token_throughput"), better_is("median_tpot_ms")) == ("higher is better", "lower is better")
    assert size(0.5) == size(2.0) == "2.0x"
