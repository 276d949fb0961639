"""Whether an experiment's trials follow a rhythm of the machine: a load that comes back every few trials.

The orders within pairs are drawn, so a rhythm is noise and no verdict rests on it; but it widens every interval, and whoever runs the machine can
end it. Tested on the trials' logarithms in the order in which they ran: does a mean of its own for every place in the period explain more than each
arm's mean and a steady drift do (F test, Bonferroni over the periods)?
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

ALPHA = 0.01
LEAST_TRIALS = 8
PERIODS = range(2, 9)

Floats = NDArray[np.float64]


def period(values: Sequence[float], arms: Sequence[str]) -> int | None:
    """Trials from one beat to the next, where a rhythm is shown at 1 %; else None. values: positive, in the order of their starts."""
    n = len(values)
    if n < LEAST_TRIALS:
        return None
    logs = np.log(np.array(values, dtype=np.float64))
    logs -= logs.mean()  # within what is known: for the digits
    known, *beats = spaces("".join(arms))
    rest = left(known, logs)
    if rest <= 1e-18 * n:
        return None
    found = {each: chance(rest, left(space, logs), space.shape[1] - known.shape[1], n - space.shape[1]) for each, space in zip(PERIODS, beats, strict=False)}
    best = min(found, key=lambda each: found[each])
    return best if found[best] * len(found) <= ALPHA else None


@lru_cache(maxsize=4096)
def spaces(arms: str) -> tuple[Floats, ...]:
    """Orthonormal columns (n, rank): of each arm's mean and a drift, then of these with a beat of each of PERIODS that is seen three times."""
    n = len(arms)
    at = np.arange(n)
    known = np.stack([*(np.array([arm == each for arm in arms], dtype=np.float64) for each in sorted(set(arms))), at - (n - 1) / 2], axis=1)
    beats = [np.hstack([known, np.equal.outer(at % each, np.arange(each - 1)).astype(np.float64)]) for each in PERIODS if 3 * each <= n]
    return tuple(orthonormal(one) for one in (known, *beats))


def orthonormal(columns: Floats) -> Floats:
    """Of the same span."""
    made, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    found: Floats = made[:, sizes > 1e-9 * sizes[0]]
    return found


def left(space: Floats, logs: Floats) -> float:
    """The sum of squares that a space does not explain."""
    rest = logs - space @ (space.T @ logs)
    return float(rest @ rest)


def chance(rest: float, left: float, more: int, free: int) -> float:
    """p of the F test: ``more`` columns take the sum of squares from ``rest`` to ``left``, ``free`` degrees of freedom are left."""
    if more < 1 or free < 2:
        return 1.0
    from scipy import special

    return float(special.fdtrc(more, free, (rest - left) / more / (left / free))) if left > 0 else 0.0
