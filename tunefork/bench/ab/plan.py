"""The order of an experiment's trials: ABBA BAAB ..., so that a steady drift of the machine falls on both arms alike.

A pair is two trials next to each other, one of each arm, with the same seed. Pair orders go AB BA BA AB and repeat; over any even
number of pairs each arm comes first equally often, which cancels a linear drift. Which arm is first in the first pair is drawn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

from tunefork.base.errors import BadInput

Arm = Literal["A", "B"]
DEFAULT_PAIRS = 6
SWAPPED = (False, True, True, False)  # AB BA BA AB


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
    a_first = draw.random() < 0.5
    slots = []
    for pair in range(start + pairs):
        pair_seed = draw.randrange(2**31)
        swapped = SWAPPED[pair % 4] == a_first
        order: tuple[Arm, Arm] = ("B", "A") if swapped else ("A", "B")
        slots += [Slot(2 * pair + place, pair, arm, pair_seed) for place, arm in enumerate(order)]
    return tuple(slots[2 * start :])
