"""What a judge says of one metric in one scenario, and of an experiment. Apart from the judge, so that who only shows verdicts loads no numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tunefork.base.errors import BadInput
from tunefork.base.near import near
from tunefork.base.upstream_facts.vllm import PERCENTILES, RATES

Verdict = Literal["better", "worse", "no difference", "inconclusive"]

THRESHOLD = 0.01
"""The least relative difference that matters, unless a plan says another."""
HIGHER, LOWER = 1, -1
SERVED = (*RATES, *PERCENTILES)
"""What a client measures of a server."""
KERNEL = "layer_us"
"""What is measured of a kernel."""
DIRECTION = {KERNEL: LOWER, **dict.fromkeys(RATES, HIGHER), **dict.fromkeys(PERCENTILES, LOWER)}
"""Whether more of a metric is better."""


def refuse_unless_served(metric: str) -> None:
    """BadInput for a metric that no client measures of a server."""
    if metric not in SERVED:
        meant = (near(metric, SERVED) or ["median_tpot_ms"])[0]
        raise BadInput(f"--metric {metric} is none of a server's, expected one of {', '.join(SERVED)}", f"--metric {meant}")


@dataclass(frozen=True)
class Judgement:
    """What the pairs say of one metric in one scenario.

    ratio, lo, hi: geometric mean of B/A with its 95 % interval, None below 1 and 2 pairs.  sd: of a pair's log-ratio.
    p: two-sided t.  p_holm: adjusted across the scenarios.  p_sign_flip: None below 6 pairs.
    more_pairs: how many further pairs should settle an inconclusive verdict; None where that is unknown or over 10,000.
    """

    metric: str
    pairs: int
    ratio: float | None
    lo: float | None
    hi: float | None
    sd: float | None
    p: float | None
    p_holm: float | None
    p_sign_flip: float | None
    verdict: Verdict
    more_pairs: int | None


def overall(found: Sequence[Verdict]) -> Verdict:
    """One verdict for an experiment: what its scenarios agree on; a gain in one beside a loss in another is inconclusive."""
    kinds = set(found)
    if "better" in kinds and "worse" in kinds:
        return "inconclusive"
    if "worse" in kinds:
        return "worse"
    if "better" in kinds:
        return "better"
    return "no difference" if kinds == {"no difference"} else "inconclusive"
