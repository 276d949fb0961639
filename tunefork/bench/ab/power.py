"""How many pairs a claim needs: power of the paired t test, in units of s, the SD of a pair's log-ratio.

The statistic is noncentral t with n - 1 degrees of freedom and noncentrality (effect / s) sqrt(n) (Cohen 1988, ch. 2.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable

POWER, ALPHA = 0.8, 0.05
MOST_PAIRS = 10_000


def power(pairs: int, effect: float, alpha: float = ALPHA) -> float:
    """Chance that ``pairs`` (>= 2) pairs show an effect of ``effect`` SDs, two-sided at ``alpha``."""
    from scipy import special  # scipy.stats has the same behind a second of imports

    shift = abs(effect) * math.sqrt(pairs)
    # Beyond this the power is 1 to double precision, and scipy's noncentral t underflows.
    if shift > 36:
        return 1.0
    critical = -float(special.stdtrit(pairs - 1, alpha / 2))
    # The far tail is nothing for large shifts, where scipy may answer NaN; a NaN below the near one is as good as 0.
    far = float(special.nctdtr(pairs - 1, shift, -critical)) if shift < 5 else 0.0
    below = float(special.nctdtr(pairs - 1, shift, critical))
    return far + (1.0 if math.isnan(below) else 1 - below)


def detectable(pairs: int, wanted: float = POWER, alpha: float = ALPHA) -> float:
    """The least effect, in SDs of a pair, that ``pairs`` pairs show with power ``wanted``."""
    from scipy import optimize

    high = 1.0
    while power(pairs, high, alpha) < wanted:
        high *= 2
    return float(optimize.brentq(lambda effect: power(pairs, effect, alpha) - wanted, 0.0, high))


def pairs_for(effect: float, sd: float, wanted: float = POWER, alpha: float = ALPHA) -> int | None:
    """The least number of pairs that shows a log-ratio ``effect`` with power ``wanted``; None beyond 10,000 pairs."""
    if sd == 0:
        return 2
    return least(lambda pairs: power(pairs, effect / sd, alpha) >= wanted)


def pairs_for_width(half_width: float, sd: float, alpha: float = ALPHA) -> int | None:
    """The least number of pairs whose t interval is expected to reach no further than ``half_width`` to each side."""
    from scipy import special

    return least(lambda pairs: -float(special.stdtrit(pairs - 1, alpha / 2)) * sd / math.sqrt(pairs) <= half_width)


def least(enough: Callable[[int], bool]) -> int | None:
    """The least number of pairs from 2 on for which a monotone condition holds; None beyond MOST_PAIRS."""
    if not enough(MOST_PAIRS):
        return None
    low, high = 1, MOST_PAIRS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
