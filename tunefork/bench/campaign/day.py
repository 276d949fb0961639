"""What to do next: a pure function of what a day was planned to be, what has happened, and the minutes that are left.

``campaign run`` and the simulation (studies/campaign_simulation.py) call the same ``decide``. Nothing here knows a clock, a server or a file.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from scipy import stats

from tunefork.bench.campaign import racing
from tunefork.bench.campaign.belief import EFFECT_SD, Belief, believe
from tunefork.bench.campaign.cost import SLACK
from tunefork.bench.campaign.racing import REFERENCE, Arm, Dropped, Fit, Start

Kind = Literal["A/A", "beside", "race", "combine"]
"""beside: the reference on every lane at once, to be compared with the A/A before it."""
MOST_PAIRS, LEAST_PAIRS = 8, 4
MOST_LOOKS = 2
"""Blocks of single candidates; what is undecided then is measured with or without the best combination."""
COMBINED = 3
"""Starts of the best combination before it may be proposed without another look."""
DOUBT, BESIDE = 0.05, 4
"""A combination is measured where it is the better one with more than this chance; so many beside the best."""


@dataclass(frozen=True)
class Rules:
    """What a day is run by. candidates: in order of importance, those that fit.  rivals: by name, those that exclude it.

    lanes: server starts beside each other.  least: the least gain that matters, as ln ratio.  warm: minutes of an arm's first start beyond
    ``start``, by candidate; a combination takes its dearest member's.  reserve: minutes kept for gate, scenarios and report.
    noise: (SD of a start, degrees of freedom) from records of this machine.  aa: starts of the reference before the race.  confirm: whether a
    confirmation fits.  resized: candidates whose server takes another number of GPUs than the reference's: pairs compare equal hardware alone.
    """

    candidates: tuple[str, ...]
    rivals: Mapping[str, frozenset[str]]
    start: float
    warm: Mapping[str, float]
    reserve: float
    seed: int
    least: float = math.log1p(0.01)
    lanes: int = 1
    aa: int = 0
    confirm: bool = True
    noise: tuple[float, float] = (0.0, 0.0)
    warm_reference: float = 0.0
    resized: frozenset[str] = frozenset()

    def warming(self, arm: Arm) -> float:
        """Minutes that an arm's first start takes beyond another; 0: it need not be warmed."""
        return max((self.warm.get(name, 0.0) for name in arm), default=self.warm_reference)

    def minutes(self, starts: int) -> float:
        """Of so many starts, side by side where there are lanes."""
        return math.ceil(starts / self.lanes) * self.start


@dataclass(frozen=True)
class Block:
    """Arms to start once each, in this order. number: from 0, over the whole day."""

    number: int
    kind: Kind
    slots: tuple[Arm, ...]


@dataclass(frozen=True)
class Warm:
    """Start arms once, to fill the caches; nothing of it counts."""

    arms: tuple[Arm, ...]


@dataclass(frozen=True)
class Confirm:
    """Pairs of the finalist and the reference on fresh starts, judged by bench/ab/judge.py."""

    arm: Arm
    pairs: int


@dataclass(frozen=True)
class Finish:
    """Nothing more that fits could change the result. why: in words."""

    why: str


@dataclass
class Day:
    """What has happened. blocks: as they were begun.  warmed: arms whose caches are full.  unready: arms that did not start to be warmed.

    confirm: what was begun of a confirmation.  pairs: of it that are done.
    """

    rules: Rules
    blocks: list[Block] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    warmed: set[Arm] = field(default_factory=set)
    unready: set[Arm] = field(default_factory=set)
    confirm: Confirm | None = None
    pairs: int = 0

    @cached_property
    def _memory(self) -> dict[tuple[int, int], tuple[Fit, dict[str, Dropped]]]:
        return {}

    def known(self) -> tuple[Fit, dict[str, Dropped]]:
        """The fit over all starts, and who was dropped."""
        key = (len(self.starts), len(self.unready))
        if key not in self._memory:
            self._memory.clear()
            out = racing.race([one for one in self.starts if self.kind(one.block) == "race"], self.rules.candidates, dict(self.rules.rivals),
                              self.rules.least, self.rules.noise)
            out |= {name: Dropped(name, 0, "its first start failed") for name in self.rules.candidates if (name,) in self.unready and name not in out}
            self._memory[key] = racing.fit(self.starts, self.rules.noise), out
        return self._memory[key]

    def cold(self, arms: Iterable[Arm]) -> tuple[Arm, ...]:
        """Those that have to be warmed, each once."""
        return tuple(dict.fromkeys(arm for arm in arms if arm not in self.warmed and self.rules.warming(arm) > 0))

    def kind(self, number: int) -> Kind:
        return self.blocks[number].kind

    def left(self, block: Block) -> list[int]:
        """The slots of a block that are still to measure."""
        done = {one.slot for one in self.starts if one.block == block.number}
        return [slot for slot, arm in enumerate(block.slots) if slot not in done and arm not in self.unready]

    def belief(self) -> Belief:
        """What is believed of every combination."""
        key = len(self.starts)
        if key not in self._beliefs:
            self._beliefs.clear()
            found = self.known()[0]
            # A change that surely does far more than the prior expects (a planted fault, a wrong flag) must not be shrunk to it.
            surely = max((abs(found.effect(arm)) - 2 * found.error(arm) for arm in found.arms if len(arm) == 1), default=0.0)
            self._beliefs[key] = believe(self.starts, self.rules.candidates, found.sd, max(EFFECT_SD, surely / 3))
        return self._beliefs[key]

    @cached_property
    def _beliefs(self) -> dict[int, Belief]:
        return {}

    def measured(self, arm: Arm) -> int:
        """Starts of an arm that gave a value."""
        return sum(one.arm == arm and one.value is not None for one in self.starts)

    @property
    def looks(self) -> int:
        return sum(one.kind == "race" for one in self.blocks)


def decide(day: Day, minutes: float) -> Warm | Block | Confirm | Finish:
    """The next thing to do with so many minutes left of the day. Nothing is returned that would not end before the reserve begins."""
    free = minutes - day.rules.reserve
    return begun(day, free) or opening(day, free) or middle(day, free) or finalist(day, free)


def begun(day: Day, free: float) -> Block | Confirm | Finish | None:
    """What was begun goes on; after a confirmation nothing is begun."""
    fits = day.rules.start * SLACK
    if day.confirm:
        more = day.pairs < day.confirm.pairs and 2 * fits <= free
        return day.confirm if more else Finish("the finalist was confirmed as far as the time allowed")
    if day.blocks and day.left(day.blocks[-1]) and fits <= free:
        return day.blocks[-1]
    return None


def opening(day: Day, free: float) -> Warm | Block | Finish | None:
    """The reference: warm, then beside itself."""
    rules = day.rules
    if REFERENCE in day.unready:
        return Finish("the reference does not start")
    if day.cold([REFERENCE]):
        return Warm((REFERENCE,)) if (rules.warm_reference + rules.start) * SLACK <= free else Finish("no start fits into the time")
    if rules.aa and not day.blocks and rules.aa * rules.start + later(rules) <= free:
        return Block(0, "A/A", (REFERENCE,) * rules.aa)
    if rules.lanes > 1 and [one.kind for one in day.blocks] == ["A/A"] and rules.minutes(rules.lanes) + later(rules) <= free:
        return Block(1, "beside", (REFERENCE,) * rules.lanes)
    return None


def middle(day: Day, free: float) -> Warm | Block | None:
    """The race of single candidates, then their combinations."""
    racing_still = not any(one.kind == "combine" for one in day.blocks)
    return (next_race(day, free) if racing_still else None) or next_combination(day, free)


def disturbed(day: Day) -> bool:
    """Whether neighbours slow each other: the reference beside itself is slower than alone by more than matters, and surely so (Welch, 5 %)."""
    alone, beside = ([one.value for one in day.starts if one.value is not None and day.kind(one.block) == kind] for kind in ("A/A", "beside"))
    if len(alone) < 2 or len(beside) < 2:
        return False
    slower = sum(alone) / len(alone) - sum(beside) / len(beside)
    return slower > day.rules.least and float(stats.ttest_ind(alone, beside, equal_var=False, alternative="greater").pvalue) <= 0.05


def later(rules: Rules) -> float:
    """Minutes to keep for combining and confirming while the race goes on."""
    together = rules.minutes(3) + max(rules.warm.values(), default=0.0) + rules.start if len(rules.candidates) > 1 else 0.0
    return (confirming(rules, LEAST_PAIRS) + together) * SLACK


def confirming(rules: Rules, pairs: int) -> float:
    """Minutes of so many pairs: a lane has one pair at a time."""
    return math.ceil(pairs / rules.lanes) * 2 * rules.start if rules.confirm else 0.0


def references(arms: int) -> int:
    """Starts of the reference beside so many arms: each arm is compared with it, so that it is worth measuring better (Dunnett 1955)."""
    return max(1, round(math.sqrt(arms)))


def drawn(rules: Rules, number: int, arms: Iterable[Arm], count: int) -> tuple[Arm, ...]:
    """Arms and ``count`` references in an order that is drawn, the same for the same day and block.

    The references stand in different parts of the block, so that a drift of the machine is between them and not between them and the arms.
    """
    draw = random.Random(f"{rules.seed}-{number}")
    order = list(arms)
    draw.shuffle(order)
    for part in reversed(range(count)):
        low, high = len(order) * part // count, len(order) * (part + 1) // count
        order.insert(draw.randint(low, high), REFERENCE)
    return tuple(order)


def next_race(day: Day, free: float) -> Warm | Block | None:
    """Another block of all that are still in; of the best of them where not all fit."""
    rules, (found, out) = day.rules, day.known()
    alive = [name for name in rules.candidates if name not in out]
    if not alive or day.looks >= MOST_LOOKS or settled(day, alive):
        return None
    # Who has not been measured comes first, then who looks best.
    order = sorted(alive, key=lambda name: (found.starts.get((name,), 0) > 0, -found.effect((name,)) if found.starts.get((name,)) else 0.0))
    keep = later(rules)
    for count in range(len(order), 0, -1):
        chosen = order[:count]
        cold = day.cold((name,) for name in chosen)
        need = sum(rules.warming(arm) + rules.start * SLACK for arm in cold) / rules.lanes + rules.minutes(count + references(count)) * SLACK
        if need + keep <= free:
            if cold:
                return Warm(cold[: rules.lanes])
            return Block(len(day.blocks), "race", drawn(rules, len(day.blocks), [(name,) for name in chosen], references(count)))
    return None


def settled(day: Day, alive: list[str]) -> bool:
    """Whether the race has nothing more to tell: everyone who is left is surely worth having, and none excludes another."""
    found, _ = day.known()
    if not day.looks:
        return False
    sure = all((name,) in found.arms and found.bounds((name,), racing.spent(racing.DROP, day.looks))[0] > 0 for name in alive)
    return sure and not any(other in alive for name in alive for other in day.rules.rivals.get(name, ()))


def wanted(day: Day) -> Arm:
    """The combination that is believed to gain most, found from the best single by taking in and leaving out one at a time."""
    arm, belief = REFERENCE, day.belief()
    while True:
        best = max(neighbours(day, arm), key=belief.gain, default=arm)
        if belief.gain(best) <= belief.gain(arm):
            return arm
        arm = best


def neighbours(day: Day, arm: Arm) -> list[Arm]:
    """Arms that differ from one in one member; a rival's place is taken. Without those that were dropped, failed or do not start."""
    found, out = day.known()
    alive = [name for name in day.rules.candidates if name not in out and found.starts.get((name,))]
    made = [tuple(name for name in arm if name != left) for left in arm]
    made += [tuple(sorted([*(name for name in arm if name not in day.rules.rivals.get(new, ())), new])) for new in alive if new not in arm]
    return [one for one in made if one not in day.unready and not racing.failed(day.starts, one)]


def next_combination(day: Day, free: float) -> Warm | Block | None:
    """The best combination, and those of its neighbours that may still be better, the likeliest first, as many as fit."""
    rules, belief, arm = day.rules, day.belief(), wanted(day)
    if not arm:
        return None
    doubtful = sorted(((belief.better(one, arm), one) for one in neighbours(day, arm) if one), reverse=True)
    others = [one for chance, one in doubtful if chance > DOUBT][:BESIDE]
    if not others and day.measured(arm) >= COMBINED:
        return None
    for count in range(len(others), -1, -1):
        arms = [arm] * references(count + 1) + others[:count]
        cold = day.cold(arms)
        need = (sum(rules.warming(one) + rules.start for one in cold) / rules.lanes + rules.minutes(len(arms) + 1)) * SLACK
        if need + confirming(rules, LEAST_PAIRS) * SLACK <= free:
            return Warm(cold[: rules.lanes]) if cold else Block(len(day.blocks), "combine", drawn(rules, len(day.blocks), arms, 1))
    return None


def best(day: Day) -> Arm:
    """The arm that is believed to gain most of those that were measured; the reference where none gains."""
    found, out = day.known()
    belief = day.belief()
    return max([REFERENCE, *(arm for arm in found.arms if not set(arm) & set(out))], key=belief.gain)


def finalist(day: Day, free: float) -> Confirm | Finish:
    """The best arm against the reference, in as many pairs as fit."""
    rules, arm = day.rules, best(day)
    if not day.known()[0].arms:
        return Finish("the time was too short to compare anything with the reference")
    if arm == REFERENCE:
        return Finish("nothing looks better than the reference")
    if set(arm) & rules.resized:
        return Finish("its server takes another number of GPUs than the reference's, and pairs compare equal hardware: the race is all there is")
    if not rules.confirm:
        return Finish("no confirmation was planned: it does not fit into the hours")
    pairs = next((pairs for pairs in range(MOST_PAIRS, LEAST_PAIRS - 1, -1) if confirming(rules, pairs) * SLACK <= free), 0)
    if not pairs:
        return Finish("no confirmation fits into what is left")
    return Confirm(arm, pairs)
