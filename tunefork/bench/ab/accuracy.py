"""Accuracy of two arms on the same questions: McNemar where an answer is right or wrong, bits per byte where text is scored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tunefork.base.errors import BadInput


@dataclass(frozen=True)
class AccuracyDifference:
    """B minus A with its 95 % interval. unit: "share correct" or "bits per byte".  p: two-sided.  samples: questions or documents."""

    unit: str
    a: float
    b: float
    difference: float
    lo: float
    hi: float
    p: float
    samples: int


def mcnemar(a: Sequence[bool], b: Sequence[bool], alpha: float = 0.05) -> AccuracyDifference:
    """Exact McNemar test on the questions that the arms answer differently.

    The interval is Agresti and Min's (2005): Wald after adding half a question to each of the four cells.
    """
    from scipy import special, stats

    n = same_length(a, b)
    gained = sum(not x and y for x, y in zip(a, b, strict=True))
    lost = sum(x and not y for x, y in zip(a, b, strict=True))
    p = float(stats.binomtest(gained, gained + lost, 0.5).pvalue) if gained + lost else 1.0
    c, d, m = gained + 0.5, lost + 0.5, n + 2
    half = -float(special.ndtri(alpha / 2)) * math.sqrt((c + d) - (c - d) ** 2 / m) / m
    centre = (c - d) / m
    share_a, share_b = sum(a) / n, sum(b) / n
    return AccuracyDifference("share correct", share_a, share_b, share_b - share_a, centre - half, centre + half, p, n)


def bits_per_byte(a: Sequence[float], b: Sequence[float], size: Sequence[int], alpha: float = 0.05) -> AccuracyDifference:
    """Difference in bits per byte over the same documents. a, b: bits of each document; size: its bytes.

    A ratio of sums, so the interval is the delta method's over documents (Cochran 1977, ch. 6), with Student's t.
    """
    import numpy as np
    from scipy import special

    n = same_length(a, b)
    if n < 2 or len(size) != n:
        raise BadInput(f"bits per byte over {n} documents and {len(size)} sizes: expected two documents or more, each with its size",
                       "compare runs of the whole task")
    bits_a, bits_b, bytes_ = (np.asarray(one, dtype=np.float64) for one in (a, b, size))
    total = bytes_.sum()
    difference = float((bits_b - bits_a).sum() / total)
    residual = (bits_b - bits_a) - difference * bytes_
    error = math.sqrt(n / (n - 1) * float((residual**2).sum())) / float(total)
    half = -float(special.stdtrit(n - 1, alpha / 2)) * error
    p = 2 * float(special.stdtr(n - 1, -abs(difference) / error)) if error else float(difference == 0)
    return AccuracyDifference("bits per byte", float(bits_a.sum() / total), float(bits_b.sum() / total), difference, difference - half,
                              difference + half, p, n)


def same_length(a: Sequence[object], b: Sequence[object]) -> int:
    """How many questions both arms answered."""
    if len(a) != len(b) or not a:
        raise BadInput(f"A has {len(a)} answers and B {len(b)}: McNemar needs the same questions of both", "run the whole task on both")
    return len(a)
