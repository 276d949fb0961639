"""A trace's steps as a table: time of a decode step by class, the gaps, and the largest kernels. One server start: a look, and no test."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tunefork.base.errors import BadInput
from tunefork.bench.trace.classes import CLASSES, classify
from tunefork.bench.trace.trace import Step, Trace

GAPS = "gaps"


@dataclass(frozen=True)
class MeanStep:
    """The mean decode step, in microseconds. conc: the steps' requests (the commonest).  left_out: steps of other sizes.

    classes: kernel time by class, "gaps" (nothing runs) with them.  overlap: kernel time beside other kernel time, which makes the classes add
    up to more than the wall.  kernels: (name, class, time), the largest first.
    """

    source: str
    device: bool
    steps: int
    conc: int
    left_out: int
    wall: float
    overlap: float
    classes: dict[str, float]
    kernels: tuple[tuple[str, str, float], ...]


def mean_step(trace: Trace, steps: int | None = None) -> MeanStep:
    """The first ``steps`` decode steps of the commonest size; the mean, since the parts must add up. BadInput where there is none."""
    if not trace.steps:
        raise BadInput(f"{trace.source} holds no decode step with kernels", "more --steps")
    conc = statistics.mode(step.conc for step in trace.steps)
    alike = [step for step in trace.steps if step.conc == conc]
    chosen = alike[:steps]
    n = len(chosen)
    times: defaultdict[str, float] = defaultdict(float)
    for step in chosen:
        for name, took in step.kernels.items():
            times[name] += took / n
    classes = dict.fromkeys([*CLASSES, GAPS], 0.0)
    for name, took in times.items():
        classes[classify(name)] += took
    classes[GAPS] = mean(chosen, "gaps")
    ranked = sorted(times.items(), key=lambda item: -item[1])
    return MeanStep(trace.source, trace.device, n, conc, len(trace.steps) - len(alike), mean(chosen, "wall"), mean(chosen, "overlap"), classes,
                   tuple((name, classify(name), took) for name, took in ranked))


def mean(steps: Sequence[Step], what: str) -> float:
    """Of one of a step's times."""
    return sum(float(getattr(step, what)) for step in steps) / len(steps)


def rows(profiles: Sequence[MeanStep]) -> list[tuple[str, ...]]:
    """A table's rows: class, then per profile time and share; of two also the difference."""
    found = []
    for name in [*CLASSES, GAPS]:
        if any(one.classes[name] for one in profiles):
            found.append((name, *cells([one.classes[name] for one in profiles], [one.wall for one in profiles])))
    overlap = [-one.overlap for one in profiles]
    if any(abs(value) >= 0.05 for value in overlap):
        found.append(("(beside others)", *cells(overlap, [one.wall for one in profiles])))
    return [*found, ("a decode step", *cells([one.wall for one in profiles], [one.wall for one in profiles]))]


def cells(values: Sequence[float], walls: Sequence[float]) -> tuple[str, ...]:
    """Times and shares; of two the difference, B less A."""
    pairs = [text for value, wall in zip(values, walls, strict=True) for text in (f"{value:.1f}", f"{value / wall:.1%}" if wall else "-")]
    return (*pairs, *((f"{values[1] - values[0]:+.1f}",) if len(values) == 2 else ()))


def columns(names: Sequence[str]) -> tuple[str, ...]:
    """The heads of ``rows``."""
    heads = [text for name in names for text in (f"{name}: us", "share")]
    return ("class", *heads, *((f"{names[1]} - {names[0]}",) if len(names) == 2 else ()))


def largest(one: MeanStep, count: int, only: str | None = None) -> list[tuple[str, str, str]]:
    """The largest kernels as rows: class, time, name."""
    return [(group, f"{took:.1f}", name) for name, group, took in one.kernels if only in (None, group)][:count]
