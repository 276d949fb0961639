"""Effects with their 95 % intervals, a row per scenario: as HTML that needs no script, and as text for a terminal.

Rows are evenly spaced, have their numbers on them and share one scale, on which A is the line in the middle.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tunefork.bench.ab.outcome import Outcome, interval, ratio
from tunefork.bench.ab.words import better_is, subject

LEAST_REACH = 2.0
"""Thresholds that the scale shows to both sides at least."""
DATE = re.compile(r"\b\d{4}-\d\d-\d\d\b", re.ASCII)
LEAST_ROOM = 25
"""Columns of a terminal for a row's picture."""
GRID = 1000.0
"""Units of a bar's width."""


@dataclass(frozen=True)
class Row:
    """One scenario. middle, low, high: B / A - 1, in percent."""

    name: str
    scenario: str
    middle: float
    low: float
    high: float
    numbers: str
    verdict: str


def rows(found: Sequence[Outcome]) -> list[Row]:
    """Every scenario with an interval, the comparisons in the order given."""
    made = []
    for outcome in found:
        for one in outcome.scenarios:
            judged = one.judgements[one.decides]
            if judged.ratio is not None and judged.lo is not None and judged.hi is not None:
                middle, low, high = (100 * (value - 1) for value in (judged.ratio, judged.lo, judged.hi))
                made.append(Row(subject(outcome), one.name, middle, low, high, f"{ratio(judged.ratio)} ({interval(judged)})", one.verdict))
    return made


def reach(found: Sequence[Row], threshold: float) -> float:
    """How far the scale goes to both sides, in percent; an interval beyond ten times the largest estimate is cut there."""
    most = max((abs(one.middle) for one in found), default=0.0)
    ends = max((abs(value) for one in found for value in (one.low, one.high)), default=0.0)
    return 1.05 * max(LEAST_REACH * threshold, most, min(ends, 10 * max(most, threshold)))


def html(title: str, metric: str, found: Sequence[Outcome]) -> str:
    """The chart as a table with a bar in each row; "" without any interval."""
    lines = rows(found)
    if not lines:
        return ""
    threshold = 100 * found[0].threshold
    far = reach(lines, threshold)
    head = (f'<tr><th scope="col">comparison</th><th scope="col" class="scale"><span>-{far:.3g} %</span><span>A</span><span>+{far:.3g} %</span></th>'
            f'<th scope="col">B / A (95 %)</th><th scope="col">verdict</th></tr>')
    body = "".join(
        f'<tr class="{one.verdict.replace(" ", "-")}"><th scope="row">{escape(one.name)}<br><span class="soft">{escape(one.scenario)}</span></th>'
        f'<td class="bar">{bar(one, far, threshold)}</td><td class="numbers">{escape(one.numbers)}</td><td><b>{escape(one.verdict)}</b></td></tr>'
        for one in lines)
    caption = f"{dated(escape(title))}: {escape(metric)}, {better_is(metric)}"
    return (f'<figure class="forest"><figcaption>{caption}</figcaption>{LEGEND}'
            f'<table class="forest"><thead>{head}</thead><tbody>{body}</tbody></table></figure>')


def dated(html: str) -> str:
    """Escaped text with its dates marked: a narrow screen breaks them at their dashes otherwise."""
    return DATE.sub(r"<time>\g<0></time>", html)


LEGEND = ('<p class="legend soft"><span class="better">&#9632; better</span> <span class="worse">&#9632; worse</span> '
          '<span class="no-difference">&#9632; no difference</span> <span class="inconclusive">&#9632; inconclusive</span> '
          "&#183; line: 95 % interval &#183; grey band: differences that do not matter</p>")


def bar(one: Row, far: float, threshold: float) -> str:
    """A row's picture: the band of the threshold, the line of A, the interval and the estimate."""
    def x(value: float) -> float:
        return round(GRID * (max(-far, min(far, value)) + far) / (2 * far), 1)

    return (f'<svg viewBox="0 0 {GRID:.0f} 40" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
            f'<rect class="band" x="{x(-threshold)}" y="0" width="{round(x(threshold) - x(-threshold), 1)}" height="40"/>'
            f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="0" y2="40"/>'
            f'<line class="interval" x1="{x(one.low)}" x2="{x(one.high)}" y1="20" y2="20"/>'
            f'<rect class="point" x="{round(x(one.middle) - 6, 1)}" y="11" width="12" height="18"/></svg>')


def text(found: Sequence[Outcome], width: int = 100) -> list[str]:
    """The same for a terminal of ``width`` columns: | is A, : the threshold, # the estimate, - its interval.

    Where a row has no room beside its words, it stands below them.
    """
    lines = rows(found)
    if not lines:
        return []
    threshold = 100 * found[0].threshold
    far = reach(lines, threshold)
    several = len({one.name for one in lines}) > 1
    names = [f"{one.name} {one.scenario}" if several else one.scenario for one in lines]
    label, number = max(map(len, names)), max(len(one.numbers) for one in lines)
    beside = width - label - number - 4 >= LEAST_ROOM
    room = max(LEAST_ROOM, width - label - number - 4 if beside else width)
    room -= 1 - room % 2
    head = f"{f'-{far:.3g} %':<{room // 2}}A{f'+{far:.3g} %':>{room // 2}}"
    made = [f"{'':{label}}  {head}" if beside else head]
    for name, one in zip(names, lines, strict=True):
        cells = [" "] * room

        def at(value: float) -> int:
            return round((room - 1) * (max(-far, min(far, value)) + far) / (2 * far))

        for place in (-threshold, threshold):
            cells[at(place)] = ":"
        for place in range(at(one.low), at(one.high) + 1):
            cells[place] = "-"
        cells[at(0)] = "|"
        cells[at(one.middle)] = "#"
        if beside:
            made.append(f"{name:{label}}  {''.join(cells)}  {one.numbers}")
        else:
            made += [*([f"{name}  {one.numbers}"] if len(name) + 2 + len(one.numbers) <= width else [name, one.numbers]), "".join(cells).rstrip()]
    return [*made, *textwrap.wrap("# estimate, - 95 % interval, | A, : differences within do not matter", max(width, LEAST_ROOM))]
