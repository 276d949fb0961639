"""The judge: from paired trials to better, worse, no difference or inconclusive.

x = ln(B / A) of one pair, one number per pair (a server start is the unit of replication: Kalibera & Jones, ISMM 2013). The estimate is
exp(mean x), the interval Student's t over the pairs. A difference is shown where Student's t and, from 6 pairs on, the sign-flip test say
so: the latter holds under any load, because the order within a pair was drawn (Fisher 1935). Across scenarios the p-values are
adjusted by Holm (1979). Arrays have shape (..., pairs), so that simulations judge by this code.

An experiment may be looked at twice: its pairs, and once more after it was lengthened. The 5 % are spent in two parts, 4 % and 1 %
(alpha spending, Lan & DeMets 1983); a third look decides nothing.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tunefork.bench.ab import power
from tunefork.bench.ab.judgement import DIRECTION, THRESHOLD, Judgement

Floats = NDArray[np.float64]

ALPHA = 0.05
LOOKS = (0.04, 0.01)
"""What of ALPHA each look may spend."""
LEAST_PAIRS = 4
SIGN_FLIP_PAIRS, EXACT_PAIRS, FLIPS = 6, 14, 20_000
MOST_SIGNS = 2_000_000
"""At a time, and as many sums of them: 16 MB, three times."""
FEW = 0.6
"""Of a look's alpha below SIGN_FLIP_PAIRS, where t is alone: a load with a period of three trials makes its 5 % up to 8 % (docs/statistics.md)."""
FLIP = 0.9
"""Of a look's alpha for the sign flips: the plan never draws an eighth of the orders."""


def summary(logs: Floats, alpha: float = ALPHA) -> tuple[Floats, Floats, Floats]:
    """(mean, half width of the 1 - alpha interval, two-sided p) of log-ratios (..., n), n >= 2, along the last axis."""
    from scipy import special

    n = logs.shape[-1]
    mean = logs.mean(axis=-1)
    error = logs.std(axis=-1, ddof=1) / math.sqrt(n)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(error > 0, np.abs(mean) / error, np.where(mean == 0, 0.0, np.inf))
    return mean, -float(special.stdtrit(n - 1, alpha / 2)) * error, 2 * special.stdtr(n - 1, -statistic)


def spent(pairs: int, look: int = 1) -> float:
    """The alpha at which ``pairs`` pairs may show a difference at a look, from 1; 0 where they may not."""
    if pairs < LEAST_PAIRS or look > len(LOOKS):
        return 0.0
    return LOOKS[look - 1] * (1.0 if pairs >= SIGN_FLIP_PAIRS else FEW)


def holm(p: Floats) -> Floats:
    """Holm's adjusted p-values of a family (..., m) along the last axis."""
    m = p.shape[-1]
    order = np.argsort(p, axis=-1)
    stepped = np.take_along_axis(p, order, axis=-1) * np.arange(m, 0, -1)
    adjusted = np.minimum(np.maximum.accumulate(stepped, axis=-1), 1.0)
    result: Floats = np.empty(p.shape)
    np.put_along_axis(result, order, adjusted, axis=-1)
    return result


def verdicts(gain: Floats, half: Floats, p: Floats, threshold: float = THRESHOLD, alpha: float = ALPHA,
             flips: Floats | None = None) -> NDArray[np.str_]:
    """Verdicts on mean log gains (positive: B better) with half widths and adjusted p-values, elementwise. flips: sign-flip p-values.

    better, worse: p <= alpha, flips <= 0.9 alpha where there are any, and the estimate is at least the practical threshold.
    no difference: the interval lies within the threshold to both sides.  Everything else is inconclusive.
    """
    bound = math.log1p(threshold)
    shown = (p <= alpha) & (np.abs(gain) >= bound) & ((flips <= FLIP * alpha) if flips is not None else True)
    same = ~shown & (np.abs(gain) + half <= bound)
    return np.select([shown & (gain > 0), shown & (gain < 0), same], ["better", "worse", "no difference"], "inconclusive")


def sign_flips(logs: Floats, seed: int = 0) -> Floats | None:
    """Two-sided p of the sign-flip permutation test on (..., n) log-ratios: exact to 14 pairs, else over 20,000 draws; None below 6."""
    n = logs.shape[-1]
    if n < SIGN_FLIP_PAIRS:
        return None
    if n <= EXACT_PAIRS:
        blocks: Iterator[NDArray[np.int64]] = iter([every_flip(n)])
    else:
        blocks = itertools.chain([np.ones((1, n), dtype=np.int64)], drawn_flips(n, seed))  # what was observed is one of the flips
    # Flips that only reorder the same sum must count as reached: additions differ in the last bits.
    bound = np.abs(logs.sum(axis=-1, keepdims=True)) * (1 - 1e-12)
    reached, drawn = np.zeros(logs.shape[:-1], dtype=np.int64), 0
    for signs in blocks:
        reached += reaching(logs.reshape(-1, n), signs, bound.reshape(-1, 1)).reshape(logs.shape[:-1])
        drawn += len(signs)
    return np.asarray(reached / drawn)


def reaching(logs: Floats, signs: NDArray[np.int64], bound: Floats) -> NDArray[np.int64]:
    """How many of the flips (k, n) bring the sum of each of the log-ratios (m, n) to its bound (m, 1): (m,), some experiments at a time.

    A simulation's 20,000 experiments with all of 14 pairs' flips at once took 6.9 GB.
    """
    some, flips = max(1, MOST_SIGNS // len(signs)), signs.T.astype(np.float64)
    parts = [slice(first, first + some) for first in range(0, len(logs), some)]
    return np.concatenate([(np.abs(logs[part] @ flips) >= bound[part]).sum(axis=-1) for part in parts] or [np.zeros(0, dtype=np.int64)])


def drawn_flips(n: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """FLIPS draws of n signs, (some, n) at a time: of a thousand pairs, all at once took 458 MiB."""
    draw, some = np.random.default_rng(seed), max(1, MOST_SIGNS // n)
    for first in range(0, FLIPS, some):
        yield 1 - 2 * draw.integers(0, 2, size=(min(some, FLIPS - first), n))


@cache
def every_flip(n: int) -> NDArray[np.int64]:
    """Every way to flip n signs: (2**n, n), of 1 and -1."""
    made: NDArray[np.int64] = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    return made


def sign_flip(logs: Floats, seed: int = 0) -> float | None:
    """``sign_flips`` of one experiment, (n,)."""
    found = sign_flips(logs, seed)
    return None if found is None else float(found)


def judge(metric: str, scenarios: Mapping[Any, Sequence[tuple[float, float]]], *, threshold: float = THRESHOLD,
          look: int = 1) -> dict[Any, Judgement]:
    """Judge one metric over all scenarios of an experiment, which are one family.

    scenarios: per scenario its accepted pairs (value of A, value of B), both positive. Keys come back as they went in.
    look: 1 for the pairs that were planned first, 2 once it was lengthened.
    """
    return judge_all({metric: scenarios}, threshold=threshold, look=look)[metric]


def judge_all(metrics: Mapping[str, Mapping[Any, Sequence[tuple[float, float]]]], *, threshold: float = THRESHOLD,
              look: int = 1) -> dict[str, dict[Any, Judgement]]:
    """As ``judge``, of several metrics, each a family of its own: at once, since a report judges thousands."""
    by_pairs: dict[int, list[tuple[str, Any]]] = {}
    found: dict[tuple[str, Any], Judgement] = {}
    for metric, scenarios in metrics.items():
        for key, pairs in scenarios.items():
            by_pairs.setdefault(len(pairs), []).append((metric, key))
    groups = {n: summed(np.log([[b / a for a, b in metrics[metric][key]] for metric, key in keys])) for n, keys in by_pairs.items() if n >= 2}
    # A scenario without two good pairs stays in the family: dropping the hard ones must not make the others easier.
    raw = {where: p for n, group in groups.items() for where, p in zip(by_pairs[n], group.p.tolist(), strict=True)}
    adjusted = {(metric, key): p for metric, scenarios in metrics.items() if scenarios
                for key, p in zip(scenarios, holm(np.array([raw.get((metric, key), 1.0) for key in scenarios])).tolist(), strict=True)}
    for n, keys in by_pairs.items():
        if n < 2:
            for metric, key in keys:
                ratio = next((b / a for a, b in metrics[metric][key]), None)
                found[metric, key] = Judgement(metric, n, ratio, None, None, None, None, None, None, "inconclusive", LEAST_PAIRS - n)
        else:
            made = judgements(keys, n, groups[n], np.array([adjusted[where] for where in keys]), threshold, look)
            found.update(zip(keys, made, strict=True))
    return {metric: {key: found[metric, key] for key in scenarios} for metric, scenarios in metrics.items()}


class Summed(NamedTuple):
    """Of log-ratios (m, n): mean, half width of the interval, p, SD, and p of the sign flips; each (m,)."""

    mean: Floats
    half: Floats
    p: Floats
    sd: Floats
    flips: Floats | None


def summed(logs: Floats) -> Summed:
    return Summed(*summary(logs), logs.std(axis=-1, ddof=1), sign_flips(logs))


def judgements(keys: Sequence[tuple[str, Any]], n: int, group: Summed, p_holm: Floats, threshold: float, look: int) -> Iterator[Judgement]:
    """The judgements of scenarios with ``n`` pairs each."""
    alpha = spent(n, look)
    gain = group.mean * np.array([DIRECTION[metric] for metric, _ in keys])
    said = verdicts(gain, group.half, p_holm, threshold, alpha, group.flips).tolist() if alpha else ["inconclusive"] * len(keys)
    flips = [None] * len(keys) if group.flips is None else group.flips.tolist()
    numbers = (values.tolist() for values in (group.mean, group.half, group.p, group.sd, p_holm))
    for (metric, _), mean, half, p, sd, holms, flip, verdict in zip(keys, *numbers, flips, said, strict=True):
        more = further_pairs(mean, sd, n, threshold, look) if verdict == "inconclusive" else 0
        yield Judgement(metric, n, math.exp(mean), math.exp(mean - half), math.exp(mean + half), sd, p, holms, flip, verdict, more)


def further_pairs(mean: float, sd: float, pairs: int, threshold: float, look: int = 1) -> int | None:
    """How many more pairs should settle it at the next look, if mean and SD stay what they are; at least 1, None where none may.

    Below LEAST_PAIRS the pairs up to there are still of this look. An estimate past the threshold: enough to show it at 80 % power. One
    within: enough for the interval to fit within the threshold, or, where the estimate is close to it, to be half as wide.
    """
    if pairs < LEAST_PAIRS:
        return LEAST_PAIRS - pairs
    if look >= len(LOOKS):
        return None
    alpha, bound = LOOKS[look], math.log1p(threshold)
    if abs(mean) >= bound:
        needed = power.pairs_for(mean, sd, alpha=alpha)
        least = math.ceil(math.log2(2 / (FLIP * alpha)))  # pairs whose sign flips can reach that at all
        needed = None if needed is None else max(needed, least)
    else:
        needed = power.pairs_for_width(max(bound - abs(mean), bound / 2), sd)
    return None if needed is None else max(needed - pairs, 1)
