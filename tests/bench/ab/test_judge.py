"""The judge on numbers worked by hand, on known truths, and at its edges."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from scipy import stats

from tunefork.bench.ab import judge, judgement


def pairs(*ratios: float, a: float = 100.0) -> list[tuple[float, float]]:
    return [(a, a * ratio) for ratio in ratios]


def test_estimate_and_interval_are_those_of_scipys_one_sample_t() -> None:
    ratios = (1.05, 1.02, 1.08, 1.04, 1.06, 1.01)
    found = judge.judge("total_token_throughput", {"s": pairs(*ratios)})["s"]
    logs = np.log(ratios)
    reference = stats.ttest_1samp(logs, 0.0)
    low, high = reference.confidence_interval(0.95)
    assert found.ratio == pytest.approx(math.exp(logs.mean()))
    assert (found.lo, found.hi) == (pytest.approx(math.exp(low)), pytest.approx(math.exp(high)))
    assert found.p == pytest.approx(reference.pvalue)
    assert found.p_sign_flip == pytest.approx(2 / 64), "all six of one sign"
    assert (found.verdict, found.pairs, found.more_pairs) == ("better", 6, 0)


@pytest.mark.parametrize(("metric", "verdict"), [("total_token_throughput", "better"), ("median_tpot_ms", "worse"),
                                                 ("median_ttft_ms", "worse"), ("median_e2el_ms", "worse")])
def test_more_is_better_for_rates_and_worse_for_times(metric: str, verdict: str) -> None:
    assert judge.judge(metric, {0: pairs(1.10, 1.11, 1.09, 1.10)})[0].verdict == verdict
    other = {"better": "worse", "worse": "better"}[verdict]
    assert judge.judge(metric, {0: pairs(0.90, 0.91, 0.89, 0.90)})[0].verdict == other


def test_a_significant_difference_below_the_threshold_is_no_difference() -> None:
    found = judge.judge("total_token_throughput", {0: pairs(1.004, 1.005, 1.006, 1.005)})[0]
    assert found.p is not None and found.p < 0.05
    assert found.verdict == "no difference"
    assert judge.judge("total_token_throughput", {0: pairs(1.004, 1.005, 1.006, 1.005)}, threshold=0.003)[0].verdict == "better"


def test_noise_is_inconclusive_and_says_how_many_pairs_more() -> None:
    found = judge.judge("total_token_throughput", {0: pairs(1.10, 0.95, 1.08, 0.99, 1.07, 0.97)})[0]
    assert found.verdict == "inconclusive"
    assert found.more_pairs is not None and found.more_pairs > 10


def test_identical_values_are_no_difference_and_identical_gains_a_gain() -> None:
    assert judge.judge("total_token_throughput", {0: pairs(1.0, 1.0, 1.0, 1.0)})[0].verdict == "no difference"
    same = judge.judge("total_token_throughput", {0: pairs(1.25, 1.25, 1.25, 1.25)})[0]
    assert same.verdict == "better"
    assert same.lo == pytest.approx(1.25)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_pairs_decide_nothing(count: int) -> None:
    found = judge.judge("total_token_throughput", {0: pairs(*[2.0] * count)})[0]
    assert (found.verdict, found.lo, found.more_pairs) == ("inconclusive", None, 4 - count)


@pytest.mark.parametrize("count", [2, 3])
def test_fewer_than_four_pairs_give_no_verdict_however_equal_they_are(count: int) -> None:
    found = judge.judge("total_token_throughput", {0: pairs(*[2.0] * count)})[0]
    assert (found.verdict, found.p, found.more_pairs) == ("inconclusive", 0.0, 4 - count)


def test_a_sign_flip_that_does_not_agree_takes_a_verdict_back() -> None:
    found = judge.judge("total_token_throughput", {0: pairs(1.05, 1.02, 1.08, 0.999, 1.06, 1.04)})[0]
    assert found.p is not None and found.p < 0.04
    assert (found.p_sign_flip, found.verdict) == (4 / 64, "inconclusive")


def test_a_second_look_wants_more_and_a_third_decides_nothing() -> None:
    near = {0: pairs(1.05, 1.02, 1.08, 1.015, 1.06, 1.01, 1.03, 0.995)}
    found = {look: judge.judge("total_token_throughput", near, look=look)[0] for look in (1, 2, 3)}
    assert 0.01 < (found[1].p or 0) < 0.04
    assert [one.verdict for one in found.values()] == ["better", "inconclusive", "inconclusive"]
    clear = {0: pairs(*[1.2, 1.21, 1.19, 1.2] * 2)}
    assert [judge.judge("total_token_throughput", clear, look=look)[0].verdict for look in (1, 2, 3)] == ["better", "better", "inconclusive"]
    assert judge.judge("total_token_throughput", near, look=2)[0].more_pairs is None, "more would decide nothing"


def test_more_pairs_are_as_many_as_the_second_look_needs() -> None:
    found = judge.judge("total_token_throughput", {0: pairs(1.3, 1.31, 1.29, 0.9999, 1.3, 1.3)})[0]
    assert found.verdict == "inconclusive" and found.more_pairs is not None and found.more_pairs + 6 >= 8, "sign flips below 1 % need 8 pairs"


def test_holm_is_the_textbooks_and_keeps_the_order_of_its_arguments() -> None:
    assert judge.holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])
    assert judge.holm(np.array([0.5, 0.9])) == pytest.approx([1.0, 1.0])


def test_holm_takes_back_a_verdict_that_one_scenario_alone_would_give() -> None:
    near = pairs(1.05, 1.02, 1.08, 1.003, 1.06, 1.01)
    alone = judge.judge("total_token_throughput", {"near": near})["near"]
    assert alone.p is not None and 0.0125 < alone.p < 0.04 and alone.verdict == "better"
    noise = pairs(1.10, 0.95, 1.08, 0.99, 1.07, 0.97)
    among = judge.judge("total_token_throughput", {"near": near, "x": noise, "y": noise, "z": noise})
    assert among["near"].verdict == "inconclusive"
    assert (among["near"].lo, among["near"].hi) == (alone.lo, alone.hi), "the interval is each scenario's own"


def test_a_scenario_without_good_pairs_still_counts_in_the_family() -> None:
    near = pairs(1.05, 1.02, 1.08, 1.003, 1.06, 1.01)
    found = judge.judge("total_token_throughput", {"near": near, "a": [], "b": [], "c": []})
    assert found["near"].p_holm == pytest.approx(4 * (found["near"].p or 0))


def test_sign_flip_exact_and_drawn_agree() -> None:
    logs = np.random.default_rng(4).normal(0.01, 0.02, 14)
    assert len(set(np.round(np.abs(logs), 9))) == 14, "no ties, which one more value would break"
    exact = judge.sign_flip(logs)
    drawn = judge.sign_flip(np.append(logs, 1e-12))
    assert exact is not None and drawn is not None
    assert drawn == pytest.approx(exact, abs=0.005)
    assert judge.sign_flip(logs[:5]) is None


@pytest.mark.slow
def test_the_flips_of_many_pairs_are_drawn_some_at_a_time() -> None:
    logs = np.random.default_rng(1).normal(0.0, 1.0, 1000)
    tracemalloc.start()
    found = judge.sign_flip(logs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6, "48 MB; all at once it took 480 (6c18229)"
    assert found == pytest.approx(stats.ttest_1samp(logs, 0.0).pvalue, abs=0.01)


@pytest.mark.parametrize("n", [14, 15], ids=["every flip", "drawn flips"])
def test_many_experiments_are_judged_some_at_a_time_and_as_each_alone(n: int) -> None:
    logs = np.random.default_rng(2).normal(0.02, 0.05, (2, 1000, n))
    judge.every_flip(n)  # kept, so not counted
    tracemalloc.start()
    found = judge.sign_flips(logs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6, "37 MB; all at once took 524 and 642 (32a3829)"
    assert found is not None and found.shape == (2, 1000)
    assert [found[0, 0], found[1, 500], found[1, 999]] == [judge.sign_flip(logs[at]) for at in ((0, 0), (1, 500), (1, 999))]


def test_sign_flip_of_equal_logs_is_two_in_all() -> None:
    assert judge.sign_flip(np.full(6, 0.1)) == 2 / 64
    assert judge.sign_flip(np.zeros(6)) == 1.0


@pytest.mark.parametrize(("found", "verdict"), [
    (["better", "worse"], "inconclusive"), (["better", "no difference"], "better"), (["worse", "inconclusive"], "worse"),
    (["no difference", "inconclusive"], "inconclusive"), (["no difference"], "no difference"), ([], "inconclusive"),
])
def test_overall(found: list[judgement.Verdict], verdict: str) -> None:
    assert judgement.overall(found) == verdict
