"""One layer of a decode step, from the rows of ``fullsize.launches``: where its microseconds are, by kernel and gap, and a picture of two arms.

    python -m studies.fullsize.layer rows.jsonl                               Markdown
    python -m studies.fullsize.layer rows.jsonl --draw out.svg shipped:4 step:4

A layer begins where the launch before its first norm has ended, which is time zero. A kernel's share is what it adds to the layer's end: where launches
overlap, a kernel that waits for the one before it is not counted twice. The layer shown is the one of median length of all steps.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from statistics import mean, median
from typing import Any

from tunefork.bench.trace.classes import classify

ATTENTION = "kernel_unified_attention"
COLOURS = {"MoE": "#fdae6b", "attention": "#9ecae1", "GEMM": "#bcbddc", "norm": "#a1d99b", "elementwise": "#f7b6d2", "memory": "#dddddd"}
Kernel = tuple[str, float, float]  # name, begin, end
SCALE, LANE, LEFT = 5.0, 22, 10


def layers(row: dict[str, Any]) -> list[list[Kernel]]:
    """Every whole layer of a row that another of the same step follows: kernels in their order; one that is launched early begins below zero."""
    kernels: list[Kernel] = [(row["names"][index], begin, end) for index, begin, end in row["kernels"]]
    anchors = [at for at, one in enumerate(kernels) if ATTENTION in one[0]]
    begins = [next((at for at in range(anchor, 0, -1) if is_norm(kernels[at][0])), 0) for anchor in anchors]
    found = []
    for at in range(len(begins) - 1):
        if at % row["layers"] in (0, row["layers"] - 1):  # the first has another norm, the last is followed by the step's own kernels
            continue
        before = max((end for _, _, end in kernels[max(0, begins[at] - 4) : begins[at]]), default=kernels[begins[at]][1])
        found.append([(name, begin - before, end - before) for name, begin, end in kernels[begins[at] : begins[at + 1]]])
    return found


def is_norm(name: str) -> bool:
    return classify(name) == "norm"


def shares(kernels: Sequence[Kernel]) -> list[tuple[str, float, float]]:
    """(name, microseconds of idle before it, microseconds that it adds): together the layer's length up to its last kernel's end."""
    found, until = [], 0.0
    for name, begin, end in kernels:
        found.append((name, max(0.0, begin - until), max(0.0, end - max(until, begin))))
        until = max(until, end)
    return found


def length(kernels: Sequence[Kernel]) -> float:
    return max(end for _, _, end in kernels)


def typical(row: dict[str, Any]) -> list[Kernel]:
    """The layer of median length."""
    found = sorted(layers(row), key=length)
    return found[len(found) // 2]


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: per row the mean of all layers of the commonest count of launches."""
    lines = ["| arm | tokens | kernel | idle before it, us | adds, us |", "|---|---|---|---|---|"]
    for row in rows:
        found = layers(row)
        if not found:
            lines.append(f"| {row['moe']} | {row['tokens']} | no layer found: no kernel is called `{ATTENTION}...` | | |")
            continue
        count = int(median(len(one) for one in found))
        alike = [shares(one) for one in found if len(one) == count]
        whole = [sum(idle + adds for _, idle, adds in one) for one in alike]
        idle = [sum(idle for _, idle, _ in one) for one in alike]
        busy = mean(whole) - mean(idle)
        lines.append(f"| {row['moe']} | {row['tokens']} | **{count} launches, {mean(whole):.1f} us** | **{mean(idle):.1f}** | **{busy:.1f}** |")
        for at in range(count):
            lines.append(f"| | | `{alike[0][at][0][:52]}` | {mean(one[at][1] for one in alike):.1f} | {mean(one[at][2] for one in alike):.1f} |")
    return "\n".join(lines)


def drawn(rows: Sequence[dict[str, Any]], titles: dict[str, str]) -> str:
    """An SVG: a line of bars per row, with its launches that overlap below each other."""
    parts, top, widest = [], 24, 0.0
    for row in rows:
        kernels = typical(row)
        widest = max(widest, length(kernels))
        parts.append(f'<text x="{LEFT}" y="{top}" font-weight="bold">{titles.get(row["moe"], row["moe"])}, {row["tokens"]} tokens: {length(kernels):.1f} us, '
                     f"{len(kernels)} launches</text>")  # fmt: skip
        free = [0.0] * 6
        for name, begin, end in kernels:
            lane = next((at for at, until in enumerate(free) if until <= begin + 0.01), len(free) - 1)
            free[lane] = end
            kind = classify(name)
            x, y, width = LEFT + max(begin, 0.0) * SCALE, top + 8 + lane * LANE, (end - max(begin, 0.0)) * SCALE
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{LANE - 4}" fill="{COLOURS.get(kind, "#eeeeee")}" stroke="#444" '
                         f'stroke-width="0.5"><title>{escape(name[:80])}: {end - begin:.1f} us from {begin:.1f}</title></rect>')  # fmt: skip
            if width > 7 * len(kind):
                parts.append(f'<text x="{x + 3:.1f}" y="{y + 13}">{kind}</text>')
        top += 8 + LANE * sum(until > 0 for until in free) + 30
    width = LEFT * 2 + widest * SCALE
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{top - 20}" font-family="sans-serif" font-size="11">'
            f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n')  # fmt: skip


TITLES = {"shipped": "vLLM 0.33.0 as shipped", "ours": "moe_a16w4", "step": "moe_a16w4, decode_step"}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--draw", nargs="+", metavar=("OUT", "ARM:TOKENS"))
    words = parser.parse_args()
    rows = [json.loads(line) for line in words.rows.read_text().splitlines()]
    if words.draw:
        out, *arms = words.draw
        Path(out).write_text(drawn([row for arm in arms for row in rows if f"{row['moe']}:{row['tokens']}" == arm], TITLES))
    else:
        print(table(rows))


if __name__ == "__main__":
    main()
