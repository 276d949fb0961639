"""The order of an experiment's trials: which arm of a pair comes first is drawn, so that no rhythm of the machine can favour one.

A pair is two trials next to each other, one of each arm, with the same seed. A fixed order (AB BA BA AB) cancels a steady drift and is
blind to a load that comes back every third trial; under a drawn one, both are noise that the judge sees. The first four orders are
drawn again while they are all alike: what then changes every second trial would be a difference of the arms.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from tunefork.base.errors import BadInput

Arm = Literal["A", "B"]
DEFAULT_PAIRS = 6
MIXED_PAIRS = 4


@dataclass(frozen=True)
class Slot:
    """One trial of the plan.

    position: its place in the experiment, from 0.  pair: from 0.  seed: of the client's prompts, the same for both of a pair.
    """

    position: int
    pair: int
    arm: Arm
    seed: int


def plan(pairs: int, seed: int, start: int = 0) -> tuple[Slot, ...]:
    """The trials of pairs ``start`` to ``start + pairs - 1``; the same ``seed`` always plans the same, whatever ``start`` is.

    So an experiment can be lengthened: the first pairs stay what they were.
    """
    if pairs < 1 or start < 0:
        raise BadInput(f"{pairs} pairs from pair {start}: expected at least 1 pair, from pair 0 on", f"--pairs {DEFAULT_PAIRS}")
    draw = random.Random(seed)
    while len(set(b_first := [draw.random() < 0.5 for _ in range(MIXED_PAIRS)])) == 1:
        pass
    slots = []
    for pair in range(start + pairs):
        pair_seed = draw.randrange(2**31)
        b_leads = b_first[pair] if pair < MIXED_PAIRS else draw.random() < 0.5
        order: tuple[Arm, Arm] = ("B", "A") if b_leads else ("A", "B")
        slots += [Slot(2 * pair + place, pair, arm, pair_seed) for place, arm in enumerate(order)]
    return tuple(slots[2 * start :])
