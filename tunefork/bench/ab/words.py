"""An outcome in plain words: "slow-step: 2.3x slower", "no difference above 1 %". The numbers behind are judge.py's."""

from __future__ import annotations

import math
from collections.abc import Iterable

from tunefork.bench.ab.judgement import DIRECTION, HIGHER
from tunefork.bench.ab.outcome import Outcome
from tunefork.bench.records.brief import Brief

FACTOR = 2.0
"""From here on a factor is plainer than percents."""


def subject(found: Outcome) -> str:
    """What an experiment is about, in a word: the patch of only:P and of without:P, else both arms."""
    if found.calibrates:
        return f"{found.a} against itself"
    if found.a == "base" and found.b.startswith("only:"):
        return found.b.removeprefix("only:")
    if found.a == f"without:{found.b}" or (found.b == "all" and found.a.startswith("without:")):
        return f"{found.a.removeprefix('without:')} (in the whole series)"
    return f"{found.b} against {found.a}"


def better_is(metric: str) -> str:
    """The direction of a metric, in words for a chart."""
    return "higher is better" if DIRECTION[metric] == HIGHER else "lower is better"


def headline(found: Outcome) -> str:
    """One sentence: whose, how much, in which direction; of several scenarios the least and the most."""
    return f"{subject(found)}: {said(found)}"


def said(found: Outcome) -> str:
    """How much faster or slower, or why that is not known."""
    judged = [one.judgements[one.decides] for one in found.scenarios]
    speeds = [value for one in judged if one.ratio is not None for value in [speed(one.metric, one.ratio)]]
    if found.verdict == "no difference":
        return f"no difference above {100 * found.threshold:g} %"
    if found.verdict in ("better", "worse") and speeds:
        telling = [value for value in speeds if (value > 1) == (found.verdict == "better")] or speeds
        return span(telling, "faster" if found.verdict == "better" else "slower")
    if found.scenarios and all(one.spoiled for one in found.scenarios):
        return "no verdict, every pair was spoiled"
    if any(one.uneven for one in found.scenarios):
        return "no verdict, one arm lost more of its trials than the other"
    bounds = [speed(one.metric, value) for one in judged for value in (one.lo, one.hi) if value is not None]
    if not bounds or any(not 0.01 < value < 100 for value in bounds):
        return "not decided"
    return f"not decided, between {change(min(bounds))} and {change(max(bounds))}"


def speed(metric: str, ratio: float) -> float:
    """B's speed over A's: the ratio, or where lower is better its inverse."""
    return ratio if DIRECTION[metric] == HIGHER else 1 / ratio


def size(value: float) -> str:
    """How far a speed is from 1, without its direction: "4.1 %", or from a factor of two on "2.3x"."""
    far = max(value, 1 / value)
    return f"{far:.1f}x" if far >= FACTOR else f"{100 * abs(value - 1):.1f} %"


def span(speeds: Iterable[float], word: str) -> str:
    """Sizes from the least to the most: "5.9 to 6.3 % faster"."""
    ordered = sorted(speeds, key=lambda value: abs(math.log(value)))
    least, most = size(ordered[0]), size(ordered[-1])
    if least == most:
        return f"{most} {word}"
    if least[-1] == most[-1]:
        least = least[:-1].rstrip()
    return f"{least} to {most} {word}"


def change(value: float) -> str:
    return f"{size(value)} {'faster' if value >= 1 else 'slower'}"


def patches(found: Outcome, records: Iterable[Brief]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(patches that only A has, patches that only B has), as the records of the experiment name them."""
    arms: dict[str, dict[str, None]] = {"A": {}, "B": {}}
    for one in records:
        if (one.experiment, one.comparison) == (found.experiment, found.comparison) and one.arm in arms:
            arms[one.arm].update(dict.fromkeys(one.patches))
    a, b = arms["A"], arms["B"]
    return tuple(name for name in a if name not in b), tuple(name for name in b if name not in a)
