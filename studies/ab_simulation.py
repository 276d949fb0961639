"""What the judge is worth: experiments with a known truth, judged by the judge's own code. Writes the figures of docs/statistics.md.

    python -m studies.ab_simulation             print them
    python -m studies.ab_simulation --write     put them between the marks in docs/statistics.md

A simulated trial is level x (1 + drift x place) x noise: lognormal noise of the given CV; heavy tails are Student's t with 3 degrees of
freedom at the same SD; stalls slow one trial in ten by 5 to 30 % on top.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from tunefork.bench.ab import judge, power
from tunefork.bench.ab.judge import Floats
from tunefork.bench.ab.plan import plan

EXPERIMENTS, MIXED, SEED, DRIFT = 20_000, 2_000, 20261122, 0.02
CVS = (0.01, 0.02, 0.05, 0.10, 0.20)
Noise = Literal["normal", "heavy", "stalls"]
NOISES: tuple[Noise, ...] = ("normal", "heavy", "stalls")
DOCUMENT = Path("docs/statistics.md")
MARKS = "<!-- figures: python -m studies.ab_simulation --write -->", "<!-- end of figures -->"


def levels(order: Sequence[str], drift: float) -> Floats:
    """What the machine gives at each place of an order: from 1 to 1 + drift."""
    return 1 + drift * np.arange(len(order)) / (len(order) - 1)


def noise(kind: Noise, cv: float, shape: tuple[int, ...], draw: np.random.Generator) -> Floats:
    """Log noise of one kind; its SD gives the CV (stalls come on top)."""
    sd = math.sqrt(math.log1p(cv**2))
    if kind == "heavy":
        return draw.standard_t(3, shape) * (sd / math.sqrt(3))
    logs = draw.normal(0.0, sd, shape)
    if kind == "stalls":
        logs = logs - np.where(draw.random(shape) < 0.1, draw.uniform(0.05, 0.30, shape), 0.0)
    return logs


def pair_logs(experiments: int, pairs: int, effect: float, cv: float, kind: Noise, drift: float, draw: np.random.Generator) -> Floats:
    """Log-ratios (experiments, pairs) of experiments whose true ln(B/A) is ``effect``; the first arm is drawn, as in a plan."""
    result = np.empty((experiments, pairs))
    split = experiments // 2
    for half, rows in ((first_arm_seed("A"), slice(0, split)), (first_arm_seed("B"), slice(split, experiments))):
        slots = plan(pairs, half)
        arms = np.array([slot.arm for slot in slots])
        logs = np.log(levels(arms.tolist(), drift)) + noise(kind, cv, (len(result[rows]), len(slots)), draw) + effect * (arms == "B")
        by_arm = {arm: logs[:, arms == arm] for arm in "AB"}  # in each arm the columns are in the order of pairs
        result[rows] = by_arm["B"] - by_arm["A"]
    return result


def first_arm_seed(arm: str) -> int:
    """A plan's seed that begins with this arm."""
    return next(seed for seed in range(100) if plan(1, seed)[0].arm == arm)


def bias(order: Sequence[str], drift: float = DRIFT) -> float:
    """Relative error of B/A that a linear drift alone makes under an order, as a ratio of arm means."""
    level, arms = levels(order, drift), np.array(list(order))
    return float(level[arms == "B"].mean() / level[arms == "A"].mean() - 1)


@dataclass(frozen=True)
class Cell:
    """One simulated condition. coverage: of the 95 % interval.  false: share of better or worse verdicts when A is B."""

    noise: Noise
    cv: float
    pairs: int
    coverage: float
    false: float


def cells(experiments: int = EXPERIMENTS, pairs: Sequence[int] = (6, 10)) -> list[Cell]:
    """Every kind of noise and CV, under drift; the true effect of the coverage runs is +3 %."""
    found = []
    for number, (kind, cv, n) in enumerate((kind, cv, n) for kind in NOISES for cv in CVS for n in pairs):
        draw = np.random.default_rng([SEED, number])
        effect = math.log(1.03)
        mean, half, _ = judge.summary(pair_logs(experiments, n, effect, cv, kind, DRIFT, draw))
        mean_0, half_0, p_0 = judge.summary(pair_logs(experiments, n, 0.0, cv, kind, DRIFT, draw))
        wrong = np.isin(judge.verdicts(mean_0, half_0, p_0), ["better", "worse"])
        found.append(Cell(kind, cv, n, float(np.mean(np.abs(mean - effect) <= half)), float(wrong.mean())))
    return found


def mixture(experiments: int = MIXED, pairs: int = 6) -> tuple[float, float]:
    """(coverage, false verdicts) over A/A experiments that each draw CV (1 to 20 %, log-uniform) and drift (-2 to 2 %)."""
    draw = np.random.default_rng([SEED, 999, pairs])
    covered = wrong = 0
    for number in range(experiments):
        kind, cv = NOISES[number % 2], float(np.exp(draw.uniform(math.log(0.01), math.log(0.20))))
        drift = float(draw.uniform(-DRIFT, DRIFT))
        logs = pair_logs(2, pairs, 0.0, cv, kind, drift, draw)[number // 2 % 2]  # alternate the first arm
        mean, half, p = judge.summary(logs)
        covered += bool(abs(mean) <= half)  # the t interval shifts with the effect: coverage does not depend on it
        wrong += str(judge.verdicts(mean, half, p)) in ("better", "worse")
    return covered / experiments, wrong / experiments


def family(experiments: int = EXPERIMENTS, pairs: int = 6, scenarios: int = 3, cv: float = 0.05) -> tuple[float, float]:
    """Share of A/A experiments with any false verdict over independent scenarios: (with Holm, without)."""
    draw = np.random.default_rng([SEED, 7])
    logs = np.stack([pair_logs(experiments, pairs, 0.0, cv, "normal", DRIFT, draw) for _ in range(scenarios)], axis=1)
    mean, half, p = judge.summary(logs)
    shares = []
    for values in (judge.holm(p), p):
        wrong = np.isin(judge.verdicts(mean, half, values), ["better", "worse"]).any(axis=-1)
        shares.append(float(wrong.mean()))
    return shares[0], shares[1]


def measured_power(pairs: int, effect_in_sd: float, experiments: int = EXPERIMENTS) -> float:
    """Share of simulated experiments whose p is at most 0.05 at a true effect given in SDs of a pair."""
    draw = np.random.default_rng([SEED, 31, pairs])
    logs = draw.normal(effect_in_sd, 1.0, (experiments, pairs))
    return float(np.mean(judge.summary(logs)[2] <= judge.ALPHA))


def figures() -> str:
    """The figures as Markdown."""
    found = cells()
    lines = [f"{EXPERIMENTS:,} experiments per cell, {DRIFT:.0%} linear drift over each experiment, seed {SEED}.", "",
             "**Coverage of the 95 % interval / false verdicts under A/A**", "",
             "| noise | pairs | " + " | ".join(f"CV {cv:.0%}" for cv in CVS) + " |", "|---|---|" + "---|" * len(CVS)]
    for kind in NOISES:
        for n in (6, 10):
            row = [one for one in found if one.noise == kind and one.pairs == n]
            lines.append(f"| {kind} | {n} | " + " | ".join(f"{one.coverage:.1%} / {one.false:.1%}" for one in row) + " |")
    with_holm, without = family()
    lines += [""]
    for n in (6, 10):
        coverage, wrong = mixture(pairs=n)
        lines.append(f"{MIXED:,} A/A experiments of {n} pairs, each of its own CV (1 to 20 %, log-uniform), drift (-2 to 2 %) and noise "
                     f"(normal, heavy): coverage {coverage:.1%}, false verdicts {wrong:.1%}.")
    lines += [f"Three scenarios, A/A, CV 5 %: an experiment with any false verdict {with_holm:.1%} with Holm, {without:.1%} without.", "",
              f"**Bias from a {DRIFT:.0%} linear drift, no noise**", "", "| order | bias of B/A |", "|---|---|"]
    six = "".join(slot.arm for slot in plan(6, first_arm_seed("A")))
    lines += [f"| {order} | {bias(order):+.3%} |" for order in ("AAAABBBB", "ABABABAB", "ABBABAAB", six)]
    lines += ["", "**Power: least effect shown at 80 % power, two-sided 5 %**", "",
              "| pairs | effect, in SDs of a pair | share shown in simulation |", "|---|---|---|"]
    lines += [f"| {n} | {power.detectable(n):.2f} | {measured_power(n, power.detectable(n)):.1%} |" for n in (4, 5, 6, 8, 10, 12, 16, 20)]
    return "\n".join(lines)


def placed(text: str, block: str) -> str:
    """A document with the block between its marks."""
    begin, end = (re.escape(mark) for mark in MARKS)
    made, count = re.subn(f"{begin}.*?{end}", lambda _: f"{MARKS[0]}\n{block}\n{MARKS[1]}", text, flags=re.DOTALL)
    assert count == 1, f"{DOCUMENT} must hold the marks once"
    return made


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        DOCUMENT.write_text(placed(DOCUMENT.read_text(encoding="utf-8"), figures()), encoding="utf-8")
    else:
        print(figures())
