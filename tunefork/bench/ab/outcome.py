"""What an experiment found: every scenario judged, from the records alone, so that it can be said again at any time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tunefork.bench.ab.evidence import Evidence
from tunefork.bench.ab.judgement import THRESHOLD, Judgement, Verdict, overall
from tunefork.bench.ab.pairs import Pairs, Rejected, collect

DECIDES = "total_token_throughput"
METRICS = (DECIDES, "median_tpot_ms", "median_ttft_ms", "median_e2el_ms")


@dataclass(frozen=True)
class ScenarioOutcome:
    """One scenario. judgements: by metric; ``decides`` names the one that gives the verdict.

    lost: trials of A and of B that spoiled an attempt.  uneven: one arm lost so many more that what is left is a selection: no verdict.
    period: of a rhythm in the trials (rhythm.py), None where none is shown.
    """

    isl: int
    osl: int
    conc: int
    decides: str
    judgements: dict[str, Judgement]
    rejected: tuple[Rejected, ...]
    half: tuple[int, ...]
    lost: tuple[int, int] = (0, 0)
    uneven: bool = False
    period: int | None = None

    @property
    def verdict(self) -> Verdict:
        return "inconclusive" if self.uneven else self.judgements[self.decides].verdict

    @property
    def spoiled(self) -> bool:
        """Whether no pair counts, and each for a reason that more pairs would have, too."""
        return not self.judgements[self.decides].pairs and bool(self.rejected)

    @property
    def name(self) -> str:
        return f"{self.isl}/{self.osl} c{self.conc}"


@dataclass(frozen=True)
class Outcome:
    """One comparison. restarts: whether every trial had a server start of its own.  chips: what was measured on.

    threshold: the least relative difference that matters.  look: 2 once the experiment was lengthened (ab/judge.py).
    """

    experiment: str
    comparison: str
    a: str
    b: str
    profile: str
    chips: tuple[str, ...]
    restarts: bool
    threshold: float
    scenarios: tuple[ScenarioOutcome, ...]
    look: int = 1

    @property
    def verdict(self) -> Verdict:
        return overall([one.verdict for one in self.scenarios])

    def notes(self) -> list[str]:
        """What a reader must know beside the verdicts."""
        return [f"{one.name}: something comes back every {one.period} trials on this machine (shown at 1 %); the drawn orders keep the verdict "
                "honest, the interval is wider for it" for one in self.scenarios if one.period is not None]

    @property
    def calibrates(self) -> bool:
        """Whether it is an A/A."""
        return self.a == self.b


def outcomes(records: Iterable[Evidence], *, decides: str = DECIDES, threshold: float = THRESHOLD) -> list[Outcome]:
    """Judge every comparison of every experiment among the records, in the order of their first record."""
    groups: dict[tuple[str, str], list[Evidence]] = {}
    for record in records:
        if {"experiment", "arm", "pair"} <= record.labels.keys():
            groups.setdefault((record.labels["experiment"], record.labels.get("comparison", "")), []).append(record)
    return [outcome(name, part, own, decides, threshold) for (name, part), own in groups.items()]


def outcome(experiment: str, comparison: str, records: Sequence[Evidence], decides: str, threshold: float) -> Outcome:
    """Judge one comparison."""
    from tunefork.bench.ab import judge  # here: who shows what was judged before loads no numpy

    found = collect(records)
    metrics = dict.fromkeys([decides, *METRICS])
    look = max(int(one.labels.get("look", "1")) for one in records)
    judged = judge.judge_all({metric: {scenario: values(pairs, metric) for scenario, pairs in found.items()} for metric in metrics},
                             threshold=threshold, look=look)
    scenarios = tuple(
        ScenarioOutcome(*scenario, decides, {metric: judged[metric][scenario] for metric in metrics}, pairs.rejected, pairs.half,
                        pairs.lost(), pairs.uneven(), beat(pairs, decides))
        for scenario, pairs in found.items())
    labels = records[0].labels
    profile = next((one.profile for one in records if one.labels["arm"] == "A"), records[0].profile)  # arms may be profiles
    return Outcome(experiment, comparison, labels.get("a", "A"), labels.get("b", "B"), profile,
                   tuple(sorted({one.chip for one in records})), all(one.own for one in records), threshold, scenarios, look)


def beat(pairs: Pairs, metric: str) -> int | None:
    """The period of a rhythm in the trials of the accepted pairs."""
    from tunefork.bench.ab import rhythm

    trials = sorted(((one, arm) for pair in pairs.accepted for one, arm in zip(pair, "AB", strict=True)), key=lambda each: (each[0].created, each[0].id))
    return rhythm.period([one.metrics[metric] for one, _ in trials], [arm for _, arm in trials])


def values(pairs: Pairs, metric: str) -> list[tuple[float, float]]:
    """(A, B) of a metric over the accepted pairs."""
    return [(a.metrics[metric], b.metrics[metric]) for a, b in pairs.accepted]


def as_json(found: Outcome) -> dict[str, object]:
    """The form of `bench ab --json`."""
    scenarios = []
    for one in found.scenarios:
        main = one.judgements[one.decides]
        scenarios.append({
            "isl": one.isl, "osl": one.osl, "conc": one.conc, "metric": one.decides, "ratio": main.ratio, "lo": main.lo, "hi": main.hi,
            "pairs": main.pairs, "rejected": [{"pair": bad.pair, "reason": bad.reason} for bad in one.rejected],
            "lost": {"a": one.lost[0], "b": one.lost[1]}, "verdict": one.verdict, "period": one.period,
            "more_pairs": None if one.spoiled else main.more_pairs,
            "metrics": one.judgements})
    return {"experiment": found.experiment, "comparison": found.comparison, "a": found.a, "b": found.b, "profile": found.profile,
            "chips": found.chips, "server_restarts": found.restarts, "look": found.look, "verdict": found.verdict, "scenarios": scenarios}


def rows(found: Outcome) -> list[tuple[str, str, str, str, str, str, str]]:
    """A table's rows: scenario, metric, B/A, interval, p, pairs, verdict; what decides comes first and is marked."""
    lines = []
    for one in found.scenarios:
        for metric, judged in one.judgements.items():
            count = f"{judged.more_pairs} more pair{'s' if judged.more_pairs != 1 else ''}"
            more = f", {count} should settle it" if judged.verdict == "inconclusive" and judged.more_pairs else ""
            none = "no verdict: every pair was spoiled" if one.spoiled else "no verdict: spoiled trials are not alike" if one.uneven else ""
            said = none or f"{judged.verdict}{more}"
            lines.append((one.name, f"{metric}{' *' if metric == one.decides else ''}", ratio(judged.ratio), interval(judged),
                          "-" if judged.p_holm is None else f"{judged.p_holm:.3g}", str(judged.pairs), said))
    return lines


def ratio(value: float | None) -> str:
    """A ratio as a difference in percent; far from 1, where percents would be unreadable, as a factor."""
    if value is None:
        return "-"
    return f"{value - 1:+.2%}" if 0.1 <= value <= 10 else f"x {value:.3g}"


def interval(judged: Judgement) -> str:
    """The 95 % interval of a ratio."""
    return "-" if judged.lo is None or judged.hi is None else f"{ratio(judged.lo)} to {ratio(judged.hi)}"
