"""The report of a campaign: one page in Markdown, for the team and for pull requests: merge, drop, undecided and what it would cost to decide."""

from __future__ import annotations

from collections.abc import Sequence

from tunefork.bench.ab.outcome import Outcome
from tunefork.bench.campaign.page import interval, percent, proposal
from tunefork.bench.campaign.planned import Planned
from tunefork.bench.campaign.result import Line, Result
from tunefork.bench.records import brief
from tunefork.bench.records.schema import Record
from tunefork.bench.report import markdown

TITLES = {"merge": "Merge", "drop": "Drop", "undecided": "Undecided"}


def document(planned: Planned, found: Result, outcome: Outcome | None, records: Sequence[Record], used: float) -> str:
    """The whole page. used: minutes of the day."""
    noise = "not known" if found.noise is None else f"{found.noise:.2%}"
    lines = [f"# Campaign {planned.name}", "", proposal(found), "", f"{found.why[:1].upper()}{found.why[1:]}." if found.why else "",
             "", f"Profile {planned.profile}, against {planned.against}; {used:.0f} of {planned.minutes:.0f} minutes; SD of a start {noise}; "
             f"metric {planned.metric}.", ""]
    if not planned.gpus:
        lines += ["**Numbers of a CPU are no GPU's numbers.**", ""]
    for advice, title in TITLES.items():
        own = [one for one in found.lines if one.advice == advice]
        lines += [f"## {title}", "", *(section(own, costs=advice == "undecided") if own else ["None.", ""])]
    if planned.left_out or planned.rejected:
        lines += ["## Not tried", "", *(f"- {markdown.cell(one.name)}: {markdown.cell(one.reason)}" for one in planned.rejected),
                  *(f"- {markdown.cell(name)}: does not fit into {planned.hours:g} hours" for name in planned.left_out), ""]
    if outcome:
        lines += ["## Confirmation, for a pull request", "", *markdown.experiment(outcome, [brief.of(one) for one in records])]
    return "\n".join(lines).rstrip() + "\n"


def section(own: Sequence[Line], *, costs: bool) -> list[str]:
    """A table of candidates."""
    head = ("candidate", "gain", "95 %", "starts", *(("minutes to decide",) if costs else ()), "why")
    rows = [markdown.line((one.name, percent(one.gain) or "-", interval(one) or "-", str(one.starts),
                           *(("-" if one.minutes is None else f"{one.minutes:.0f}",) if costs else ()), one.why)) for one in own]
    return [markdown.line(head), "|---" * len(head) + "|", *rows, ""]
