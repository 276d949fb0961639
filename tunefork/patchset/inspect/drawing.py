"""The dependency graph of a series as one SVG file: patches top to bottom in series order, an arc from each to what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tunefork.patchset.inspect.graph import Need, Node

ROW, LEFT, CHARACTER = 34, 16, 8.0  # pixels: between rows, margin, width of a monospaced character at 13 px
STYLE = """
text { font: 13px ui-monospace, Menlo, Consolas, monospace; fill: #1f2328 } .note { fill: #59636e }
.box { fill: #f6f8fa; stroke: #d1d9e0 } path { fill: none; stroke: #0969da; stroke-width: 1.5 } marker path { fill: #0969da; stroke: none }
.undeclared { stroke: #d1242f } .declared { stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) { text { fill: #f0f6fc } .note { fill: #9198a1 } .box { fill: #151b23; stroke: #3d444d } }
"""
LEGEND = "solid: does not apply without; red: so, and not declared; dashed: declared, applies without"


def svg(title: str, nodes: Sequence[Node]) -> str:
    """The graph of one series. title: shown above it and read out by a screen reader."""
    names = [node.name for node in nodes]
    right = LEFT + 24 + CHARACTER * max([*map(len, names), 8])
    reach = max((names.index(node.name) - names.index(need.name) for node in nodes for need in node.needs), default=0)
    width = max(right + 40 + 14 * reach, LEFT * 2 + CHARACTER * len(LEGEND))
    height = 44 + ROW * len(nodes) + 28
    body = [arc(names.index(node.name), names.index(need.name), need, right) for node in nodes for need in node.needs]
    body += [box(at, node.name, right) for at, node in enumerate(nodes)]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" viewBox="0 0 {width:.0f} {height}" role="img">\n'
        f"<title>{escape(title)}</title><style>{STYLE}</style>\n"
        '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z"/></marker></defs>\n'
        f'<text x="{LEFT}" y="24" font-weight="bold">{escape(title)}</text>\n' + "\n".join(body) + "\n"
        f'<text class="note" x="{LEFT}" y="{height - 10}">{LEGEND}</text>\n</svg>\n'
    )


def middle(at: int) -> float:
    return 44 + ROW * at + 13


def box(at: int, name: str, right: float) -> str:
    return (f'<rect class="box" x="{LEFT}" y="{middle(at) - 13}" width="{right - LEFT:.0f}" height="26" rx="5"/>'
            f'<text x="{LEFT + 12}" y="{middle(at) + 4.5}">{escape(name)}</text>')


def arc(at: int, needs: int, need: Need, right: float) -> str:
    """From a patch up to one that it needs, bulging by their distance so that arcs do not cover each other."""
    kind = "" if need.found and need.declared else "undeclared" if need.found else "declared"
    low, high = middle(at) - 4, middle(needs) + 4
    bulge = right + 20 + 14 * (at - needs)
    says = f"{'needs' if need.found else 'declares to need'} {need.name}"
    return (f'<path class="{kind}" marker-end="url(#end)" d="M{right:.0f} {low}C{bulge:.0f} {low} {bulge:.0f} {high} {right:.0f} {high}">'
            f"<title>{escape(says)}</title></path>")
