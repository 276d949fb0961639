"""Stage 2's ranking of a record's score."""

from __future__ import annotations

from tunefork.bench.records.schema import Score


def weighted(score: Score) -> float | None:
    """Stage 2's ranking weights on the ratios to the reference: 0.5 throughput + 0.3 interactivity + 0.2 / E2E; 1.0 is the reference.

    The rules give the weights and not the formula; this reading is ours.
    """
    if score.tput_ratio is None or score.interactivity_ratio is None or not score.e2e_ratio:
        return None
    return 0.5 * score.tput_ratio + 0.3 * score.interactivity_ratio + 0.2 / score.e2e_ratio
