"""The result file of one configuration, in the words of the competition's harness, with the keys that it lost.

The harness asked the client for successful_requests, benchmark_duration and total_generated_tokens, which the client calls completed,
duration and total_output_tokens: both names are here. What only we know stands under ``tunefork``.
"""

from __future__ import annotations

from typing import Any

from tunefork.base.upstream_facts.vllm import COUNTS, PERCENTILES, RATES
from tunefork.bench.load.load import client_ratio
from tunefork.bench.profiles.rules import Baseline, Gate, Rules, published
from tunefork.bench.records.schema import Accuracy, Record

LOST = {"successful_requests": "completed", "benchmark_duration": "duration", "total_generated_tokens": "total_output_tokens"}
# The harness' names for a baseline and the ratios to it: (block, prefix inside it, suffix of the ratios).
BASELINE_WORDS = {"seed": ("b200_baseline_nv1126", "b200", "vs_b200_1126"), "stage2": ("baseline_nv1126", "baseline", "vs_baseline_1126")}


def result(record: Record, rules: Rules) -> dict[str, Any]:
    """The file's content for a configuration that passed."""
    assert record.metrics is not None and record.score is not None
    numbers, one = record.metrics, record.scenario
    counts: dict[str, Any] = {name: int(numbers[name]) if name != "duration" else numbers[name] for name in COUNTS}
    return {
        **counts,
        **{lost: counts[name] for lost, name in LOST.items()},
        **{name: numbers[name] for name in (*RATES, *PERCENTILES)},
        "max_concurrency": one.conc, "model_id": record.server.served_name,  # as the client's own answer, for InferenceX's process_result.py
        "benchmark_args": {
            "model": record.server.served_name, "backend": "vllm", "base_url": record.server.base_url, "dataset_name": "random",
            "random_input_len": one.isl, "random_output_len": one.osl, "random_range_ratio": one.range_ratio,
            "num_prompts": one.num_prompts, "max_concurrency": one.conc, "request_rate": "inf"},
        "tput_per_gpu": record.score.tput_per_gpu,
        "interactivity": record.score.interactivity,
        **baseline_block(record, rules.baseline),
        **accuracy_block(record.accuracy, rules.accuracy),
        "tunefork": {
            "record": record.id, "profile": record.profile, "variant": record.vllm.variant if record.vllm else None,
            "commit": record.vllm.commit if record.vllm else None, "gpus": record.server.gpus, "divisor": record.score.divisor,
            "divisor_kind": record.score.divisor_kind, "client_random_range_ratio": client_ratio(one.isl, one.osl, one.range_ratio),
            "num_warmups": one.warmups, "notes": list(rules.notes)},
    }


def baseline_block(record: Record, baseline: Baseline | None) -> dict[str, Any]:
    """The baseline and our ratios to it; null where none was published."""
    assert record.score is not None
    one, score = record.scenario, record.score
    block, prefix, suffix = BASELINE_WORDS["stage2" if baseline and baseline.result == "stage2" else "seed"]
    point = published(baseline, one.isl, one.osl, one.conc)
    return {
        block: point and {f"{prefix}_median_e2e_1126": point.median_e2el_ms, f"{prefix}_tput_pergpu_1126": point.tput_per_gpu,
                          f"{prefix}_median_intvty_1126": point.interactivity},
        f"tput_per_gpu_ratio_{suffix}": score.tput_ratio,
        f"median_e2e_ratio_{suffix}": score.e2e_ratio,
        f"interactivity_ratio_{suffix}": score.interactivity_ratio,
    }


def accuracy_block(measured: Accuracy | None, gate: Gate | None) -> dict[str, Any]:
    """What was measured, and the bounds that it was really held against."""
    if measured is None or gate is None:
        return {"accuracy": None, "accuracy_validation": None}
    limits = {one.name: one.at_most if one.at_most is not None else one.at_least for one in measured.limits
              if one.at_most is not None or one.at_least is not None}
    multiplier = gate.threshold_multiplier
    references = {one.name: one.at_most / multiplier for one in measured.limits if one.at_most is not None}
    tolerances = {bound.name: bound.tolerance for bound in gate.limits if bound.at_least is not None}
    # The gate of this run made these limits, so that what was added to its tolerance is its reference.
    references |= {one.name: round(one.at_least + tolerances.get(one.name, 0.0), 12) for one in measured.limits if one.at_least is not None}
    told = {"tolerance": max(tolerances.values(), default=0.0)} if gate.result == "stage2" else {}
    return {
        "accuracy": {one.name: one.value for one in measured.limits},
        "accuracy_validation": {"status": measured.status.upper(), "baselines": references, "threshold_multiplier": multiplier,
                                "limits": limits, **told},
    }
