"""What the charts draw: scored records as points, grouped by chip so that no chart mixes chips, and the Pareto line over them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tunefork.base.errors import TuneforkError
from tunefork.bench.profiles import profile as profiles
from tunefork.bench.profiles import rules
from tunefork.bench.profiles.rules import Baseline
from tunefork.bench.records.brief import Brief


@dataclass(frozen=True, slots=True)
class Point:
    """One scored record. e2e_s: seconds; interactivity: tokens/s/user; tput: tokens/s/GPU."""

    record: str
    variant: str
    conc: int
    gpus: int
    interactivity: float
    e2e_s: float
    tput: float


@dataclass(frozen=True)
class Panel:
    """One chart's points: one chip, one profile, one pair of lengths, one divisor."""

    chip: str
    profile: str
    isl: int
    osl: int
    divisor_kind: str
    points: tuple[Point, ...]
    baseline: Baseline | None

    @property
    def title(self) -> str:
        seed = ", divided by 8 (the seed's rule)" if self.divisor_kind == "seed" else ""
        return f"{self.chip}: {self.profile} {self.isl}/{self.osl}{seed}"

    def references(self) -> list[Point]:
        """The baseline's or targets' points of these lengths, as published for their own chip."""
        if self.baseline is None:
            return []
        return [Point(self.baseline.name, self.baseline.name, one.conc, 0, one.interactivity, one.median_e2el_ms / 1000, one.tput_per_gpu)
                for one in self.baseline.configurations if (one.isl, one.osl) == (self.isl, self.osl)]


def panels(records: Iterable[Brief]) -> list[Panel]:
    """Group scored records; the most records first."""
    groups: dict[tuple[str, str, int, int, str], list[Point]] = {}
    for one in records:
        if one.tput is not None and one.interactivity is not None and one.e2e_ms is not None:
            where = one.chip, one.profile, one.isl, one.osl, one.divisor_kind or ""
            point = Point(one.id, one.variant, one.conc, one.gpus, one.interactivity, one.e2e_ms / 1000, one.tput)
            groups.setdefault(where, []).append(point)
    made = [Panel(*where, tuple(points), baseline_of(where[1])) for where, points in groups.items()]
    return sorted(made, key=lambda panel: (-len(panel.points), panel.title))


def baseline_of(profile: str) -> Baseline | None:
    """A profile's reference scores; None where it has none or is a file that is not here."""
    try:
        return rules.load(profiles.load(profile)).baseline
    except TuneforkError:
        return None


def pareto(points: Sequence[tuple[float, float]], *, more_x: bool) -> list[tuple[float, float]]:
    """The points that no other beats in both x and y (y: more is better; x: more or less), by x."""
    best: list[tuple[float, float]] = []
    for x, y in sorted(set(points), key=lambda one: (-one[0] if more_x else one[0], -one[1])):
        if not best or y > best[-1][1]:
            best.append((x, y))
    return sorted(best)
