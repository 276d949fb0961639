"""``python -m studies.decode_step.draw TRACE.jsonl OUT.svg``: one layer's launches over time, before and after, from what `trace` wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path

SHOWN = {"B": "B: cuBLAS, add + norm, our MoE", "B + o, moe": "with linear (o) and add_norm_moe"}
NAMES = (("add_norm", "add + norm", "#9ecae1"), ("router_kernel", "router, top-4", "#74c476"), ("route_kernel", "top-4", "#74c476"),
         ("skinny", "o (ours)", "#fd8d3c"), ("splitK_bias", "split-K GEMM", "#c7c7c7"), ("splitKreduce", "split-K sum", "#969696"),
         ("nvjet", "qkv", "#bcbddc"), ("up_kernel", "up", "#fdd0a2"), ("down_token", "down", "#fdae6b"))  # fmt: skip
SCALE, LANE, LEFT = 9, 22, 10


def label(name: str) -> tuple[str, str]:
    """What a kernel is called in the picture, and its colour."""
    return next(((text, colour) for key, text, colour in NAMES if key in name), (name[:12], "#eeeeee"))


def bars(rows: list[dict[str, object]]) -> list[tuple[float, float, str]]:
    """(begin, microseconds, kernel) of the first of two layers."""
    return [(float(str(row["begin"])), float(str(row["us"])), str(row["name"])) for row in rows[: len(rows) // 2]]


def drawn(path: Path) -> str:
    """The SVG."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    parts, top = [], 24
    for impl, title in SHOWN.items():
        found = bars([row for row in rows if row["impl"] == impl])
        end = max(begin + us for begin, us, _ in found)
        parts.append(f'<text x="{LEFT}" y="{top}" font-weight="bold">{title}: {end:.1f} us, {len(found)} launches</text>')
        free = [0.0] * 4
        for begin, us, name in found:
            lane = next(at for at, until in enumerate(free) if until <= begin + 0.01)
            free[lane] = begin + us
            text, colour = label(name)
            x, y = LEFT + begin * SCALE, top + 8 + lane * LANE
            parts.append(f'<rect x="{x:.1f}" y="{y}" width="{us * SCALE:.1f}" height="{LANE - 4}" fill="{colour}" stroke="#444" stroke-width="0.5">'
                         f"<title>{text}: {us:.1f} us from {begin:.1f}</title></rect>")  # fmt: skip
            if us * SCALE > 6 * len(text):
                parts.append(f'<text x="{x + 3:.1f}" y="{y + 13}">{text}</text>')
        top += 8 + LANE * sum(until > 0 for until in free) + 28
    width = LEFT * 2 + 100 * SCALE
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{top - 20}" font-family="sans-serif" font-size="11">'
            f'<rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n')  # fmt: skip


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(drawn(Path(sys.argv[1])))
