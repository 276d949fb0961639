"""Which candidates fit into the hours, and what such a day would look like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tunefork.bench.campaign import day as days
from tunefork.bench.campaign.cost import Costs
from tunefork.bench.campaign.day import Rules

CONFIRMS = 0.15
"""Of the hours, at most, for the least confirmation: a shorter day ends with a proposal and its certainty, and the cost of a confirmation."""
HALF = 0.5
"""Of the candidates, expected to be dropped by each look."""


@dataclass(frozen=True)
class Step:
    """One line of the plan. minutes: expected.  decides: what is known after it that was not before."""

    name: str
    minutes: float
    decides: str


@dataclass(frozen=True)
class Plan:
    """rules: with the candidates that fit.  left_out: the names of those that do not, in order.  steps: the day; minutes add up."""

    rules: Rules
    left_out: tuple[str, ...]
    steps: tuple[Step, ...]
    hours: float

    @property
    def minutes(self) -> float:
        return sum(one.minutes for one in self.steps)


@dataclass(frozen=True)
class Admitted:
    rules: Rules
    left_out: tuple[str, ...]


def least_minutes(rules: Rules, names: Sequence[str]) -> float:
    """What a race of these takes at the least: every arm warmed, one block, the combination, the confirmation and the reserve."""
    arms = len(names)
    warm = sum(rules.warming((name,)) + rules.start for name in names if rules.warming((name,))) / rules.lanes
    warm += rules.warm_reference and rules.warm_reference + rules.start
    block = rules.minutes(arms + days.references(arms))
    calibrate = rules.aa * rules.start + (rules.start if rules.lanes > 1 else 0.0)
    return calibrate + warm + block + days.later(replace(rules, candidates=tuple(names))) + rules.reserve


def admitted(rules: Rules, minutes: float, *, auto: bool = True) -> Admitted:
    """As many candidates as can all be measured once, in their order; without a confirmation where it would take too much of the hours."""
    if auto and rules.confirm and days.confirming(rules, days.LEAST_PAIRS) > CONFIRMS * minutes:
        rules = replace(rules, confirm=False)
    count = fitting(rules, minutes)
    chosen = rules.candidates[:count]
    return Admitted(replace(rules, candidates=chosen, warm={name: rules.warm.get(name, 0.0) for name in chosen}), rules.candidates[count:])


def fitting(rules: Rules, minutes: float) -> int:
    """The most candidates, from the first on, whose race fits: a bisection, for it only grows."""
    low, high = 0, len(rules.candidates)
    while low < high:
        middle = (low + high + 1) // 2
        if least_minutes(rules, rules.candidates[:middle]) <= minutes:
            low = middle
        else:
            high = middle - 1
    return low


def planned(rules: Rules, hours: float, costs: Costs, tune: Sequence[str] = (), *, auto: bool = True) -> Plan:
    """What fits into the hours, and the day that is expected of it. auto: a confirmation is left out where it takes too much."""
    before = costs.doctor + costs.develop + (costs.tuning if tune else 0.0)
    found = admitted(rules, 60 * hours - before, auto=auto)
    own, names = found.rules, found.rules.candidates
    cold = [name for name in names if own.warm[name]]
    steps = [Step("doctor", costs.doctor, "whether this machine can do it"), Step("develop", costs.develop, "nothing: the series is installed")]
    if tune:
        steps.append(Step("tune kernels", costs.tuning, "the kernel tables of this chip, as measured here"))
    if own.warm_reference:
        steps.append(Step("warm the reference", own.warm_reference + own.start, "nothing: JIT, counted apart"))
    if own.aa:
        steps.append(Step("A/A", own.aa * own.start, "how much two equal starts differ"))
    if own.lanes > 1:
        steps.append(Step("A/A side by side", own.start, f"whether {own.lanes} neighbours disturb each other"))
    if cold:
        steps.append(Step(f"warm {len(cold)} arms", sum(own.warm[name] + own.start for name in cold) / own.lanes, "who does not start; JIT, counted apart"))
    if names:
        steps.append(Step(f"race {len(names)}", own.minutes(len(names) + days.references(len(names))), "who is surely not worth it"))
    if len(names) > 1:
        steps.append(Step("combine", own.minutes(days.COMBINED + 1) + max(own.warm.values(), default=0.0) + own.start, "whether the best go together"))
    if own.confirm and names:
        steps.append(Step(f"confirm, {days.LEAST_PAIRS} pairs", days.confirming(own, days.LEAST_PAIRS), "better, worse or no difference, on fresh starts"))
    steps += [Step("accuracy gate", costs.gate, "whether the proposal may be served"),
              Step("full scenarios", costs.scenarios, "its scores, for the submission"),
              Step("report", costs.report, "what to merge, drop, and measure another day")]
    left = 60 * hours - sum(one.minutes for one in steps)
    second = next((count for count in range(math.ceil(len(names) * HALF), 0, -1) if own.minutes(count + days.references(count)) <= left), 0)
    if second:
        took = own.minutes(second + days.references(second))
        place = 1 + next(place for place, one in enumerate(steps) if one.name.startswith("race"))
        steps.insert(place, Step(f"race about {second}", took, "who is worth combining"))
        left -= took
    if left >= own.start and names:
        steps.insert(-3, Step("more", left, "with what is left: combinations, those without one member, pairs"))
    return Plan(own, found.left_out, tuple(steps), hours)
