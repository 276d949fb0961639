"""The judge: from paired trials to better, worse, no difference or inconclusive.

x = ln(B / A) of one pair, one number per pair (a server start is the unit of replication: Kalibera & Jones, ISMM 2013). The estimate is
exp(mean x), the interval Student's t over the pairs, the sign-flip permutation test a check that needs no distribution (6 pairs and
more). Across scenarios the p-values are adjusted by Holm (1979). Arrays have shape (..., pairs), so that simulations judge by this code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tunefork.base.upstream_facts.vllm import PERCENTILES, RATES
from tunefork.bench.ab import power

Floats = NDArray[np.float64]
Verdict = Literal["better", "worse", "no difference", "inconclusive"]

ALPHA, THRESHOLD = 0.05, 0.01
SIGN_FLIP_PAIRS, EXACT_PAIRS, FLIPS = 6, 14, 20_000

HIGHER, LOWER = 1, -1
DIRECTION = {"layer_us": LOWER, **dict.fromkeys(RATES, HIGHER), **dict.fromkeys(PERCENTILES, LOWER)}
"""Whether more of a metric is better."""


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


def summary(logs: Floats, alpha: float = ALPHA) -> tuple[Floats, Floats, Floats]:
    """(mean, half width of the 1 - alpha interval, two-sided p) of log-ratios (..., n), n >= 2, along the last axis."""
    n = logs.shape[-1]
    mean = logs.mean(axis=-1)
    error = logs.std(axis=-1, ddof=1) / math.sqrt(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(error > 0, np.abs(mean) / error, np.where(mean == 0, 0.0, np.inf))
    return mean, float(stats.t.isf(alpha / 2, n - 1)) * error, 2 * stats.t.sf(statistic, n - 1)


def holm(p: Floats) -> Floats:
    """Holm's adjusted p-values of a family (..., m) along the last axis."""
    m = p.shape[-1]
    order = np.argsort(p, axis=-1)
    stepped = np.take_along_axis(p, order, axis=-1) * np.arange(m, 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(stepped, axis=-1), 1.0)
    result: Floats = np.empty(p.shape)
    np.put_along_axis(result, order, adjusted, axis=-1)
    return result


def verdicts(gain: Floats, half: Floats, p: Floats, threshold: float = THRESHOLD, alpha: float = ALPHA) -> NDArray[np.str_]:
    """Verdicts on mean log gains (positive: B better) with half widths and adjusted p-values, elementwise.

    better, worse: p <= alpha and the estimate is at least the practical threshold.  no difference: the interval lies within
    the threshold to both sides.  Everything else is inconclusive.
    """
    bound = math.log1p(threshold)
    shown = (p <= alpha) & (np.abs(gain) >= bound)
    same = ~shown & (np.abs(gain) + half <= bound)
    return np.select([shown & (gain > 0), shown & (gain < 0), same], ["better", "worse", "no difference"], "inconclusive")


def sign_flip(logs: Floats, seed: int = 0) -> float | None:
    """Two-sided p of the sign-flip permutation test on (n,) log-ratios: exact to 14 pairs, else over 20,000 draws; None below 6."""
    n = len(logs)
    if n < SIGN_FLIP_PAIRS:
        return None
    if n <= EXACT_PAIRS:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        drawn = np.random.default_rng(seed).integers(0, 2, size=(FLIPS, n))
        signs = np.vstack([np.ones((1, n), dtype=np.int64), 1 - 2 * drawn])  # what was observed is one of the flips
    sums = np.abs(signs @ logs)
    # Flips that only reorder the same sum must count as reached: additions differ in the last bits.
    return float(np.mean(sums >= abs(logs.sum()) * (1 - 1e-12)))


def judge(metric: str, scenarios: Mapping[Any, Sequence[tuple[float, float]]], *, threshold: float = THRESHOLD,
          alpha: float = ALPHA) -> dict[Any, Judgement]:
    """Judge one metric over all scenarios of an experiment, which are one family.

    scenarios: per scenario its accepted pairs (value of A, value of B), both positive. Keys come back as they went in.
    """
    direction = DIRECTION[metric]
    logs = {key: np.log(np.array([b / a for a, b in pairs], dtype=np.float64)) for key, pairs in scenarios.items()}
    judged = {key: summary(x, alpha) for key, x in logs.items() if len(x) >= 2}
    # A scenario without two good pairs stays in the family: dropping the hard ones must not make the others easier.
    raw = np.array([float(judged[key][2]) if key in judged else 1.0 for key in logs])
    adjusted = dict(zip(logs, holm(raw), strict=True)) if logs else {}
    return {key: judgement(metric, x, judged.get(key), float(adjusted[key]), direction, threshold, alpha) for key, x in logs.items()}


def judgement(metric: str, x: Floats, found: tuple[Floats, Floats, Floats] | None, p_holm: float, direction: int,
              threshold: float, alpha: float) -> Judgement:
    """The judgement of one scenario's log-ratios."""
    if found is None:
        ratio = float(np.exp(x[0])) if len(x) else None
        return Judgement(metric, len(x), ratio, None, None, None, None, None, None, "inconclusive", 2 - len(x))
    mean, half, p = (float(value) for value in found)
    gain = np.array(direction * mean)
    verdict: Verdict = str(verdicts(gain, np.array(half), np.array(p_holm), threshold, alpha))  # type: ignore[assignment]
    sd = float(x.std(ddof=1))
    more = further_pairs(mean, sd, len(x), threshold, alpha) if verdict == "inconclusive" else 0
    ratio, lo, hi = math.exp(mean), math.exp(mean - half), math.exp(mean + half)
    return Judgement(metric, len(x), ratio, lo, hi, sd, p, p_holm, sign_flip(x), verdict, more)


def further_pairs(mean: float, sd: float, pairs: int, threshold: float, alpha: float = ALPHA) -> int | None:
    """How many more pairs should settle it, if mean and SD stay what they are; at least 1, None beyond 10,000.

    An estimate past the threshold: enough to show it at 80 % power. One within: enough for the interval to fit within the threshold, or,
    where the estimate is close to it, to be half as wide.
    """
    bound = math.log1p(threshold)
    if abs(mean) >= bound:
        needed = power.pairs_for(mean, sd, alpha=alpha)
    else:
        needed = power.pairs_for_width(max(bound - abs(mean), bound / 2), sd, alpha=alpha)
    return None if needed is None else max(needed - pairs, 1)


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
