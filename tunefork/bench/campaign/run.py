"""``campaign run``: does what day.decide says, one thing after the other, and writes down each before the next; so a kill costs what it hit.

The same command goes on: what the book or the records have is not measured again. Every start is bounded by what is left of the hours, less the
reserve; the reserve is for gate, scenarios and report.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunefork.base.errors import TuneforkError
from tunefork.base.mutex import locked
from tunefork.base.process import Say
from tunefork.bench.ab.outcome import Outcome
from tunefork.bench.campaign import book, day, result
from tunefork.bench.campaign.clock import REAL, DayClock, Sources
from tunefork.bench.campaign.day import Block, Confirm, Day, Finish, Warm
from tunefork.bench.campaign.planned import Planned, named
from tunefork.bench.campaign.racing import Arm, Start
from tunefork.bench.campaign.result import Result
from tunefork.bench.campaign.runner import WARMING, Given, Runner, Wanted
from tunefork.bench.errors import NothingMeasured
from tunefork.bench.kernels.journal import Journal
from tunefork.bench.load import limits
from tunefork.bench.profiles import profile as profiles

CLOCK, LOCK = "clock.json", ".lock"
BEFORE = ("doctor", "develop")
WARNS = ("doctor", "tune")
"""Steps that may go badly without an end of the day."""


@dataclass
class Going:
    """A campaign under way. show: called with what is done now, after every change (the live page)."""

    where: Path
    planned: Planned
    runner: Runner
    clock: DayClock
    journal: Journal
    say: Say
    show: Callable[[Going, str], None]
    outcome: Outcome | None = None
    now: str = ""
    missed: dict[str, int] = field(default_factory=dict)

    @property
    def left(self) -> float:
        """Minutes of the day."""
        return self.planned.minutes - self.clock.used_s() / 60

    @property
    def within_s(self) -> float:
        """How long something may take that begins now."""
        return max(60 * (self.left - self.planned.rules.reserve), 1.0)

    def day(self) -> Day:
        return book.day(self.planned, self.journal.rows)

    def write(self, key: str, row: dict[str, Any]) -> None:
        self.journal.append(key, row)
        self.clock.tick()

    def tell(self, what: str) -> None:
        """What is done now."""
        self.now = what
        self.say(f"{what}  ({max(self.left, 0):.0f} min left)")
        self.clock.tick()
        self.show(self, what)


def run(where: Path, planned: Planned, runner: Runner, say: Say, show: Callable[[Going, str], None], sources: Sources = REAL) -> Result:
    """Begin, or go on. MissingTool or NothingMeasured where the machine cannot do it at all; everything else ends in a result."""
    limits.files(profiles.load(planned.profile).most_conc)  # the finalist runs them all
    with locked(where / LOCK, say, f"waiting: campaign {planned.name} runs in another process"), book.opened(where, planned) as journal:
        going = Going(where, planned, runner, DayClock(where / CLOCK, sources), journal, say, show)
        if going.clock.note:
            say(going.clock.note)
        before(going)
        going.outcome = runner.confirmed()
        why = race(going)
        going.write("finish", {"why": why})
        last(going, why)
        found = conclude(going, why)
        going.show(going, "ended")
        return found


def before(going: Going) -> None:
    """The steps before the race that are still to do."""
    for name in (*BEFORE, *(("tune",) if going.planned.tune else ())):
        if going.journal.rows.get(f"step:{name}", {}).get("good") or (name in WARNS and f"step:{name}" in going.journal.rows):
            continue
        going.tell(name)
        began = going.clock.used_s()
        good, note = going.runner.prepare(name, going.within_s)
        going.write(f"step:{name}", {"good": good, "note": note, "minutes": round((going.clock.used_s() - began) / 60, 3)})
        if not good:
            going.say(f"{name}: {note}")
        if not good and name not in WARNS:
            raise NothingMeasured(f"{name} failed: {note}", f"mend it, then python3 build.py campaign run --name {going.planned.name}")


def race(going: Going) -> str:
    """Do what is decided until it is enough. Returns why it ended."""
    while True:
        if why := gone(going):
            return why
        known = going.day()
        step = day.decide(known, going.left)
        if isinstance(step, Finish):
            return step.why
        if isinstance(step, Warm):
            warm(going, step.arms)
        elif isinstance(step, Block):
            block(going, known, step)
        else:
            confirm(going, step)


def gone(going: Going) -> str:
    """Take note of lost GPUs; why the day ends where all are."""
    there = going.runner.lanes()
    lanes = book.rules(going.planned.rules, going.journal.rows).lanes
    if there < 1:
        return "the GPUs are gone"
    if there < lanes:
        going.say(f"{lanes - there} of {lanes} lanes are gone; going on with {there}")
        going.write(f"lanes:{there}", {})
    return ""


def warm(going: Going, arms: tuple[Arm, ...]) -> None:
    """Fill the caches of arms; what fails once is tried once more."""
    going.tell(f"warming {', '.join(map(named, arms))}")
    given = going.runner.start([Wanted(WARMING, place, arm, place) for place, arm in enumerate(arms)], going.within_s)
    for arm, one in zip(arms, given, strict=True):
        going.missed[named(arm)] = going.missed.get(named(arm), 0) + (one.value is None)
        if one.value is not None or (not lost(going, one) and going.missed[named(arm)] > 1):
            going.write(book.key_of(arm), {"arm": list(arm), "good": one.value is not None, "minutes": round(one.minutes, 3), "note": one.reason})
        if one.value is None:
            going.say(f"  {named(arm)} did not start: {one.reason}")


def block(going: Going, known: Day, step: Block) -> None:
    """As many of the block's starts as there are lanes."""
    if f"block:{step.number}" not in going.journal.rows:
        going.write(f"block:{step.number}", {"kind": step.kind, "slots": [list(arm) for arm in step.slots]})
    lanes = 1 if step.kind == "A/A" else known.rules.lanes
    wanted: list[Wanted] = []
    for slot in known.left(step):
        one = Wanted(step.number, slot, step.slots[slot], len(wanted))
        if (given := going.runner.there(one)) is not None and given.value is not None:  # measured, and killed before it was written down
            note(going, one, given)
        elif len(wanted) < lanes:
            wanted.append(one)
    if not wanted:
        return
    going.tell(f"{step.kind} {step.number}: {', '.join(named(one.arm) for one in wanted)}")
    for one, given in zip(wanted, going.runner.start(wanted, going.within_s), strict=True):
        again = f"again:{one.block}-{one.slot}"
        if given.value is None and (lost(going, given) or again not in going.journal.rows):
            going.say(f"  {named(one.arm)}: {given.reason}; it is made again")
            if not lost(going, given):
                going.write(again, {"reason": given.reason, "minutes": round(given.minutes, 3)})
        else:
            note(going, one, given)
    if step.kind == "beside" and day.disturbed(going.day()) and "alone" not in going.journal.rows:
        going.say("neighbours disturb each other: one start at a time from here")
        going.write("alone", {})


def lost(going: Going, given: Given) -> bool:
    """Whether a failure is the machine's: its time was up, or a GPU went."""
    return given.machine or going.runner.lanes() < book.rules(going.planned.rules, going.journal.rows).lanes


def note(going: Going, one: Wanted, given: Given) -> None:
    """Write a start down."""
    made = Start(one.block, one.slot, one.arm, given.value, one.lane, given.minutes)
    going.write(f"start:{one.block}-{one.slot}", book.start_row(made, given.reason, list(given.records)))
    if given.value is None:
        going.say(f"  {named(one.arm)} failed: {given.reason}")


def confirm(going: Going, step: Confirm) -> None:
    """The next pairs, as many as there are lanes."""
    if "confirm" not in going.journal.rows:
        going.write("confirm", {"arm": list(step.arm), "pairs": step.pairs})
    there = going.runner.paired()
    left = [number for number in range(step.pairs) if f"pair:{number}" not in going.journal.rows]
    for number in [number for number in left if number in there]:  # measured, and killed before it was written down
        going.write(f"pair:{number}", {"good": True})
    wanted = [number for number in left if number not in there][: book.rules(going.planned.rules, going.journal.rows).lanes]
    if wanted:
        going.tell(f"confirming {named(step.arm)}: pair {', '.join(str(number + 1) for number in wanted)} of {step.pairs}")
        begun = going.clock.used_s()
        good = going.runner.pairs(step.arm, step.pairs, wanted, going.within_s)
        minutes = round((going.clock.used_s() - begun) / 60 / len(wanted), 3)
        for number, well in zip(wanted, good, strict=True):
            going.write(f"pair:{number}", {"good": well, "minutes": minutes})
    going.outcome = going.runner.confirmed()


def last(going: Going, why: str) -> None:
    """Gate and full scenarios of the proposal, where they fit into what is left."""
    if going.journal.rows.get("step:final", {}).get("done"):
        return
    arm = conclude(going, why).arm
    costs = going.planned.costs
    if not arm or going.left * 60 < 1 or costs.gate > going.left:
        return
    going.tell(f"accuracy gate and full scenarios of {named(arm)}")
    began = going.clock.used_s()
    try:
        good, said = going.runner.final(arm, max(60 * (going.left - costs.report), 1.0))
    except TuneforkError as error:
        good, said = False, error.message
    going.write("step:final", {"done": True, "good": good, "note": said, "minutes": round((going.clock.used_s() - began) / 60, 3)})


def conclude(going: Going, why: str) -> Result:
    """The result by what is known now."""
    return result.result(going.planned, going.day(), going.outcome, going.journal.rows.get("step:final"), why)
