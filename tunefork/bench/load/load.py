"""The load of one configuration, and what `vllm bench serve` must be told to draw it."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from tunefork.bench.profiles.rules import LoadRules
from tunefork.bench.records.schema import Scenario

# Slower than anything worth measuring; only what hangs meets it. Seconds.
SLOWEST_PREFILL_TOKEN = 0.005
SLOWEST_DECODE_TOKEN = 0.2
CLIENT_START_S = 600.0
ROUNDING = 1e-9


@dataclass(frozen=True)
class Lengths:
    """What the client draws from: uniform in [mean (1 - ratio), mean (1 + ratio)], in tokens."""

    mean: int
    ratio: float

    @property
    def shortest(self) -> int:
        return math.floor(self.mean * (1 - self.ratio))

    @property
    def longest(self) -> int:
        return math.ceil(self.mean * (1 + self.ratio))


def lengths(longest: int, range_ratio: float) -> Lengths:
    """The client's lengths for the competition's ratio r, which draws from [r L, L], L the longest; never beyond L, where a server may end.

    The mean is L (1+r)/2 rounded up to whole tokens, the half-width what is left to L; a hair less, since the client rounds its ends
    outwards.
    """
    mean = math.ceil(longest * (1 + range_ratio) / 2 - ROUNDING)
    return Lengths(mean, (longest - mean) / mean * (1 - ROUNDING))


def client_ratio(isl: int, osl: int, range_ratio: float) -> float:
    """The one half-width that `vllm bench serve` takes for both lengths: neither goes beyond its nominal one."""
    return min(lengths(isl, range_ratio).ratio, lengths(osl, range_ratio).ratio)


def scenario(isl: int, osl: int, conc: int, rules: LoadRules, *, range_ratio: float | None = None, num_prompts: int | None = None,
             seed: int = 0) -> Scenario:
    """One configuration under a profile's rules; the last three replace theirs. seed: of the run or pair; every load draws its own from it."""
    return Scenario(isl=isl, osl=osl, conc=conc, num_prompts=num_prompts or rules.prompts_per_conc * conc,
                    warmups=rules.warmups_per_conc * conc, range_ratio=range_ratio or rules.random_range_ratio, seed=prompts_seed(seed, isl, osl, conc))


def prompts_seed(seed: int, isl: int, osl: int, conc: int) -> int:
    """The client's seed for one load: no two loads of a run may share prompts, or a server that caches prefixes knows half of the second."""
    return random.Random(f"{seed} {isl} {osl} {conc}").randrange(2**31)


def deadline_s(one: Scenario) -> float:
    """Seconds after which a client that has not ended hangs: every request at five tokens a second."""
    rounds = math.ceil(one.num_prompts / one.conc) + math.ceil(one.warmups / one.conc)
    request = one.osl * SLOWEST_DECODE_TOKEN + one.isl * one.conc * SLOWEST_PREFILL_TOKEN
    return CLIENT_START_S + rounds * request
