"""The competition's scores of one configuration.

    tput_per_gpu = total_token_throughput / GPUs     tokens/s/GPU; GPUs = TP x PP x DP, or 8 where the seed's rule is asked for
    interactivity = 1000 / median_tpot_ms            tokens/s/user
    ratios = ours / baseline
"""

from __future__ import annotations

from collections.abc import Mapping

from tunefork.bench.profiles.rules import Baseline, published
from tunefork.bench.records.schema import Score

SEED_DIVISOR = 8


def score(numbers: Mapping[str, float], *, gpus: int, isl: int, osl: int, conc: int, baseline: Baseline | None,
          seed_divisor: bool = False) -> Score:
    """Scores from the client's checked numbers. seed_divisor: divide by 8 whatever was used, as the seed's harness does."""
    divisor = SEED_DIVISOR if seed_divisor else gpus
    tput = numbers["total_token_throughput"] / divisor
    e2e, interactivity = numbers["median_e2el_ms"], 1000.0 / numbers["median_tpot_ms"]
    point = published(baseline, isl, osl, conc)
    return Score(
        tput_per_gpu=tput, median_e2el_ms=e2e, interactivity=interactivity, divisor=divisor,
        divisor_kind="seed" if seed_divisor else "used",
        baseline=baseline.name if baseline and point else None,
        tput_ratio=tput / point.tput_per_gpu if point else None,
        e2e_ratio=e2e / point.median_e2el_ms if point else None,
        interactivity_ratio=interactivity / point.interactivity if point else None,
    )
