"""The table for a pull request: every experiment's verdicts, its machine and its code, in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tunefork.bench.ab.outcome import Outcome, rows
from tunefork.bench.records.brief import Brief


def cell(text: str) -> str:
    """Text that stays in its cell, and is no markup of a viewer's."""
    return " ".join(escape(text, quote=False).replace("|", "\\|").split())


def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell(one) for one in cells) + " |"


def document(outcomes: Sequence[Outcome], records: Sequence[Brief]) -> str:
    """Every experiment; where there is none, the scores."""
    return "\n".join(part for found in outcomes for part in experiment(found, records)) if outcomes else "\n".join(scores(records))


def experiment(found: Outcome, records: Sequence[Brief]) -> list[str]:
    """One comparison: title, table, footnotes."""
    own = [one for one in records if (one.experiment, one.comparison) == (found.experiment, found.comparison)]
    lines = [f"**{cell(found.b)}** against **{cell(found.a)}**{f' ({cell(found.comparison)})' if found.comparison else ''}, profile "
             f"{cell(found.profile)}, on {cell(', '.join(found.chips))}: **{found.verdict}**", "",
             line(("scenario", "metric", "B/A", "95 %", "p (Holm)", "pairs", "verdict")), "|---|---|---|---|---|---|---|"]
    lines += [line(row) for row in rows(found)]
    lines += ["", "\\* decides. Paired log-ratios over server starts, Student's t, Holm across scenarios (docs/statistics.md)."
              if found.restarts else "\\* decides. The servers were not restarted between trials: what differs between starts is not in "
                                     "the intervals."]
    lines += [f"- {one.name}: pair {bad.pair + 1} left out: {cell(bad.reason)}" for one in found.scenarios for bad in one.rejected]
    commits = {one.arm: one.commit[:12] for one in own if one.commit}
    if commits:
        lines.append(f"- vLLM: A {commits.get('A', '-')}, B {commits.get('B', '-')}; experiment {cell(found.experiment)}")
    return [*lines, ""]


def scores(records: Sequence[Brief]) -> list[str]:
    """The last score of every chip, profile, scenario and variant."""
    last = {(one.chip, one.profile, one.variant, one.isl, one.osl, one.conc): one for one in records if one.tput is not None}
    head = ("chip", "profile", "variant", "ISL/OSL", "CONC", "tok/s/GPU", "E2E ms", "tok/s/user")
    lines = [line(head), "|---" * len(head) + "|"]
    for (on, profile, arm, isl, osl, conc), one in sorted(last.items()):
        lines.append(line((on, profile, arm, f"{isl}/{osl}", str(conc), f"{one.tput:.1f}", f"{one.e2e_ms:.0f}", f"{one.interactivity:.1f}")))
    return lines
