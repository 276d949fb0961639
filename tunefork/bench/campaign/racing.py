"""The racing rule: what a block of server starts says of each arm, who is dropped, and who is shown to be better by the race alone.

A block is one start of every arm that is still in, the reference more than once, in a drawn order (Fisher 1935). ln(score) = block + lane + arm +
noise is fitted by least squares over all blocks, so that what the hour or the GPU adds is in the block or the lane, and the noise is one number with
the degrees of freedom of all arms together. After each block:

drop    where the upper bound of an arm's gain is below the least gain that matters, or below an arm that excludes it (two values of one flag).
        Successive elimination (Maron and Moore 1994; Even-Dar, Mannor and Mansour 2006) with Student's t in place of Hoeffding's bound. An arm
        that matters is dropped wrongly in at most DROP of days: look n spends DROP / (n (n + 1)), and these add up to DROP.
shown   where the lower bound is above 0 and the estimate matters. SHOWN is for all candidates and looks together (Bonferroni over candidates, the
        same series over looks). It is what bench/ab/judge.py keeps for a second look, which a campaign's confirmation never takes: 4 % there and
        1 % here are the 5 % of the day (docs/decisions/0080).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tunefork.bench.ab.judge import LOOKS

DROP = 0.10
SHOWN = LOOKS[1]

Arm = tuple[str, ...]
"""The names of an arm's candidates, sorted; () is the reference."""
REFERENCE: Arm = ()


@dataclass(frozen=True)
class Start:
    """One server start that was measured. slot: its place in the block.  lane: which GPUs.  value: ln(score), None where it failed."""

    block: int
    slot: int
    arm: Arm
    value: float | None
    lane: int = 0
    minutes: float = 0.0


@dataclass(frozen=True)
class Fit:
    """Effects against the reference, as ln ratios. sd: of one start, from ``df`` degrees of freedom; infinite where there are none."""

    arms: tuple[Arm, ...]
    effects: NDArray[np.floating]
    unscaled: NDArray[np.floating]
    sd: float
    df: float
    starts: dict[Arm, int] = field(default_factory=dict)

    def effect(self, arm: Arm) -> float:
        """0 for the reference."""
        return float(self.effects[self.arms.index(arm)]) if arm in self.arms else 0.0

    def error(self, arm: Arm, other: Arm = REFERENCE) -> float:
        """Standard error of one arm's effect minus another's."""
        weights = np.zeros(len(self.arms))
        for sign, one in ((1, arm), (-1, other)):
            if one in self.arms:
                weights[self.arms.index(one)] = sign
        return self.sd * math.sqrt(max(float(weights @ self.unscaled @ weights), 0.0)) if math.isfinite(self.sd) else math.inf

    def bounds(self, arm: Arm, alpha: float) -> tuple[float, float]:
        """One-sided bounds, each at ``alpha``."""
        half = quantile(alpha, self.df) * self.error(arm) if self.df > 0 else math.inf
        return self.effect(arm) - half, self.effect(arm) + half


@lru_cache(maxsize=65536)
def quantile(alpha: float, df: float) -> float:
    """Student's t: what is exceeded with probability ``alpha``."""
    return -float(special.stdtrit(df, alpha))


def chance(t: float, df: float) -> float:
    """Student's t: the chance of less than ``t``."""
    return float(special.stdtr(df, t))


def spent(total: float, look: int) -> float:
    """What look 1, 2, ... may spend of a total."""
    return total / (look * (look + 1))


def fit(starts: Sequence[Start], prior: tuple[float, float] = (0.0, 0.0)) -> Fit:
    """Least squares over all starts that gave a value. prior: (SD of a start, its degrees of freedom) from elsewhere."""
    good = [one for one in starts if one.value is not None]
    # A block without the reference, or an arm without a block that has it, says nothing of a difference to it.
    anchored = {one.block for one in good if one.arm == REFERENCE}
    good = [one for one in good if one.block in anchored]
    arms = tuple(dict.fromkeys(one.arm for one in good if one.arm != REFERENCE))
    blocks, lanes = sorted(anchored), sorted({one.lane for one in good})
    columns = len(arms) + len(blocks) + len(lanes) - 1
    design, values = np.zeros((len(good), max(columns, 0))), np.array([one.value for one in good], dtype=np.float64)
    place = {arm: number for number, arm in enumerate(arms)}
    for row, one in enumerate(good):
        if one.arm != REFERENCE:
            design[row, place[one.arm]] = 1
        design[row, len(arms) + blocks.index(one.block)] = 1
        if lanes.index(one.lane):
            design[row, len(arms) + len(blocks) + lanes.index(one.lane) - 1] = 1
    count = {arm: sum(one.arm == arm for one in good) for arm in arms}
    if not good:
        return Fit((), np.zeros(0), np.zeros((0, 0)), prior[0] if prior[1] else math.inf, prior[1], count)
    inverse = np.linalg.pinv(design.T @ design)
    found = inverse @ design.T @ values
    own = len(good) - int(np.linalg.matrix_rank(design))
    squares = float(np.sum((values - design @ found) ** 2)) + prior[1] * prior[0] ** 2
    df = own + prior[1]
    sd = math.sqrt(squares / df) if df > 0 else math.inf
    return Fit(arms, found[: len(arms)], inverse[: len(arms), : len(arms)], sd, df, count)


@dataclass(frozen=True)
class Dropped:
    """A candidate that is out, since which look, and why."""

    name: str
    look: int
    reason: str


def failed(starts: Sequence[Start], arm: Arm) -> bool:
    """Whether an arm's last start failed: each is tried twice before it counts as that."""
    own = [one.value for one in starts if one.arm == arm]
    return bool(own) and own[-1] is None


def race(starts: Sequence[Start], candidates: Sequence[str], rivals: dict[str, frozenset[str]], least: float,
         prior: tuple[float, float] = (0.0, 0.0)) -> dict[str, Dropped]:
    """Who is dropped after the blocks there are, each look by what was known then. least: the least gain that matters, as ln ratio.

    rivals: by name, those that exclude it. A candidate that was dropped at a look stays so.
    """
    out: dict[str, Dropped] = {}
    for look, block in enumerate(sorted({one.block for one in starts if one.arm != REFERENCE}), 1):
        known = [one for one in starts if one.block <= block]
        found = fit(known, prior)
        alpha = spent(DROP, look)
        for name in candidates:
            arm = (name,)
            if name in out:
                continue
            if failed(known, arm):
                out[name] = Dropped(name, look, "its start failed twice")
            elif arm in found.arms and found.bounds(arm, alpha)[1] < least:
                out[name] = Dropped(name, look, f"at most {math.expm1(found.bounds(arm, alpha)[1]):+.1%}, and {math.expm1(least):+.1%} matters")
        for name in candidates:
            better = next((other for other in rivals.get(name, ()) if name not in out and other not in out
                           and excluded(found, (name,), (other,), alpha)), None)
            if better:
                out[name] = Dropped(name, look, f"{better} is better and excludes it")
    return out


def excluded(found: Fit, arm: Arm, other: Arm, alpha: float) -> bool:
    """Whether an arm is surely not the better one of two."""
    if arm not in found.arms or other not in found.arms or found.df <= 0:
        return False
    return found.effect(arm) - found.effect(other) + quantile(alpha, found.df) * found.error(arm, other) < 0


def shown(found: Fit, name: str, candidates: int, look: int, least: float) -> bool:
    """Whether the race alone shows a candidate to be better."""
    arm = (name,)
    return arm in found.arms and found.effect(arm) >= least and found.bounds(arm, spent(SHOWN, max(look, 1)) / max(candidates, 1))[0] > 0
