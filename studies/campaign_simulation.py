"""What a campaign is worth: simulated days of which the truth is known, run by the campaign's own code and by three ways that teams work today.

    python -m studies.campaign_simulation                        print the table
    python -m studies.campaign_simulation --write                put it into docs/gpu-day.md, and the picture beside it

A day has 12 candidates: eight patches, whose first start compiles for 20 minutes, and four values of two flags. A quarter gains 1.5 to 8 %, a quarter
loses 1 to 10 %, half do nothing. Three in ten pairs of gainers get in each other's way by half to all of the smaller gain. A start takes 10 minutes. Its
ln(score) is truth + drift (up to 3 % either way over the day, and a wave of 1 % every six hours) + normal noise of the day's CV (1 to 10 %,
log-uniform). Two starts in a hundred fail, and one candidate in twenty never starts. One server at a time; so hours are those of one lane.

one by one     each change in the team's order, three starts beside the three of what is kept so far; kept where the mean is 1 % better
full grid      every combination in the order of nested loops, a start each, until time is up; the best mean wins
sweep          as vLLM's `bench sweep serve`: a list (each alone, then every pair), three runs on one start each; the best mean wins
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from studies.ab_simulation import SEED
from tunefork.bench.ab import judge
from tunefork.bench.campaign import racing
from tunefork.bench.campaign.day import Block, Confirm, Day, Finish, Rules, Warm, best, decide
from tunefork.bench.campaign.plan import admitted
from tunefork.bench.campaign.racing import REFERENCE, Arm, Start

DAYS, HOURS = 2_000, (4, 6, 8, 12, 16, 24)
START, WARM, RESERVE = 10.0, 20.0, 30.0
LAUNCH, RUN = 4.0, 6.0
"""Of a start: what it takes to be ready, and one run of the load."""
WITHIN = 0.3
"""The share of a start's variance that a second run on it draws anew."""
LATE = 0.06
"""What the load of a first start loses, at most, to kernels that are compiled only when it meets them; a later start has them."""
PATCHES, KNOBS = 8, 2
WITHIN_BEST = math.log(1.01)
DOCUMENT, PICTURE = Path("docs/gpu-day.md"), Path("docs/img/campaign-simulation.png")
MARKS = "<!-- figures: python -m studies.campaign_simulation --write -->", "<!-- end of figures -->"


@dataclass(frozen=True)
class Truth:
    """What nobody on the day knows. effects: ln ratios by candidate.  pairs: what two together add to their sum."""

    names: tuple[str, ...]
    effects: dict[str, float]
    pairs: dict[frozenset[str], float]
    rivals: dict[str, frozenset[str]]
    broken: frozenset[str]
    cv: float
    slope: float
    phase: float

    def gain(self, arm: Arm) -> float:
        return sum(self.effects[name] for name in arm) + sum(self.pairs.get(frozenset(two), 0.0) for two in itertools.combinations(arm, 2))

    def possible(self, arm: Arm) -> bool:
        return not any(other in arm for name in arm for other in self.rivals.get(name, ()))

    def most(self) -> float:
        """The gain of the best combination: of gainers alone, since nothing else ever adds."""
        good = [name for name in self.names if self.effects[name] > 0 and name not in self.broken]
        arms = (arm for count in range(len(good) + 1) for arm in itertools.combinations(good, count))
        return max(self.gain(arm) for arm in arms if self.possible(arm))

    def warming(self, arm: Arm) -> float:
        return WARM if not arm or any(name.startswith("p") for name in arm) else 0.0


def truth(draw: np.random.Generator) -> Truth:
    """A day's."""
    names = [f"p{number}" for number in range(PATCHES)] + [f"f{knob}{value}" for knob in range(KNOBS) for value in range(2)]
    draw.shuffle(names)
    kinds = draw.permutation([1, 1, 1, -1, -1, -1, 0, 0, 0, 0, 0, 0])
    effects = {name: float(np.log1p(draw.uniform(0.015, 0.08) if kind > 0 else -draw.uniform(0.01, 0.10) if kind < 0 else 0.0))
               for name, kind in zip(names, kinds, strict=True)}
    good = [name for name in names if effects[name] > 0]
    pairs = {frozenset(two): -float(draw.uniform(0.5, 1.0)) * min(effects[name] for name in two)
             for two in itertools.combinations(good, 2) if draw.random() < 0.3}
    rivals = {f"f{knob}{value}": frozenset([f"f{knob}{1 - value}"]) for knob in range(KNOBS) for value in range(2)}
    broken = frozenset(name for name in names if draw.random() < 0.05)
    return Truth(tuple(names), effects, pairs, rivals, broken, float(np.exp(draw.uniform(math.log(0.01), math.log(0.10)))),
                 float(draw.uniform(-0.03, 0.03)), float(draw.uniform(0, 2 * math.pi)))


@dataclass
class Machine:
    """A simulated node with a clock."""

    truth: Truth
    minutes: float
    draw: np.random.Generator
    now: float = 0.0
    warm: set[Arm] = field(default_factory=set)

    @property
    def left(self) -> float:
        return self.minutes - self.now

    def level(self, arm: Arm) -> float:
        there = self.now / self.minutes
        return self.truth.gain(arm) + self.truth.slope * there + 0.01 * math.sin(2 * math.pi * self.now / 360 + self.truth.phase)

    def fails(self, arm: Arm) -> bool:
        return bool(set(arm) & self.truth.broken) or self.draw.random() < 0.02

    def ready(self, arm: Arm) -> float:
        """Minutes of an arm's first start beyond another."""
        return 0.0 if arm in self.warm else self.truth.warming(arm)

    def start(self, arm: Arm, runs: int = 1) -> float | None:
        """A start with so many runs of the load: their mean; None where it fails, which takes as long as becoming ready."""
        compiles = self.ready(arm)
        late = float(self.draw.uniform(0, LATE)) if compiles else 0.0
        self.now += compiles
        self.warm.add(arm)
        if self.fails(arm):
            self.now += LAUNCH
            return None
        self.now += LAUNCH + runs * RUN
        sd = math.sqrt(math.log1p(self.truth.cv**2))
        of_start, of_run = (float(self.draw.normal(0, sd * math.sqrt(share))) for share in (1 - WITHIN, WITHIN / max(runs, 1)))
        return self.level(arm) - late + of_start + of_run


@dataclass(frozen=True)
class End:
    """How a day ended. arm: what would be served tomorrow.  claims: arms that were called better than what they were compared with, that too."""

    arm: Arm
    claims: tuple[tuple[Arm, Arm], ...]


def campaign(machine: Machine) -> End:
    """Ours: the code of ``campaign run``, but for the servers."""
    known = machine.truth
    rules = Rules(known.names, known.rivals, START, {name: known.warming((name,)) for name in known.names}, RESERVE,
                  int(machine.draw.integers(2**31)), warm_reference=WARM)
    day = Day(admitted(rules, machine.minutes).rules)
    logs: list[float] = []
    again: set[tuple[int, int]] = set()
    while not isinstance(step := decide(day, machine.left), Finish):
        if isinstance(step, Warm):
            for arm in step.arms:
                good = machine.start(arm, 0) is not None or machine.start(arm, 0) is not None
                (day.warmed if good else day.unready).add(arm)
        elif isinstance(step, Block):
            if step.number == len(day.blocks):
                day.blocks.append(step)
            slot = day.left(step)[0]
            value = machine.start(step.slots[slot])
            if value is not None or (step.number, slot) in again:
                day.starts.append(Start(step.number, slot, step.slots[slot], value))
            again.add((step.number, slot))
        elif isinstance(step, Confirm):
            day.confirm = step
            day.pairs += 1
            order = [step.arm, REFERENCE] if machine.draw.random() < 0.5 else [REFERENCE, step.arm]
            values = {arm: machine.start(arm) for arm in order}
            a, b = values[REFERENCE], values[step.arm]
            if a is not None and b is not None:
                logs.append(b - a)
    return concluded(day, logs)


def concluded(day: Day, logs: Sequence[float]) -> End:
    """What the campaign says at its end."""
    found, _ = day.known()
    names = day.rules.candidates
    claims: list[tuple[Arm, Arm]] = [((name,), REFERENCE) for name in names if racing.shown(found, name, len(names), day.looks, day.rules.least)]
    arm = best(day) if day.confirm is None else day.confirm.arm
    if day.confirm is not None and len(logs) >= 2:
        mean, half, p = judge.summary(np.array(logs))
        flips = judge.sign_flips(np.array(logs))
        verdict = str(judge.verdicts(mean, half, p, alpha=judge.spent(len(logs)), flips=flips))
        if verdict == "better":
            claims.append((arm, REFERENCE))
        if verdict == "worse":
            arm = REFERENCE
    return End(arm, tuple(claims))


def one_by_one(machine: Machine, repeats: int = 3) -> End:
    """Each change on top of what is kept."""
    known, kept, claims = machine.truth, REFERENCE, []
    level = measured(machine, kept, repeats)
    for name in known.names if level is not None else ():
        arm = tuple(sorted([*(other for other in kept if other not in known.rivals.get(name, ())), name]))
        value = measured(machine, arm, repeats)
        if value is not None and level is not None and value - level >= math.log(1.01):
            claims.append((arm, kept))
            kept, level = arm, value
    return End(kept, tuple(claims))


def measured(machine: Machine, arm: Arm, repeats: int) -> float | None:
    """The mean of some starts, each tried twice; None where time or patience ends."""
    values: list[float] = []
    while len(values) < repeats:
        tries = 0
        while (tries := tries + 1) <= 2:
            if machine.ready(arm) + START > machine.left - RESERVE:
                return None
            value = machine.start(arm)
            if value is not None:
                values.append(value)
                break
        else:
            return None
    return sum(values) / len(values)


def listed(machine: Machine, arms: Iterator[Arm], runs: int) -> End:
    """Down a list, a start each; the best mean wins."""
    found: dict[Arm, float] = {}
    for arm in arms:
        if machine.ready(arm) + LAUNCH + runs * RUN > machine.left - RESERVE:
            break
        value = machine.start(arm, runs)
        if value is not None:
            found[arm] = value
    arm = max(found, key=lambda one: found[one], default=REFERENCE)
    return End(arm, ((arm, REFERENCE),) if arm != REFERENCE and REFERENCE in found else ())


def full_grid(machine: Machine) -> End:
    known = machine.truth
    combined = (tuple(sorted(name for name, there in zip(known.names, bits, strict=True) if there))
                for bits in itertools.product((False, True), repeat=len(known.names)))
    return listed(machine, (arm for arm in combined if known.possible(arm)), 1)


def sweep(machine: Machine) -> End:
    known = machine.truth
    arms = (tuple(sorted(arm)) for count in (0, 1, 2) for arm in itertools.combinations(known.names, count))
    return listed(machine, (arm for arm in arms if known.possible(arm)), 3)


WAYS: dict[str, Callable[[Machine], End]] = {"campaign": campaign, "one by one": one_by_one, "full grid": full_grid, "sweep": sweep}


@dataclass(frozen=True)
class Result:
    """hours and CV of a day, and by way: whether it ended within 1 % of the best, whether something was called better that was not, and the gain."""

    hours: int
    cv: float
    near: dict[str, bool]
    wrong: dict[str, bool]
    gain: dict[str, float]
    most: float


def simulate(number: int, hours: int) -> Result:
    """One day by all ways, on the same truth."""
    known = truth(np.random.default_rng([SEED, 20, number]))
    most = known.most()
    near, wrong, gain = {}, {}, {}
    for place, (name, way) in enumerate(WAYS.items()):
        end = way(Machine(known, hours * 60.0, np.random.default_rng([SEED, 21, number, hours, place])))
        value = -math.inf if set(end.arm) & known.broken else known.gain(end.arm)
        near[name], gain[name] = value >= most - WITHIN_BEST, value
        wrong[name] = any(known.gain(arm) - known.gain(other) <= 1e-12 for arm, other in end.claims)
    return Result(hours, known.cv, near, wrong, gain, most)


def shares(found: Sequence[Result], what: Callable[[Result], dict[str, bool]]) -> dict[str, float]:
    return {name: float(np.mean([what(one)[name] for one in found])) for name in WAYS}


def nothing(number: int, hours: int = 16) -> bool:
    """A day on which no candidate does anything: whether the campaign calls one better all the same."""
    known = replace(truth(np.random.default_rng([SEED, 22, number])), pairs={})
    known = replace(known, effects=dict.fromkeys(known.effects, 0.0))
    return bool(campaign(Machine(known, hours * 60.0, np.random.default_rng([SEED, 23, number]))).claims)


def hours_for(share: float, by_hours: Sequence[float]) -> float | None:
    """The hours at which a way reaches a share, between those that were simulated by straight lines; None where it never does."""
    for (low, first), (high, second) in itertools.pairwise(zip(HOURS, by_hours, strict=True)):
        if first < share <= second:
            return low + (high - low) * (share - first) / (second - first)
    return float(HOURS[0]) if by_hours[0] >= share else None


def figures(found: Sequence[Result], null: float) -> str:
    """The table as Markdown."""
    days = len(found) // len(HOURS)
    lines = [f"{days:,} days, each by every way at {', '.join(map(str, HOURS))} hours, seed {SEED}.", "",
             "**Days that end within 1 % of the best combination / days on which something is called better that is not**", "",
             "| hours | " + " | ".join(WAYS) + " | campaign / best other |", "|---|" + "---|" * (len(WAYS) + 1)]
    cells: list[tuple[str, list[Result]]] = [(str(hours), [one for one in found if one.hours == hours]) for hours in HOURS]
    cells.append(("all", list(found)))
    cells += [(f"all, CV {low:.0%} to {high:.0%}", [one for one in found if low <= one.cv < high]) for low, high in ((0.01, 0.02), (0.02, 0.05), (0.05, 0.11))]
    for name, own in cells:
        near, wrong = shares(own, lambda one: one.near), shares(own, lambda one: one.wrong)
        other = max(value for way, value in near.items() if way != "campaign")
        lines.append(f"| {name} | " + " | ".join(f"{near[way]:.1%} / {wrong[way]:.1%}" for way in WAYS) + f" | {near['campaign'] / other:.2f} |")
    ours = [shares([one for one in found if one.hours == hours], lambda one: one.near)["campaign"] for hours in HOURS]
    theirs = [max(value for way, value in shares([one for one in found if one.hours == hours], lambda one: one.near).items() if way != "campaign")
              for hours in HOURS]
    lines += ["", "**Hours in which the campaign ends with the best as often as the best of the others**", "",
              "| others | share | campaign | campaign / others |",
              "|---|---|---|---|"]
    for hours, share in zip(HOURS, theirs, strict=True):
        needs = hours_for(share, ours)
        lines.append(f"| {hours} h | {share:.1%} | " + (f"{needs:.1f} h | {needs / hours:.2f} |" if needs is not None else "never | - |"))
    gains = {way: float(np.mean([max(one.gain[way], -1.0) for one in found])) for way in WAYS}
    lines += ["", f"Mean gain at the end, of {np.mean([one.most for one in found]):.1%} that could be had: "
              + ", ".join(f"{way} {value:.1%}" for way, value in gains.items()) + ".",
              f"{days:,} days of 16 hours on which no candidate does anything: {null:.1%} with one called better by the campaign."]
    return "\n".join(lines)


def draw(found: Sequence[Result], path: Path) -> None:
    """The shares over the hours."""
    from tunefork.bench.report.charts import COLOURS
    from tunefork.bench.report.png import figure

    made, axes = figure(8, 4.5)
    for (name, _), colour in zip(WAYS.items(), COLOURS, strict=False):
        line = [100 * shares([one for one in found if one.hours == hours], lambda one: one.near)[name] for hours in HOURS]
        axes.plot(HOURS, line, "o-", color=colour, label=name)
    axes.set(title="Simulated days: how often the day ends with the best combination", xlabel="hours of one lane",
             ylabel="% within 1 % of the best", xlim=(0, 25), ylim=(0, 100))
    axes.grid(alpha=0.3)
    axes.legend()
    made.savefig(path, dpi=110)


def placed(text: str, block: str) -> str:
    """The document with the block between its marks."""
    before, _, rest = text.partition(MARKS[0])
    _, mark, after = rest.partition(MARKS[1])
    assert mark, f"{DOCUMENT} must hold the marks once"
    return f"{before}{MARKS[0]}\n{block}\n{mark}{after}"


if __name__ == "__main__":
    results = [simulate(number, hours) for number in range(DAYS) for hours in HOURS]
    text = figures(results, float(np.mean([nothing(number) for number in range(DAYS)])))
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(placed(DOCUMENT.read_text(encoding="utf-8"), text), encoding="utf-8")
        draw(results, PICTURE)
    print(text)
