"""What the judge is worth: experiments with a known truth, judged by the judge's own code. Writes the figures of docs/statistics.md.

    python -m studies.ab_simulation             print them
    python -m studies.ab_simulation --write     put them between the marks in docs/statistics.md

A simulated trial is level x (1 + drift x place) x noise: lognormal noise of the given CV; heavy tails are Student's t with 3 degrees of
freedom at the same SD; stalls slow one trial in ten by 5 to 30 % on top.
"""

from __future__ import annotations

import functools
import math
import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tunefork.bench.ab import judge, power
from tunefork.bench.ab.judge import Floats
from tunefork.bench.ab.plan import plan

EXPERIMENTS, MIXED, LOADED, ORDERS, SEED, DRIFT = 20_000, 2_000, 4_000, 4_000, 20261122, 0.02
CVS = (0.01, 0.02, 0.05, 0.10, 0.20)
LOAD_CVS, LOAD_PAIRS = (0.005, 0.01, 0.02, 0.05), (4, 5, 6, 8, 10)
LOADS = ("none", "drift 2 %", "AR(1), 0.8", "bimodal", "heavy tails", "one trial 30 % off", *(f"every {n} trials" for n in range(2, 9)))
Noise = Literal["normal", "heavy", "stalls"]
NOISES: tuple[Noise, ...] = ("normal", "heavy", "stalls")
DOCUMENT = Path("docs/statistics.md")
MARKS = "<!-- figures: python -m studies.ab_simulation --write -->", "<!-- end of figures -->"


def levels(trials: int, drift: float) -> Floats:
    """What the machine gives at each place of an order: from 1 to 1 + drift."""
    return 1 + drift * np.arange(trials) / (trials - 1)


def noise(kind: Noise, cv: float, shape: tuple[int, ...], draw: np.random.Generator) -> Floats:
    """Log noise of one kind; its SD gives the CV (stalls come on top)."""
    sd = math.sqrt(math.log1p(cv**2))
    if kind == "heavy":
        return draw.standard_t(3, shape) * (sd / math.sqrt(3))
    logs = draw.normal(0.0, sd, shape)
    if kind == "stalls":
        logs = logs - np.where(draw.random(shape) < 0.1, draw.uniform(0.05, 0.30, shape), 0.0)
    return logs


@functools.cache
def orders(pairs: int) -> NDArray[np.bool_]:
    """Whether each trial is B's, (ORDERS, 2 pairs), as plans draw it."""
    return np.array([[slot.arm == "B" for slot in plan(pairs, seed)] for seed in range(ORDERS)])


def pair_logs(experiments: int, pairs: int, effect: float, cv: float, kind: Noise, drift: float, draw: np.random.Generator) -> Floats:
    """Log-ratios (experiments, pairs) of experiments whose true ln(B/A) is ``effect``; each in an order of its own, as in a plan."""
    trials = np.log(levels(2 * pairs, drift)) + noise(kind, cv, (experiments, 2 * pairs), draw)
    return ratios(trials, effect, draw)


def ratios(trials: Floats, effect: float, draw: np.random.Generator, *, drawn: bool = True) -> Floats:
    """ln(B/A) of every pair, (experiments, pairs), from what the machine gives at each place, (experiments, 2 pairs).

    drawn: in the order of plans; else AB BA BA AB or its reverse.
    """
    pairs = trials.shape[-1] // 2
    if drawn:
        b = orders(pairs)[draw.integers(ORDERS, size=len(trials))]
    else:
        fixed = np.array([place % 2 != (place // 2 % 4 in (1, 2)) for place in range(2 * pairs)])
        b = fixed ^ (draw.random((len(trials), 1)) < 0.5)
    signed = np.where(b, trials + effect, -trials)
    summed: Floats = signed[:, 0::2] + signed[:, 1::2]
    return summed


def bias(order: Sequence[str], drift: float = DRIFT) -> float:
    """Relative error of B/A that a linear drift alone makes under an order, as a ratio of arm means."""
    level, arms = levels(len(order), drift), np.array(list(order))
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
        wrong = false(pair_logs(experiments, n, 0.0, cv, kind, DRIFT, draw))
        found.append(Cell(kind, cv, n, float(np.mean(np.abs(mean - effect) <= half)), float(wrong.mean())))
    return found


def false(logs: Floats, look: int = 1) -> NDArray[np.bool_]:
    """Whether each experiment (..., pairs) of equal arms gets a verdict of better or worse."""
    mean, half, p = judge.summary(logs)
    alpha = judge.spent(logs.shape[-1], look)
    return np.isin(judge.verdicts(mean, half, p, alpha=alpha, flips=judge.sign_flips(logs)), ["better", "worse"])


def machine(load: str, cv: float, shape: tuple[int, int], draw: np.random.Generator) -> Floats:
    """Log levels (experiments, trials) of a machine under a load. "every N": each N-th trial is 5 % off, from a drawn place on."""
    logs: Floats = draw.normal(0.0, cv, shape)
    if load == "drift 2 %":
        logs += np.log(levels(shape[1], DRIFT))
    elif load == "AR(1), 0.8":
        for place in range(1, shape[1]):
            logs[:, place] = 0.8 * logs[:, place - 1] + 0.6 * logs[:, place]
    elif load == "bimodal":
        logs = np.where(draw.random(shape) < 0.5, -cv, cv)
    elif load == "heavy tails":
        logs = draw.standard_t(3, shape) * (cv / math.sqrt(3))
    elif load == "one trial 30 % off":
        logs[np.arange(shape[0]), draw.integers(shape[1], size=shape[0])] -= 0.3
    elif load.startswith("every "):
        period = int(load.split()[1])
        logs -= 0.05 * ((np.arange(shape[1]) + draw.integers(period, size=(shape[0], 1))) % period == 0)
    return logs


def under_load(load: str, pairs: int, experiments: int = LOADED) -> float:
    """The greatest share of false verdicts over the CVs of a trial, of equal arms."""
    draw = np.random.default_rng([SEED, 57, pairs, len(load), ord(load[-1])])
    return max(float(false(ratios(machine(load, cv, (experiments, 2 * pairs), draw), 0.0, draw)).mean()) for cv in LOAD_CVS)


def fixed_order(pairs: int = 6, experiments: int = LOADED) -> float:
    """The same share for every third trial, as it would be in the order AB BA BA AB by the t test alone at 5 %."""
    draw = np.random.default_rng([SEED, 58])
    found = []
    for cv in LOAD_CVS:
        mean, half, p = judge.summary(ratios(machine("every 3 trials", cv, (experiments, 2 * pairs), draw), 0.0, draw, drawn=False))
        found.append(float(np.isin(judge.verdicts(mean, half, p), ["better", "worse"]).mean()))
    return max(found)


def stopping(first: int = 6, then: int = 12, cv: float = 0.02, experiments: int = EXPERIMENTS) -> tuple[float, float]:
    """(by the two looks, by looking at 5 % after every pair): false verdicts where who is undecided goes on to ``then`` pairs."""
    draw = np.random.default_rng([SEED, 59])
    logs = ratios(machine("none", cv, (experiments, 2 * then), draw), 0.0, draw)
    two = false(logs[:, :first]) | false(logs, 2)
    every = np.zeros(experiments, dtype=bool)
    for n in range(2, then + 1):
        mean, half, p = judge.summary(logs[:, :n])
        every |= np.isin(judge.verdicts(mean, half, p), ["better", "worse"])
    return float(two.mean()), float(every.mean())


def mixture(experiments: int = MIXED, pairs: int = 6) -> tuple[float, float]:
    """(coverage, false verdicts) over A/A experiments that each draw CV (1 to 20 %, log-uniform) and drift (-2 to 2 %)."""
    draw = np.random.default_rng([SEED, 999, pairs])
    covered = wrong = 0
    for number in range(experiments):
        kind, cv = NOISES[number % 2], float(np.exp(draw.uniform(math.log(0.01), math.log(0.20))))
        drift = float(draw.uniform(-DRIFT, DRIFT))
        logs = pair_logs(2, pairs, 0.0, cv, kind, drift, draw)[0]
        mean, half, _ = judge.summary(logs)
        covered += bool(abs(mean) <= half)  # the t interval shifts with the effect: coverage does not depend on it
        wrong += bool(false(logs))
    return covered / experiments, wrong / experiments


def family(experiments: int = EXPERIMENTS, pairs: int = 6, scenarios: int = 3, cv: float = 0.05) -> tuple[float, float]:
    """Share of A/A experiments with any false verdict over independent scenarios: (with Holm, without)."""
    draw = np.random.default_rng([SEED, 7])
    logs = np.stack([pair_logs(experiments, pairs, 0.0, cv, "normal", DRIFT, draw) for _ in range(scenarios)], axis=1)
    mean, half, p = judge.summary(logs)
    shares, flips = [], judge.sign_flips(logs)
    for values in (judge.holm(p), p):
        wrong = np.isin(judge.verdicts(mean, half, values, alpha=judge.spent(pairs), flips=flips), ["better", "worse"]).any(axis=-1)
        shares.append(float(wrong.mean()))
    return shares[0], shares[1]


def measured_power(pairs: int, effect_in_sd: float, experiments: int = EXPERIMENTS) -> float:
    """Share of simulated experiments that show, at the first look, a true effect given in SDs of a pair."""
    draw = np.random.default_rng([SEED, 31, pairs])
    logs = draw.normal(effect_in_sd, 1.0, (experiments, pairs))
    shown, flips = judge.summary(logs)[2] <= judge.spent(pairs), judge.sign_flips(logs)
    return float(np.mean(shown if flips is None else shown & (flips <= judge.FLIP * judge.spent(pairs))))


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
    lines += [f"| {order} | {bias(order):+.3%} |" for order in ("AAAABBBB", "ABABABAB", "ABBABAAB")]
    lines += ["", f"**False verdicts of equal arms under a load, at most over CVs of {', '.join(f'{cv:.1%}' for cv in LOAD_CVS)}; {LOADED:,} experiments "
              "each**", "", "| load | " + " | ".join(f"{n} pairs" for n in LOAD_PAIRS) + " |", "|---|" + "---|" * len(LOAD_PAIRS)]
    lines += [f"| {load} | " + " | ".join(f"{under_load(load, n):.1%}" for n in LOAD_PAIRS) + " |" for load in LOADS]
    two, every = stopping()
    lines += ["", f"Every third trial 5 % off, in the order AB BA BA AB and by the t test alone at 5 %, 6 pairs: {fixed_order():.1%}.",
              f"6 pairs, then 12 where undecided, CV 2 %: {two:.1%} by the two looks, {every:.1%} by looking at 5 % after every pair."]
    lines += ["", "**Power: least effect shown at 80 % power, first look**", "",
              "| pairs | effect, in SDs of a pair, by t alone | share shown in simulation |", "|---|---|---|"]
    lines += [f"| {n} | {found:.2f} | {measured_power(n, found):.1%} |" for n in (4, 5, 6, 8, 10, 12, 16, 20)
              for found in [power.detectable(n, alpha=judge.spent(n))]]
    return wrapped("\n".join(lines))


def wrapped(block: str) -> str:
    """A block of Markdown with the lines of its prose under 120 characters; tables and headings as they are."""
    parts = block.split("\n\n")
    return "\n\n".join(part if part.startswith(("|", "**")) else textwrap.fill(part, 119, break_on_hyphens=False) for part in parts)


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
