"""What a campaign says: a result at any time, and for every candidate merge, drop or undecided, with what it would cost to decide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from tunefork.bench.ab import power
from tunefork.bench.ab.judgement import DIRECTION
from tunefork.bench.ab.outcome import Outcome
from tunefork.bench.campaign import racing
from tunefork.bench.campaign.day import Day, best
from tunefork.bench.campaign.finalist import MISSED
from tunefork.bench.campaign.planned import Planned
from tunefork.bench.campaign.racing import REFERENCE, Arm

Advice = Literal["merge", "drop", "undecided"]
Interval: TypeAlias = tuple[float | None, float | None, float | None]
"""A gain and its 95 % interval, as ratios - 1; None where it is not known."""


@dataclass(frozen=True)
class Line:
    """One candidate. gain, low, high: as ratios - 1, 95 %, None where it was not measured.  starts: that gave a value.  minutes: to decide it."""

    name: str
    advice: Advice
    why: str
    starts: int
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    minutes: float | None = None


@dataclass(frozen=True)
class Result:
    """arm: what to serve tomorrow.  verdict: of the confirmation, "not confirmed" where there is none.  certainty: the chance that it is better than
    the reference at all, by what is believed of it; None where nothing tells the noise.  gain, low, high: ratios - 1.  accepted: what gate and full
    scenarios said.
    """

    arm: Arm
    verdict: str
    certainty: float | None
    gain: float | None
    low: float | None
    high: float | None
    accepted: str
    lines: tuple[Line, ...]
    noise: float | None
    why: str


def result(planned: Planned, day: Day, outcome: Outcome | None, final: Mapping[str, Any] | None, why: str) -> Result:
    """The result so far. final: the book's row of gate and scenarios."""
    arm = day.confirm.arm if day.confirm else best(day)
    verdict = outcome.verdict if outcome and day.confirm else "not confirmed"
    measured = gain(outcome) if outcome and day.confirm else None
    accepted = str(final["note"]) if final else "not measured"
    said = why
    if verdict == "worse":
        arm, said = REFERENCE, f"{why}; the finalist was worse than the reference on fresh starts"
    if final and MISSED in accepted:
        arm, said = REFERENCE, f"{why}; the finalist's accuracy is outside the gate"
    found, _ = day.known()
    belief, certainty = day.belief(), None
    numbers: Interval = (None, None, None)
    if arm:
        middle, spread = belief.gain(arm), belief.spread(arm)
        numbers = tuple(map(math.expm1, measured)) if measured else interval(middle, spread, found.df)  # type: ignore[assignment] # three of them
        certainty = racing.chance(middle / spread, found.df) if found.df > 0 else None
    lines = tuple(line(planned, day, name, arm, verdict) for name in planned.rules.candidates)
    return Result(arm, verdict, certainty, numbers[0], numbers[1], numbers[2], accepted, lines, found.sd if math.isfinite(found.sd) else None, said)


def interval(middle: float, error: float, df: float) -> Interval:
    """Of a ln ratio and its standard error, by Student's t; no ends where nothing tells the noise."""
    half = racing.quantile(0.025, df) * error if df > 0 else math.inf
    if not math.isfinite(half):
        return math.expm1(middle), None, None
    return math.expm1(middle), math.expm1(middle - half), math.expm1(middle + half)


def line(planned: Planned, day: Day, name: str, winner: Arm, verdict: str) -> Line:
    """What to do with one candidate."""
    found, out = day.known()
    arm, starts = (name,), found.starts.get((name,), 0)
    if name in out and not starts:
        return Line(name, "drop", out[name].reason, 0)
    if arm not in found.arms:
        return Line(name, "undecided", "not measured", 0, minutes=needed(planned, day, day.rules.least, found.sd))
    effect = found.effect(arm)
    numbers = interval(effect, found.error(arm), found.df)
    if name in out:
        return Line(name, "drop", out[name].reason, starts, *numbers)
    if verdict == "better" and winner == arm:
        return Line(name, "merge", "confirmed on fresh starts", starts, *numbers)
    if racing.shown(found, name, len(day.rules.candidates), day.looks, day.rules.least):
        return Line(name, "merge", "the race alone shows it" + ("" if name in winner else ", though not together with the proposal"), starts, *numbers)
    why = "in the proposal; by itself it is not shown" if name in winner else "its interval holds both a gain that matters and none"
    return Line(name, "undecided", why, starts, *numbers, minutes=needed(planned, day, effect, found.sd))


def needed(planned: Planned, day: Day, effect: float, sd: float) -> float | None:
    """Minutes of pairs that would show such an effect, or that there is none, at 80 %; None where noise is not known or it is beyond 10,000 pairs."""
    if not math.isfinite(sd) or sd <= 0:
        return None
    pair = sd * math.sqrt(2)
    least = day.rules.least
    pairs = power.pairs_for(effect, pair) if abs(effect) >= least else power.pairs_for_width(max(least - abs(effect), least / 2), pair)
    return None if pairs is None else max(pairs, 4) * 2 * day.rules.start / day.rules.lanes


def gain(outcome: Outcome) -> tuple[float, float, float] | None:
    """(gain, low, high) of a confirmation as ln ratios, the mean over its loads; None where there are too few pairs."""
    judged = [one.judgements[one.decides] for one in outcome.scenarios]
    known = [(one.ratio, one.lo, one.hi) for one in judged if one.ratio is not None and one.lo is not None and one.hi is not None]
    if not judged or len(known) < len(judged):
        return None
    logs = DIRECTION[judged[0].metric] * np.log(known).mean(axis=0)
    return float(logs[0]), float(min(logs[1:])), float(max(logs[1:]))
