"""Scores and result files against numbers worked out by hand from the rules."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from loading import module

from tunefork.bench.load.checks import metrics
from tunefork.bench.profiles import rules
from tunefork.bench.profiles.rules import Rules
from tunefork.bench.records.ranking import weighted
from tunefork.bench.records.schema import Accuracy, Limit, Record
from tunefork.bench.run.result import result
from tunefork.bench.run.score import score

# ISL, OSL, CONC: median E2E ms, interactivity, tokens/s/GPU of the B200.
B200 = {(1024, 1024, 4): (2162, 434.57, 413.779), (1024, 1024, 8): (2646, 364.58, 690.565),
        (1024, 8192, 4): (16585, 433.22, 241.18), (1024, 8192, 8): (19939, 374.06, 407.268), (1024, 8192, 16): (22496, 332.04, 719.886),
        (8192, 1024, 4): (2275, 408.40, 1752.338), (8192, 1024, 8): (2792, 342.70, 2892.223)}
TARGETS = {(8192, 1024, 4): (3500, 270, 9500), (8192, 1024, 32): (6000, 150, 21500), (8192, 1024, 128): (21000, 40, 50600)}
KEYS = {
    *(f"{kind}_{name}_ms" for kind in ("mean", "median", "p99") for name in ("ttft", "tpot", "itl", "e2el")),
    "request_throughput", "output_throughput", "total_token_throughput", "benchmark_args", "tput_per_gpu", "interactivity",
    "accuracy", "accuracy_validation",
    "successful_requests", "benchmark_duration", "total_generated_tokens", "completed", "duration", "total_output_tokens"}


def gates(name: str) -> Rules:
    return rules.read(rules.GATES / f"{name}.toml")


@pytest.mark.parametrize(("profile", "point", "values"), [
    *(("seed", point, values) for point, values in B200.items()), *(("stage2", point, values) for point, values in TARGETS.items())])
def test_ratios_to_every_published_value(profile: str, point: tuple[int, int, int], values: tuple[float, float, float]) -> None:
    e2e, interactivity, tput = values
    isl, osl, conc = point
    made = score({"total_token_throughput": 2 * tput * 8, "median_e2el_ms": 0.5 * e2e, "median_tpot_ms": 1000 / interactivity / 4},
                 gpus=8, isl=isl, osl=osl, conc=conc, baseline=gates(profile).baseline)
    assert (made.tput_ratio, made.e2e_ratio, made.interactivity_ratio) == pytest.approx((2.0, 0.5, 4.0))


def test_no_other_configuration_has_a_baseline() -> None:
    for name, points in (("seed", B200), ("stage2", TARGETS)):
        baseline = gates(name).baseline
        assert baseline is not None
        assert {(one.isl, one.osl, one.conc) for one in baseline.configurations} == set(points)
    made = score({"total_token_throughput": 8.0, "median_e2el_ms": 1.0, "median_tpot_ms": 2.0}, gpus=4, isl=1024, osl=1024, conc=16,
                 baseline=gates("seed").baseline)
    assert made.model_dump(exclude={"divisor_kind"}) == {
        "tput_per_gpu": 2.0, "median_e2el_ms": 1.0, "interactivity": 500.0, "divisor": 4, "baseline": None, "tput_ratio": None,
        "e2e_ratio": None, "interactivity_ratio": None}


def test_stage_twos_ranking_by_hand() -> None:
    """0.5 throughput + 0.3 interactivity + 0.2 E2E, each against its target: meeting all three gives 1."""
    made = score({"total_token_throughput": 8 * 21500 * 1.2, "median_e2el_ms": 4800, "median_tpot_ms": 1000 / 300}, gpus=8, isl=8192, osl=1024, conc=32,
                 baseline=gates("stage2").baseline)
    assert weighted(made) == pytest.approx(0.5 * 1.2 + 0.3 * 2 + 0.2 / 0.8)
    met = score({"total_token_throughput": 8 * 21500, "median_e2el_ms": 6000, "median_tpot_ms": 1000 / 150}, gpus=8, isl=8192, osl=1024, conc=32,
                baseline=gates("stage2").baseline)
    assert weighted(met) == pytest.approx(1.0)
    assert weighted(made.model_copy(update={"e2e_ratio": None})) is None, "without a target there is no rank"


def samples() -> ModuleType:
    return module("samples_for_scores", Path(__file__).parents[1] / "records" / "samples.py")


def record(answer: dict[str, Any], profile: str, names: dict[str, float], isl: int, osl: int, conc: int) -> Record:
    numbers, _ = metrics(answer)
    limits = tuple(Limit(name=name, value=value, at_most=2 * value, passed=True) for name, value in names.items())
    made = samples().passed
    load = made().scenario.model_copy(update={"isl": isl, "osl": osl, "conc": conc, "num_prompts": 10 * conc})
    found: Record = made(
        profile=profile, metrics=numbers, scenario=load,
        accuracy=Accuracy(task="x", status="passed", metrics=names, limits=limits, samples=1, seconds=1.0, lm_eval="0.4.13"),
        score=score(numbers, gpus=1, isl=isl, osl=osl, conc=conc, baseline=gates(profile).baseline))
    return found


def test_the_seeds_result_file(answer: dict[str, Any]) -> None:
    names = {"bits_per_byte": 2.0, "byte_perplexity": 4.0, "word_perplexity": 200.0}
    written = json.loads(json.dumps(result(record(answer, "seed", names, 8192, 1024, 4), gates("seed")), allow_nan=False))
    ratios = {f"{name}_ratio_vs_b200_1126" for name in ("tput_per_gpu", "median_e2e", "interactivity")}
    assert KEYS | ratios | {"b200_baseline_nv1126"} <= set(written)
    assert set(written["benchmark_args"]) == {"model", "backend", "base_url", "dataset_name", "random_input_len", "random_output_len",
                                              "random_range_ratio", "num_prompts", "max_concurrency", "request_rate"}
    assert written["b200_baseline_nv1126"] == {"b200_median_e2e_1126": 2275, "b200_tput_pergpu_1126": 1752.338,
                                               "b200_median_intvty_1126": 408.4}
    assert written["accuracy"] == names
    assert set(written["accuracy_validation"]) >= {"status", "baselines", "threshold_multiplier"}
    # By hand from the real client's answer: 1054.604... tokens/s on one GPU, 1000 / 4.341444... ms, 165.968... ms.
    assert written["tput_per_gpu"] == pytest.approx(1054.6042024942642)
    assert written["interactivity"] == pytest.approx(230.33808, rel=1e-5)
    assert written["tput_per_gpu_ratio_vs_b200_1126"] == pytest.approx(1054.6042024942642 / 1752.338)
    assert written["median_e2e_ratio_vs_b200_1126"] == pytest.approx(165.96892599955027 / 2275)
    assert (written["successful_requests"], written["total_generated_tokens"]) == (10, 320) == (
        written["completed"], written["total_output_tokens"])


def test_inferencexs_reader_takes_the_result_file(answer: dict[str, Any]) -> None:
    """What its utils/process_result.py asks of a file, read in SemiAnalysisAI/InferenceX at 843c6254f (2026-08-21), not run here.

    Four keys must be there: max_concurrency (an int), model_id, total_token_throughput and output_throughput (floats). Of the top level,
    each key that ends in ms is taken as a float, and each with tpot in it divides: it may not be 0. TP, ISL, OSL, the chip and
    the image come from the environment. What its power measurement, which may fail, reads was not looked at.
    """
    written = json.loads(json.dumps(result(record(answer, "seed", {"bits_per_byte": 2.0}, 8192, 1024, 4), gates("seed"))))
    assert (int(written["max_concurrency"]), written["model_id"]) == (4, "tiny")
    assert float(written["total_token_throughput"]) > float(written["output_throughput"]) > 0
    assert all(float(value) > 0 for key, value in written.items() if key.endswith("ms") or "tpot" in key)


def test_stage_twos_result_file(answer: dict[str, Any]) -> None:
    written = result(record(answer, "stage2", {"gsm8k_metric": 0.9}, 8192, 1024, 32), gates("stage2"))
    assert written["baseline_nv1126"] == {"baseline_median_e2e_1126": 6000, "baseline_tput_pergpu_1126": 21500,
                                          "baseline_median_intvty_1126": 150}
    assert written["accuracy"] == {"gsm8k_metric": 0.9}
    assert {"tput_per_gpu_ratio_vs_baseline_1126", "median_e2e_ratio_vs_baseline_1126",
            "interactivity_ratio_vs_baseline_1126"} <= set(written)
    assert not any("b200" in key for key in written)


def test_the_seeds_bias_is_said() -> None:
    note = next(line for line in gates("seed").notes if "B200" in line)
    assert "about 11 %" in note
    assert "E2E" in note
