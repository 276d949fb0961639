"""The live page of a campaign: one file that opens offline and loads itself again while the day goes on; rewritten in one step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from tunefork.base.files import write_atomically
from tunefork.bench.campaign import book, picture
from tunefork.bench.campaign.book import Rows
from tunefork.bench.campaign.planned import Planned, named
from tunefork.bench.campaign.result import Line, Result
from tunefork.bench.report.page import asset, scrolled, section, table

FILE = "index.html"
AGAIN_S = 15
SPAN = 0.12
"""To both sides of the picture of gains."""


def bars(planned: Planned, rows: Rows, used: float) -> list[tuple[str, float, float]]:
    """What the day was spent on, in the order of the book: (name, from, to) in minutes. Side by side counts once."""
    lanes = book.rules(planned.rules, rows).lanes
    made: list[tuple[str, float, float]] = []
    at = 0.0
    for key, row in rows.items():
        kind, _, rest = key.partition(":")
        name = {"step": rest, "warm": "warm", "pair": "confirm"}.get(kind, "")
        if kind == "start":
            name = str(rows.get(f"block:{row['block']}", {}).get("kind", "race"))
        took = float(row.get("minutes", 0.0)) / (lanes if kind in ("start", "warm") else 1)
        if name and took:
            made.append((name, at, at + took))
            at += took
    # What is not in the book (a kill, waiting) has passed too.
    scale = used / at if at > used > 0 else 1.0
    return [(name, begin * scale, end * scale) for name, begin, end in made]


def page(planned: Planned, rows: Rows, found: Result, used: float, now: str) -> str:
    """The whole file. used: minutes of the day.  now: what is done; "ended" where nothing is."""
    going = now not in ("ended", "")
    day = picture.svg(bars(planned, rows, used), max(planned.minutes, used), used if going else None)
    sections = [
        section("summary", "Now" if going else "Result", summary(planned, found, used, now)),
        section("day", "The day", scrolled("the day over the hours", day) + picture.legend()
                + f'<p class="soft">{picture.clock(used)} of {picture.clock(planned.minutes)} hours used; costs: {escape(planned.costs.source)}</p>'),
        section("plan", "As planned", planned_steps(planned)),
        section("candidates", "Candidates", candidates(found.lines)),
        section("starts", "Starts", starts(rows)),
        section("out", "Not tried", table(("candidate", "why"), [*((one.name, one.reason) for one in planned.rejected),
                                                                 *((name, "does not fit into the hours") for name in planned.left_out)])),
    ]
    again = f'<meta http-equiv="refresh" content="{AGAIN_S}">' if going else ""
    return "\n".join([
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">' + again,
        f'<title>Campaign {escape(planned.name)}</title><link rel="icon" href="data:,"><style>{asset("page.css")}</style></head><body>',
        f"<header><h1>Campaign {escape(planned.name)}: profile {escape(planned.profile)}</h1></header><main>", *sections, "</main></body></html>"])


def planned_steps(planned: Planned) -> str:
    """The plan as a picture and a table."""
    bars, at = [], 0.0
    for one in planned.steps:
        bars.append((one.name, at, at + one.minutes))
        at += one.minutes
    rows = [(picture.clock(begin), f"{end - begin:.1f}", one.name, one.decides) for one, (_, begin, end) in zip(planned.steps, bars, strict=True)]
    return scrolled("the plan over the hours", picture.svg(bars, max(planned.minutes, at))) + table(("from", "minutes", "step", "what it decides"), rows)


def summary(planned: Planned, found: Result, used: float, now: str) -> str:
    """The first thing that is looked for."""
    left = max(planned.minutes - used, 0.0)
    doing = f"<p><b>{escape(now)}</b>, {left:.0f} of {planned.minutes:.0f} minutes left.</p>" if now not in ("ended", "") else ""
    kind = found.verdict.replace(" ", "-")
    return f'{doing}<div class="verdict {kind}"><p>{escape(proposal(found))}</p></div>' + (
        f'<p class="soft">{escape(found.why)}</p>' if found.why else "") + (
        '<p><b>Numbers of a CPU are no GPU\'s numbers.</b></p>' if not planned.gpus else "")


def proposal(found: Result) -> str:
    """The result in a sentence."""
    if not found.arm:
        return "The best so far is the reference: nothing is known to be better."
    numbers = "" if found.gain is None else f" {found.gain:+.1%}"
    numbers += " (no interval: nothing tells the noise yet)" if found.low is None or found.high is None else f" ({found.low:+.1%} to {found.high:+.1%})"
    chance = "" if found.certainty is None else f"; certainty that it gains at all: {sure(found.certainty)}"
    return f"The best so far is {named(found.arm)}:{numbers}, {found.verdict}{chance}. Gate and full scenarios: {found.accepted}."


def sure(chance: float) -> str:
    """A chance in words: nothing is quite certain."""
    return "over 99.9 %" if chance > 0.999 else f"{100 * chance:.1f} %"


def candidates(lines: Sequence[Line]) -> str:
    """A table with an interval drawn in each row."""
    head = ("candidate", "advice", "gain", "95 %", "drawn", "starts", "minutes to decide", "why")
    top = "".join(f'<th scope="col">{one}</th>' for one in head)
    body = "".join(
        f"<tr><td>{escape(one.name)}</td><td>{one.advice}</td><td>{percent(one.gain)}</td><td>{interval(one)}</td><td>{bar(one)}</td><td>{one.starts}</td>"
        f"<td>{'' if one.minutes is None else f'{one.minutes:.0f}'}</td><td>{escape(one.why)}</td></tr>" for one in lines)
    return scrolled("table by candidate", f'<table id="candidates-table"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>')


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:+.1%}"


def interval(one: Line) -> str:
    return "" if one.low is None or one.high is None else f"{one.low:+.1%} to {one.high:+.1%}"


def bar(one: Line) -> str:
    """The interval as a line over nothing gained."""
    if one.gain is None:
        return ""
    low, high = (one.low if one.low is not None else -math.inf), (one.high if one.high is not None else math.inf)
    x1, x2, x = (60 + 60 * max(-1.0, min(1.0, value / SPAN)) for value in (low, high, one.gain))
    return (f'<svg viewBox="0 0 120 14" width="120" height="14" role="img" aria-label="{percent(one.gain)}"><line x1="60" x2="60" y1="0" y2="14" '
            f'stroke="currentColor" opacity="0.3"/><line x1="{x1:.1f}" x2="{x2:.1f}" y1="7" y2="7" stroke="currentColor" stroke-width="2"/>'
            f'<circle cx="{x:.1f}" cy="7" r="4" fill="currentColor"/></svg>')


def starts(rows: Rows) -> str:
    """Every start in the order of the book, the last first."""
    lines = []
    for key, row in rows.items():
        if key.startswith("start:"):
            kind = str(rows.get(f"block:{row['block']}", {}).get("kind", ""))
            lines.append((f"{kind} {row['block']}", named(tuple(row["arm"])), "" if row["value"] is None else f"{math.exp(row['value']):.5g}",
                          f"{row['minutes']:.1f}", str(row["lane"]), str(row["reason"])))
    return table(("block", "arm", "score", "minutes", "lane", "why not"), lines[::-1])


def write(where: Path, planned: Planned, rows: Rows, found: Result, used: float, now: str) -> Path:
    path = where / FILE
    write_atomically(path, page(planned, rows, found, used, now).encode())
    return path
