"""A picture of the day: as lines of a terminal, and as SVG for the page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tunefork.bench.campaign.plan import Step

COLOURS = {"doctor": "#8c959f", "develop": "#8c959f", "warm": "#d4a72c", "tune": "#d4a72c", "A/A": "#54aeff", "beside": "#54aeff", "race": "#0969da",
           "combine": "#8250df", "confirm": "#1a7f37", "accuracy": "#bf3989", "full": "#bf3989", "final": "#bf3989", "report": "#8c959f", "more": "#afb8c1"}
WIDTH = 60
LABEL = 45
"""Of the picture's 1000: the widest time, "12:00", in its font."""
LEAST_PX = 700
"""Of the picture on a phone, which can be moved: its hours could not be read at 375."""


def colour(name: str) -> str:
    return next((found for word, found in COLOURS.items() if name.startswith(word)), "#8c959f")


def legend() -> str:
    """What the colours are."""
    named = {colour: ", ".join(word for word, own in COLOURS.items() if own == colour) for colour in COLOURS.values()}
    return '<p class="soft">' + " ".join(f'<span style="color:{colour}">&#9632;</span> {words}' for colour, words in named.items()) + "</p>"


def clock(minutes: float) -> str:
    """Hours and minutes since the begin."""
    return f"{int(minutes) // 60}:{int(minutes) % 60:02d}"


def lines(steps: Sequence[Step], minutes: float) -> list[str]:
    """A line per step: when it begins, how long it takes, a bar where it lies in the day."""
    made, at = [], 0.0
    for one in steps:
        first = min(round(WIDTH * at / minutes), WIDTH - 1)
        length = max(1, round(WIDTH * one.minutes / minutes))
        bar = (" " * first + "█" * length)[:WIDTH]
        made.append(f"{clock(at):>6} {one.minutes:6.1f} min |{bar:<{WIDTH}}| {one.name}: {one.decides}")
        at += one.minutes
    return made


def svg(bars: Sequence[tuple[str, float, float]], minutes: float, used: float | None = None) -> str:
    """(name, from, to) in minutes, under each other in one row of time. used: where now is."""
    width, height, scale = 1000, 74, 1000 / max(minutes, 1e-9)
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="the day: {escape(", ".join(dict.fromkeys(one[0] for one in bars)))}" '
             f'style="width:100%;min-width:{LEAST_PX}px;height:auto">',
             f'<rect x="0" y="18" width="{width}" height="30" fill="none" stroke="currentColor" opacity="0.3"/>']
    for name, begin, end in bars:
        label = f"{name}: {clock(begin)} to {clock(end)}"
        parts.append(f'<rect x="{begin * scale:.2f}" y="18" width="{max((end - begin) * scale, 1):.2f}" height="30" fill="{colour(name)}">'
                     f"<title>{escape(label)}</title></rect>")
    step = next(one for one in (1, 2, 5, 10, 15, 30, 60, 120, 240, 480, 10_000) if minutes / one <= 12)
    for at in range(0, int(minutes) + 1, step):
        place = min(at * scale, width)
        anchor = ' text-anchor="end"' if place > width - LABEL else ""
        parts.append(f'<text x="{place:.1f}" y="66" font-size="15" fill="currentColor"{anchor}>{clock(at)}</text>')
    if used is not None:
        x = min(used, minutes) * scale
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="8" y2="56" stroke="currentColor" stroke-width="2"><title>now</title></line>')
    return "".join(parts) + "</svg>"
