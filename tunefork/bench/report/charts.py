"""The charts as plotly figures: plain dictionaries, so that making a report imports no plotting library."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from tunefork.bench.report.points import Panel, Point, pareto

# Okabe and Ito's colours, told apart by all common kinds of sight; the symbol changes when they come round again.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross")
AXES = {"interactivity": ("interactivity, tokens/s/user", True), "e2e_s": ("median E2E, seconds", False)}
Figure = dict[str, Any]


def scatter(panel: Panel, x: str, places: Mapping[str, int]) -> Figure:
    """Throughput per GPU against interactivity ("interactivity") or E2E ("e2e_s"), the Pareto line, baseline and targets.

    places: of each record, its row in the page's table, from which page.js takes the points.
    """
    label, more_x = AXES[x]
    traces: list[dict[str, Any]] = []
    for number, (name, points) in enumerate(by_variant(panel.points).items()):
        traces.append({
            "type": "scatter", "mode": "markers", "name": plain(name), "rows": [places[one.record] for one in points],
            "hovertemplate": "%{text}<br>%{x:.4g}, %{y:.4g} tok/s/GPU<extra>" + plain(name) + "</extra>",
            "marker": {"color": COLOURS[number % len(COLOURS)], "symbol": SYMBOLS[number // len(COLOURS) % len(SYMBOLS)], "size": 9,
                       "opacity": 0.75}})
    line = pareto([(getattr(one, x), one.tput) for one in panel.points], more_x=more_x)
    traces.append({"type": "scatter", "mode": "lines", "name": "Pareto line", "x": [one[0] for one in line], "y": [one[1] for one in line],
                   "line": {"color": "#888888", "width": 1.5, "dash": "dot"}, "hoverinfo": "skip"})
    references = panel.references()
    if references:
        traces.append({
            "type": "scatter", "mode": "markers+text", "name": f"{plain(references[0].variant)} (published)",
            "x": [getattr(one, x) for one in references], "y": [one.tput for one in references],
            "text": [f"c{one.conc}" for one in references], "textposition": "top center", "cliponaxis": False,
            "hovertemplate": "%{text}: %{x:.4g}, %{y:.4g} tok/s/GPU<extra>" + plain(references[0].variant) + "</extra>",
            "marker": {"symbol": "star", "size": 14, "color": "#F0E442", "line": {"color": "#000000", "width": 1}}})
    return {"title": panel.title, "x": x, "data": traces, "height": 420, "layout": {
        "xaxis": {"title": {"text": label}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": "tokens/s/GPU"}, "rangemode": "tozero"}}}


def plain(text: str) -> str:
    """Text that plotly shows as it is: its strings are a kind of HTML, and %{...} stands for values."""
    return escape(text, quote=False).replace("%{", "%\u200b{")


def by_variant(points: Iterable[Point]) -> dict[str, list[Point]]:
    """Points of each variant, in order of appearance."""
    found: dict[str, list[Point]] = {}
    for one in points:
        found.setdefault(one.variant, []).append(one)
    return found
