"""The charts as PNG files, drawn by matplotlib without a display, for pull requests and papers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunefork.bench.ab.outcome import Outcome
from tunefork.bench.ab.words import better_is
from tunefork.bench.report import forest as forests
from tunefork.bench.report.charts import AXES, COLOURS, by_variant
from tunefork.bench.report.points import Panel, pareto

DPI = 150
VERDICT_COLOURS = {"better": "#009E73", "worse": "#D55E00", "no difference": "#56B4E9", "inconclusive": "#999999"}


def slug(text: str) -> str:
    """A title as a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:100]


def figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure that needs no window system and leaves pyplot's global state alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made, made.add_subplot()


def scatter(panel: Panel, x: str, folder: Path) -> Path:
    """As charts.scatter."""
    label, more_x = AXES[x]
    made, axes = figure(8, 5)
    for position, (name, points) in enumerate(by_variant(panel.points).items()):
        axes.scatter([getattr(one, x) for one in points], [one.tput for one in points], s=36, alpha=0.75, label=name,
                     color=COLOURS[position % len(COLOURS)])
    line = pareto([(getattr(one, x), one.tput) for one in panel.points], more_x=more_x)
    axes.plot([one[0] for one in line], [one[1] for one in line], ":", color="#888888", label="Pareto line")
    references = panel.references()
    if references:
        axes.scatter([getattr(one, x) for one in references], [one.tput for one in references], s=110, marker="*", color="#F0E442", edgecolors="#000000",
                     label=f"{references[0].variant} (published)")
        for one in references:
            axes.annotate(f"c{one.conc}", (getattr(one, x), one.tput), textcoords="offset points", xytext=(0, 8), ha="center")
    axes.set(title=panel.title, xlabel=label, ylabel="tokens/s/GPU")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    path = folder / f"{slug(panel.title)}-{slug(x)}.png"
    made.savefig(path, dpi=DPI)
    return path


def forest(title: str, metric: str, found: Sequence[Outcome], folder: Path) -> Path | None:
    """Effects with their 95 % intervals, in percent of A; None without any. The band is the practical threshold."""
    lines = forests.rows(found)
    if not lines:
        return None
    made, axes = figure(8, 1.6 + 0.42 * len(lines))
    axes.axvspan(-100 * found[0].threshold, 100 * found[0].threshold, color="#888888", alpha=0.12)
    axes.axvline(0, color="#888888", linewidth=1)
    for row, one in enumerate(lines):
        axes.errorbar([one.middle], [-row], xerr=[[one.middle - one.low], [one.high - one.middle]], fmt="s", color=VERDICT_COLOURS[one.verdict],
                      capsize=3, label=one.verdict)
    axes.set_yticks([-row for row in range(len(lines))], [f"{one.name}\n{one.scenario}" for one in lines])
    axes.set(title=title, xlabel=f"B / A - 1 of {metric}, % ({better_is(metric)})")
    named = dict(zip(axes.get_legend_handles_labels()[1], axes.get_legend_handles_labels()[0], strict=True))
    axes.legend(named.values(), named.keys(), fontsize="small")
    path = folder / f"{slug(title)}-effects.png"
    made.savefig(path, dpi=DPI)
    return path
