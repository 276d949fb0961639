"""What is believed of every combination, measured or not: each candidate's own effect, and what two do to each other.

A linear model, ln(score) = block + lane + sum of members' effects + sum over pairs of members of their interaction + noise, with normal priors
(Gelman et al., Bayesian Data Analysis, ch. 14: a regression whose coefficients are shrunk): EFFECT_SD for an effect, INTERACTION_SD for a pair. So
what is measured of single changes speaks of their combination, and the other way round. It chooses what to measure and what to propose; it
claims nothing: a claim is the race's (racing.py) or the confirmation's (ab/judge.py).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tunefork.bench.campaign.racing import Arm, Start

EFFECT_SD, INTERACTION_SD = 0.04, 0.015
UNKNOWN_SD = 0.03
"""Of a start, before anything is known of it."""
FLAT = 10.0
"""SD of a block's level: as good as no prior."""


@dataclass(frozen=True)
class Belief:
    """Posterior of effects and interactions. terms: single names and pairs.  mean, covariance: of their coefficients, ln ratios."""

    terms: dict[frozenset[str], int]
    mean: NDArray[np.floating]
    covariance: NDArray[np.floating]

    seen: dict[Arm, tuple[NDArray[np.float64], float]] = field(default_factory=dict, compare=False)

    def weights(self, arm: Arm) -> NDArray[np.float64]:
        """1 for each of its terms."""
        return self._known(arm)[0]

    def gain(self, arm: Arm) -> float:
        """Expected ln ratio to the reference."""
        return self._known(arm)[1]

    def _known(self, arm: Arm) -> tuple[NDArray[np.float64], float]:
        if arm not in self.seen:
            made = np.zeros(len(self.terms))
            made[places(self.terms, arm)] = 1
            self.seen[arm] = made, float(made @ self.mean)
        return self.seen[arm]

    def better(self, arm: Arm, than: Arm, by: float = 0.0) -> float:
        """The chance that one arm is better than another by more than ``by``."""
        weights = self.weights(arm) - self.weights(than)
        sd = math.sqrt(max(float(weights @ self.covariance @ weights), 1e-18))
        return 0.5 * math.erfc((by - float(weights @ self.mean)) / sd / math.sqrt(2))

    def spread(self, arm: Arm) -> float:
        """SD of an arm's gain."""
        weights = self.weights(arm)
        return math.sqrt(max(float(weights @ self.covariance @ weights), 0.0))


def places(terms: dict[frozenset[str], int], arm: Arm) -> list[int]:
    """Where an arm's terms stand."""
    pairs = (terms.get(frozenset(two)) for two in itertools.combinations(arm, 2))
    return [*(terms[frozenset([name])] for name in arm), *(place for place in pairs if place is not None)]


def believe(starts: Sequence[Start], names: Sequence[str], sd: float, effect_sd: float = EFFECT_SD) -> Belief:
    """The posterior after these starts. names: of the candidates.  sd: of a start; not finite where nothing is known.  effect_sd: of the prior."""
    good = [one for one in starts if one.value is not None]
    terms = {frozenset([name]): place for place, name in enumerate(names)}
    for two in itertools.combinations(names, 2):
        terms[frozenset(two)] = len(terms)
    blocks, lanes = sorted({one.block for one in good}), sorted({one.lane for one in good})
    size = len(terms) + len(blocks) + max(len(lanes) - 1, 0)
    prior = np.full(size, 1 / FLAT**2)
    prior[: len(names)] = 1 / effect_sd**2
    prior[len(names) : len(terms)] = 1 / INTERACTION_SD**2
    level = float(np.mean([one.value for one in good])) if good else 0.0
    noise = sd if math.isfinite(sd) and sd > 0 else UNKNOWN_SD
    design, values = np.zeros((len(good), size)), np.zeros(len(good))
    for row, one in enumerate(good):
        design[row, places(terms, one.arm)] = 1
        design[row, len(terms) + blocks.index(one.block)] = 1
        if lanes.index(one.lane):
            design[row, len(terms) + len(blocks) + lanes.index(one.lane) - 1] = 1
        values[row] = (one.value or 0.0) - level
    covariance = np.linalg.inv(np.diag(prior) + design.T @ design / noise**2)
    mean = covariance @ design.T @ values / noise**2
    return Belief(terms, mean[: len(terms)], covariance[: len(terms), : len(terms)])
