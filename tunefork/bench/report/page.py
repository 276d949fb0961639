"""The report's HTML: summary first, then effects, noise, charts, environment, records; everything in one file."""

from __future__ import annotations

import base64
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from operator import attrgetter
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from tunefork.bench.ab import power
from tunefork.bench.ab.accuracy import AccuracyDifference
from tunefork.bench.ab.outcome import DECIDES, Outcome, interval, ratio, rows
from tunefork.bench.ab.words import headline, patches, said
from tunefork.bench.records.brief import Brief, of_experiments
from tunefork.bench.report import charts, forest
from tunefork.bench.report.points import Panel

HERE = Path(__file__).parent
UNFOLDED = 6  # more experiments than this are shown as one line each
COLUMNS = ("record", "created", "status", "chip", "GPUs", "profile", "variant", "ISL", "OSL", "CONC", "tok/s/GPU", "tok/s/user", "E2E ms",
           "TTFT ms", "TPOT ms", "vs baseline: tput", "E2E", "intvty", "commit", "experiment", "arm", "why not")


def page(records: Sequence[Brief], damaged: Sequence[str], outcomes: Sequence[Outcome], panels: Sequence[Panel],
         accuracy: Sequence[tuple[str, str, AccuracyDifference]], made: str) -> str:
    """The whole file. made: when, in words."""
    from plotly.offline import get_plotlyjs

    figures: list[charts.Figure] = []
    sections = [
        section("summary", "Summary", summary(records, damaged, outcomes)),
        section("effects", "Effects of the patches", effects(outcomes, of_experiments(records)) + accuracies(accuracy)),
        section("noise", "Noise (A/A)", noise(outcomes)),
        section("scores", "Throughput against interactivity and E2E",
                scatters(panels, figures, {one.id: number for number, one in enumerate(records)}) + best_table(panels, records)),
        section("environment", "Environment", environment(records)),
        section("all", "Records", failures(records) + table_of_records()),
    ]
    data = packed(to_json({"figures": figures, "columns": columns(records)}, inf_nan_mode="null"))  # a fifth of what json.dumps takes
    links = "".join(f'<a href="#{name}">{title}</a>' for name, title in (
        ("effects", "Effects"), ("noise", "Noise"), ("scores", "Scores"), ("environment", "Environment"), ("all", "Records")))
    return "\n".join([
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>Tunefork report, {escape(made)}</title><link rel=\"icon\" href=\"data:,\"><style>{asset('page.css')}</style></head><body>",
        '<a class="skip" href="#summary">to the summary</a>',
        f'<header><h1>Tunefork report <span class="soft">{escape(made)}</span></h1><nav aria-label="sections">{links}</nav>',
        '<button id="theme" class="plain" type="button">light / dark</button></header>',
        "<main>", *sections, "</main>",
        f'<script type="text/plain" id="data">{data}</script><script type="text/plain" id="plotly">{packed(get_plotlyjs().encode())}</script>',
        f'<script>{asset("unpack.js")}</script><script>{asset("page.js")}</script>',
        "</body></html>"])


def packed(text: bytes) -> str:
    """Text as unpack.js reads it. In base64 nothing can end the script element that it stands in."""
    squeezer = zlib.compressobj(4, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(squeezer.compress(text) + squeezer.flush()).decode("ascii")


def asset(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def section(name: str, title: str, content: str) -> str:
    return f'<section id="{name}" tabindex="-1"><h2>{title}</h2>{content}</section>'


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """A static table of text."""
    top = "".join(f"<th scope=\"col\">{escape(one)}</th>" for one in head)
    lines = "".join("<tr>" + "".join(f"<td>{escape(one)}</td>" for one in line) + "</tr>" for line in body)
    return scrolled(f"table by {head[0]}", f"<table><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table>")


def scrolled(label: str, content: str) -> str:
    """What may be wider than the screen: by keys, too, it can be moved. label: for who does not see it."""
    return f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(label)}">{content}</div>'


def summary(records: Sequence[Brief], damaged: Sequence[str], outcomes: Sequence[Outcome]) -> str:
    """What a reader with twenty seconds must know."""
    by_name = of_experiments(records)
    parts = [verdict(one, by_name.get(one.experiment, ()), folded=len(outcomes) > UNFOLDED) for one in ranked(outcomes)]
    if not outcomes:
        parts.append("<p>No experiment among these records: nothing here says which variant is better. <code>bench ab</code> does.</p>")
    passed = sum(one.status == "passed" for one in records)
    parts.append(f'<p class="soft">{len(records)} records, {passed} passed, {len(damaged)} damaged and left out. '
                 + ("Different chips are never in one chart.</p>" if len({one.chip for one in records}) > 1 else "</p>"))
    parts += [f'<p class="soft">damaged: {escape(one)}</p>' for one in damaged[:20]]
    if any(one.chip.startswith("CPU") for one in records):
        parts.append("<p><b>Numbers of a CPU are no GPU's numbers.</b></p>")
    return "".join(parts)


def ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """What changes most first, arms against themselves last."""
    def effect(one: Outcome) -> float:
        ratios = [judged.ratio for scenario in one.scenarios if (judged := scenario.judgements[scenario.decides]).ratio]
        return max((abs(math.log(value)) for value in ratios), default=0.0)

    order = ("better", "worse", "no difference", "inconclusive")
    return sorted(outcomes, key=lambda one: (one.calibrates, one.verdict not in order[:2], -effect(one), order.index(one.verdict)))


def verdict(found: Outcome, records: Sequence[Brief], *, folded: bool) -> str:
    """One experiment in a sentence and a line per scenario, which can be folded away. records: the experiment's."""
    lines = []
    for one in found.scenarios:
        judged = one.judgements[one.decides]
        rejected = f", {len(one.rejected)} left out (trials rejected: A {one.lost[0]}, B {one.lost[1]})"
        lines.append(f"<li>{escape(one.name)}: {escape(one.decides)} {ratio(judged.ratio)} (95&nbsp;% {interval(judged)}), {judged.pairs} pairs"
                     f"{rejected}: {one.verdict}</li>")
    start = "".join(f'<p class="soft">{escape(one)}.</p>' for one in found.notes())
    start += "" if found.restarts else '<p class="soft">The servers were not restarted between trials.</p>'
    kind = found.verdict.replace(" ", "-")
    lost = [sum(one.lost[arm] for one in found.scenarios) for arm in (0, 1)]
    name, words = headline(found)[: -len(said(found))], said(found)
    big = f'{escape(name)}<b>{escape(words)}</b>'
    what = (f'<p class="soft">B = {escape(found.b)}, A = {escape(found.a)}{f" ({escape(found.comparison)})" if found.comparison else ""}, '
            f"{forest.dated(escape(when(records)))}, on {escape(', '.join(found.chips))}, profile {escape(found.profile)}: {found.verdict}."
            f"{escape(named(found, records))} Trials rejected: A {lost[0]}, B {lost[1]}.</p>")
    items = f"{what}<details><summary>each load</summary><ul>{''.join(lines)}</ul></details>{start}"
    inner = f"<details><summary>{big}</summary>{items}</details>" if folded else f'<p class="headline">{big}</p>{items}'
    return f'<div class="verdict {kind}">{inner}</div>'


def best_table(panels: Sequence[Panel], records: Sequence[Brief]) -> str:
    """The best of each load, and how its last column is made."""
    best = [line for panel in panels for line in best_of(panel, records)]
    if not best:
        return ""
    note = ('<p class="soft">* 0.5 throughput + 0.3 interactivity + 0.2 / E2E, as ratios to the reference, which has 1. '
            "The weights are stage 2's, the formula is our reading of them.</p>") if any(line[-1] != "-" for line in best) else ""
    return "<h3>Best of each load</h3>" + table(
        ("chip", "profile", "ISL/OSL", "CONC", "variant", "tok/s/GPU", "tok/s/user", "E2E s", "against", "tput x", "weighted*"), best) + note


def when(records: Iterable[Brief]) -> str:
    """The day or days of an experiment's records."""
    days = sorted({one.created.date().isoformat() for one in records})
    return days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}" if days else "no date"


def named(found: Outcome, records: Sequence[Brief]) -> str:
    """The patches in which the arms differ."""
    only_a, only_b = patches(found, records)
    told = [f" Only in {arm}: {', '.join(names)}." for arm, names in (("B", only_b), ("A", only_a)) if names]
    return "".join(told)


def failures(records: Sequence[Brief]) -> str:
    """What did not pass, folded, by reason."""
    reasons: dict[str, list[Brief]] = {}
    for one in records:
        if one.status != "passed":
            reasons.setdefault(one.problem or one.status, []).append(one)
    lines = [(str(len(own)), reason, own[-1].id) for reason, own in by_count(reasons)]
    return by_reason("record", "did not pass", reasons, table(("records", "reason", "the last of them"), lines))


def best_of(panel: Panel, records: Sequence[Brief]) -> list[tuple[str, ...]]:
    """The record with most throughput per GPU at each CONC of a panel."""
    known = {one.record for one in panel.points}
    best: dict[int, tuple[float, Brief]] = {}
    for one in records:
        if one.id in known and one.tput is not None and (one.conc not in best or one.tput > best[one.conc][0]):
            best[one.conc] = one.tput, one
    return [(panel.chip, panel.profile, f"{panel.isl}/{panel.osl}", str(conc), one.variant, f"{tput:.1f}", f"{one.interactivity:.1f}",
             f"{(one.e2e_ms or 0) / 1000:.3f}", one.baseline or "-", *("-" if value is None else f"{value:.3f}" for value in (one.tput_ratio, one.weighted)))
            for conc, (tput, one) in sorted(best.items())]


def effects(outcomes: Sequence[Outcome], records: Mapping[str, Sequence[Brief]]) -> str:
    """A forest plot per experiment, and below it, folded, every metric. records: by experiment."""
    parts, by_name = [], dict[str, list[Outcome]]()
    for one in ranked(outcomes):
        by_name.setdefault(one.experiment, []).append(one)
    for name, own in by_name.items():
        decides = next((scenario.decides for one in own for scenario in one.scenarios), DECIDES)
        on = ", ".join(sorted({each for one in own for each in one.chips}))
        title = f"{name}, {when(records.get(name, ()))}, on {on}"
        parts.append(forest.html(title, decides, own) or f"<h3>{forest.dated(escape(title))}: no pair counts</h3>")
        lines = [(one.comparison or f"{one.b} vs {one.a}", *line) for one in own for line in rows(one)]
        whole = table(("comparison", "scenario", "metric (* decides)", "B/A", "95 %", "p (Holm)", "pairs", "verdict"), lines)
        parts.append(f"<details><summary>every metric of {escape(name)}</summary>{whole}</details>")
        parts.append(left_out(own))
    return "".join(parts) or '<p class="soft">No experiment.</p>'


def left_out(own: Sequence[Outcome]) -> str:
    """The pairs of an experiment that do not count, folded, by reason."""
    reasons: dict[str, list[str]] = {}
    for one in own:
        for each in one.scenarios:
            for bad in each.rejected:
                reasons.setdefault(bad.reason, []).append(f"{f'{one.comparison} ' if one.comparison else ''}{each.name} pair {bad.pair + 1}")
    lines = [(str(len(pairs)), reason, ", ".join(pairs)) for reason, pairs in by_count(reasons)]
    return by_reason("pair", "left out", reasons, table(("pairs", "reason", "which"), lines))


def by_count(reasons: Mapping[str, list[Any]]) -> list[tuple[str, list[Any]]]:
    """The commonest reason first."""
    return sorted(reasons.items(), key=lambda item: -len(item[1]))


def by_reason(one: str, what: str, reasons: Mapping[str, Sequence[object]], inner: str) -> str:
    """A table by reason under "3 records did not pass, for 2 reasons"; "" where there is no reason."""
    count, kinds = sum(map(len, reasons.values())), len(reasons)
    title = f"{count} {one}{'s' if count > 1 else ''} {what}, for {kinds} reason{'s' if kinds > 1 else ''}"
    return f"<details><summary>{title}</summary>{inner}</details>" if reasons else ""


def accuracies(found: Sequence[tuple[str, str, AccuracyDifference]]) -> str:
    """How the arms differ on the same questions."""
    if not found:
        return ""
    return "<h3>Accuracy, question by question</h3>" + table(
        ("experiment", "comparison", "measure", "A", "B", "B - A", "95 %", "p", "questions"),
        [(name, comparison, one.unit, f"{one.a:.4f}", f"{one.b:.4f}", f"{one.difference:+.4f}", f"{one.lo:+.4f} to {one.hi:+.4f}",
          f"{one.p:.3g}", str(one.samples)) for name, comparison, one in found])


def noise(outcomes: Sequence[Outcome]) -> str:
    """What A/A experiments say of this machine: s, and the least effect it can show."""
    lines = []
    for one in outcomes:
        for each in one.scenarios if one.calibrates else ():
            for metric, judged in each.judgements.items():
                if judged.sd is not None:
                    least = [f"{power.detectable(pairs) * judged.sd:.2%}" for pairs in (6, 10)]
                    lines.append((", ".join(one.chips), one.a, each.name, metric, f"{judged.sd:.2%}", str(judged.pairs), *least))
    if not lines:
        return '<p class="soft">No A/A experiment: <code>bench ab --a base --b base</code> measures how much two equal arms differ.</p>'
    return table(("chip", "variant", "scenario", "metric", "s: SD of a pair", "pairs", "6 pairs show", "10 pairs show"), lines) + (
        '<p class="soft">"Show": at 80 % power, two-sided 5 %, one scenario.</p>')


def scatters(panels: Sequence[Panel], figures: list[charts.Figure], places: Mapping[str, int]) -> str:
    """Two charts a panel. places: of each record, its row in the table."""
    parts = []
    for panel in panels:
        both = "".join(place(charts.scatter(panel, x, places), figures) for x in charts.AXES)
        parts.append(f'<div class="charts">{both}</div>')
    return "".join(parts) or '<p class="soft">No configuration passed.</p>'


def place(figure: charts.Figure, figures: list[charts.Figure]) -> str:
    """A chart's place in the page; its caption names the chip."""
    figures.append(figure)
    label = escape(figure["title"])
    axis = escape(figure["layout"]["xaxis"]["title"]["text"])
    return (f'<figure><figcaption>{label}</figcaption><div id="chart-{len(figures) - 1}" role="img" '
            f'aria-label="{label}: {axis}; the numbers are in the tables"></div></figure>')


def environment(records: Sequence[Brief]) -> str:
    """Every distinct machine and software that was measured."""
    seen = Counter(one.machine for one in records)
    lines = []
    for (chip, gpus, host, system, cores, memory, version, target, variant, commit, project, versions), count in seen.items():
        lines.append((chip, str(gpus), host, system, f"{cores} cores, {memory:.0f} GiB", f"{version} ({target})",
                      f"{variant} {commit[:12]}" if commit is not None else "not known", project[:13],
                      ", ".join(f"{key} {value}" for key, value in json.loads(versions).items()), str(count)))
    return table(("chip", "GPUs used", "host", "system", "machine", "vLLM", "variant", "Tunefork", "versions", "records"), lines)


def table_of_records() -> str:
    """The frame that page.js fills."""
    head = "".join(f'<th scope="col" aria-sort="none"><button type="button">{escape(one)}</button></th>' for one in COLUMNS)
    return ('<p><label for="search">Search (press /): </label><br><input type="search" id="search" autocomplete="off" '
            'placeholder="words of any column"></p><p class="soft" id="count" aria-live="polite"></p>'
            f'<div class="scroll" id="region" tabindex="0" role="region" aria-label="records"><table id="records"><thead><tr>{head}</tr></thead>'
            '<tbody></tbody></table></div><p><button id="more" class="plain" type="button" hidden>show all</button></p>')


def columns(records: Sequence[Brief]) -> list[list[Any] | dict[str, list[Any]]]:
    """The records under COLUMNS, column by column. What repeats is written once: {"of": its values, "at": which of them each record has}."""
    of = [*zip(*map(OF_A_BRIEF, records), strict=True)] or [()] * len(SHOWN)
    found: dict[str, Sequence[Any]] = dict(zip(SHOWN, of, strict=True))
    found["created"] = [one.isoformat(" ", "seconds")[:19] for one in found["created"]]
    found["commit"] = [one[:12] for one in found["commit"]]
    found["experiment"] = [one or "" for one in found["experiment"]]
    return [list(found[name]) if name in NUMBERS else once(found[name]) for name in SHOWN]


SHOWN = ("id", "created", "status", "chip", "gpus", "profile", "variant", "isl", "osl", "conc", "tput", "interactivity", "e2e_ms", "ttft_ms", "tpot_ms",
         "tput_ratio", "e2e_ratio", "interactivity_ratio", "commit", "experiment", "arm", "problem")  # fmt: skip
NUMBERS = ("id", "tput", "interactivity", "e2e_ms", "ttft_ms", "tpot_ms", "tput_ratio", "e2e_ratio", "interactivity_ratio")
"""Columns in which hardly anything repeats."""
OF_A_BRIEF = attrgetter(*SHOWN)


def once(values: Sequence[Any]) -> list[Any] | dict[str, list[Any]]:
    """A column, by its different values where they are few."""
    different = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return {"of": list(different), "at": [different[value] for value in values]} if len(different) * 4 < len(values) else list(values)
