"""Which pairs count: every reason to leave one out, and no reason for the good ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from loading import module

from tunefork.bench.ab import evidence, outcome, pairs
from tunefork.bench.ab.outcome import Outcome, as_json, ratio
from tunefork.bench.ab.pairs import Pairs, Scenario
from tunefork.bench.records.measured import chip
from tunefork.bench.records.schema import Record, Telemetry

samples = module("ab_samples", Path(__file__).parents[1] / "report" / "samples.py")


def experiment(effect: float = 1.05) -> list[Record]:
    found: list[Record] = samples.experiment("x", "base", "only:p", effect, pairs=4, concs=(4,))
    return found


def changed(records: list[Record], pair: int, arm: str, **changes: Any) -> list[Record]:
    """The records with one trial changed."""
    return [one.model_copy(update=changes) if (one.labels["pair"], one.labels["arm"]) == (str(pair), arm) else one for one in records]


def collect(records: list[Record]) -> dict[Scenario, Pairs]:
    return pairs.collect(map(evidence.of, records))


def outcomes(records: list[Record]) -> list[Outcome]:
    return outcome.outcomes(map(evidence.of, records))


def clocks(mhz: float) -> Telemetry:
    return Telemetry(tool="amd-smi", samples=10, gpus={"0": {"clock_mhz": (mhz, mhz - 10, mhz + 10)}})


def with_metric(records: list[Record], pair: int, arm: str, **metrics: float) -> list[Record]:
    own = next(one for one in records if (one.labels["pair"], one.labels["arm"]) == (str(pair), arm))
    return changed(records, pair, arm, metrics={**(own.metrics or {}), **metrics})


GOOD = experiment()
FOREIGN = {**next(one for one in GOOD if one.labels["pair"] == "2" and one.labels["arm"] == "A").labels, "foreign": "4711, python"}
SPOILED = {
    "failed requests": (with_metric(GOOD, 2, "B", failed=2.0), "B: 2 requests failed"),
    "token counts": (with_metric(GOOD, 2, "B", total_output_tokens=1.0), "total_output_tokens differ"),
    "input tokens": (with_metric(GOOD, 2, "A", total_input_tokens=1.0), "total_input_tokens differ"),
    "foreign process": (changed(GOOD, 2, "A", labels=FOREIGN), "A: another process was on the device: 4711, python"),
    "throttled": (changed(changed(GOOD, 2, "A", telemetry=clocks(2400)), 2, "B", telemetry=clocks(2200)), "GPU 0 throttled"),
    "another code": (changed(GOOD, 2, "B", trees=(samples.tree("all"),)), "not the code of the experiment's first pair"),
    "another chip": (changed(GOOD, 2, "B", host=samples.HOST.model_copy(update={"gpus": ("other",)})), "A ran on 1 x simulated chip"),
    "another host": (changed(GOOD, 2, "B", host=samples.HOST.model_copy(update={"name": "other"})), "B on 1 x simulated chip of other"),
    "another GPU of it": (changed(GOOD, 2, "B", labels={**GOOD[0].labels, "pair": "2", "arm": "B", "gpus": "3"}), "(GPU 3)"),
    "another load": (changed(GOOD, 2, "B", scenario=GOOD[0].scenario.model_copy(update={"seed": 9})), "other loads"),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_a_spoiled_pair_is_left_out_with_its_reason(kind: str) -> None:
    records, reason = SPOILED[kind]
    found = collect(records)[8192, 1024, 4]
    assert [one.pair for one in found.rejected] == [2]
    assert found.rejected[0].reason.startswith(reason) or reason in found.rejected[0].reason
    assert len(found.accepted) == 3


def test_a_failed_trial_gives_its_problem() -> None:
    bad = samples.failed(77, "the server died", labels=next(one for one in GOOD if one.labels["pair"] == "1").labels)
    found = collect([*[one for one in GOOD if one.labels != bad.labels], bad])[8192, 1024, 4]
    assert [one.reason for one in found.rejected] == ["A failed: the server died"]


def test_good_pairs_stay() -> None:
    found = collect(GOOD)[8192, 1024, 4]
    assert (len(found.accepted), found.rejected, found.half) == (4, (), ())
    same = collect(changed(changed(GOOD, 2, "A", telemetry=clocks(2400)), 2, "B", telemetry=clocks(2390)))[8192, 1024, 4]
    assert same.rejected == ()


def test_a_whole_pair_of_another_host_counts() -> None:
    far = samples.HOST.model_copy(update={"name": "other"})
    moved = collect(changed(changed(GOOD, 2, "A", host=far), 2, "B", host=far))[8192, 1024, 4]
    assert (len(moved.accepted), moved.rejected) == (4, ())


def test_a_throttled_gpu_of_somebody_else_spoils_nothing() -> None:
    labels = {arm: {**one.labels, "gpus": "1"} for one in GOOD if one.labels["pair"] == "2" for arm in [one.labels["arm"]]}
    records = changed(changed(GOOD, 2, "A", telemetry=clocks(2400), labels=labels["A"]), 2, "B", telemetry=clocks(1200), labels=labels["B"])
    assert collect(records)[8192, 1024, 4].rejected == ()


def test_half_a_pair_waits_and_a_later_trial_replaces_an_earlier_one() -> None:
    assert collect(GOOD[:-1])[8192, 1024, 4].half == (3,)
    later = GOOD[0].model_copy(update={"id": "zz", "created": GOOD[-1].created})
    assert collect([later, *GOOD])[8192, 1024, 4].accepted[0][0].id == "zz"


def test_the_json_of_the_issue() -> None:
    found = as_json(outcomes(GOOD)[0])
    scenarios = found["scenarios"]
    assert isinstance(scenarios, list)
    assert {"ratio", "lo", "hi", "pairs", "rejected", "verdict"} <= scenarios[0].keys()
    assert (scenarios[0]["verdict"], found["verdict"], found["chips"]) == ("better", "better", ("simulated chip",))


def test_a_chip_is_never_guessed() -> None:
    server = GOOD[0].server
    far = GOOD[0].model_copy(update={"server": server.model_copy(update={"own": False, "base_url": "http://far:8000", "target": "unknown"})})
    assert chip(far) == "unknown chip of far"
    cpu = GOOD[0].model_copy(update={"server": server.model_copy(update={"target": "cpu"})})
    assert chip(cpu) == "CPU simulated CPU", "the CPU backend on a machine with GPUs is no GPU's number"


def test_ratios_stay_readable() -> None:
    assert [ratio(value) for value in (None, 1.0123, 0.5, 447.2, 3.45e-14)] == ["-", "+1.23%", "-50.00%", "x 447", "x 3.45e-14"]


def again(record: Record, **changes: Any) -> Record:
    """The same trial, made once more."""
    return record.model_copy(update={"id": record.id + "-again", "labels": {**record.labels, "attempt": "1"}, **changes})


def test_a_spoiled_pair_that_was_made_again_counts_and_its_loss_is_remembered() -> None:
    records = with_metric(GOOD, 2, "B", failed=2.0)
    pair = [one for one in GOOD if one.labels["pair"] == "2"]
    found = collect([*records, *[again(one) for one in pair]])[8192, 1024, 4]
    assert (len(found.accepted), found.rejected, found.lost()) == (4, (), (0, 1))
    only_one = collect([*records, again(pair[0])])[8192, 1024, 4]
    assert [one.pair for one in only_one.rejected] == [2] and only_one.half == ()


def test_losses_of_one_arm_alone_leave_no_verdict() -> None:
    for lost, verdict in ((5, "better"), (6, "inconclusive")):
        records: list[Record] = samples.experiment("x", "base", "only:p", 1.05, pairs=12, concs=(4,))
        for pair in range(lost):
            records = with_metric(records, pair, "B", failed=1.0)
        found = outcomes(records)[0]
        assert (found.scenarios[0].lost, found.scenarios[0].uneven, found.verdict) == ((0, lost), lost == 6, verdict)
        assert found.scenarios[0].judgements["total_token_throughput"].verdict == "better", "what the pairs left would say"


def test_losses_of_both_arms_are_chance() -> None:
    records: list[Record] = samples.experiment("x", "base", "only:p", 1.05, pairs=14, concs=(4,))
    for pair in range(8):
        records = with_metric(records, pair, "AB"[pair % 2], failed=1.0)
    found = outcomes(records)[0]
    assert (found.scenarios[0].lost, found.verdict) == ((4, 4), "better")
