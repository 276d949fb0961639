"""Ratios with intervals from the rows of `fullsize.run`, as Markdown.

    python -m studies.fullsize.table rows.jsonl [more.jsonl ...] --base A [--leave-out FILE:GPU:PLACE ...]

A server start is the unit: its value is the median over its repeats, the first dropped. Each start of an arm is compared with the geometric mean
of the base arm's starts on the same GPU in the same file (a file is a session); the ratio is the geometric mean over the starts, the interval
Welch's over the starts of both. Of one start no interval is known, and none is printed. A start that is left out is named below the tables.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median, variance
from typing import Any

from scipy import stats

METRICS = ("median_tpot_ms", "output_throughput")  # those that ratios are made of
Key = tuple[str, int, int, int]  # arm, file, GPU, place in the GPU's sequence


@dataclass(frozen=True)
class Ratio:
    """arm over base. lo, hi: None for a single start."""

    value: float
    lo: float | None
    hi: float | None
    starts: int

    def __str__(self) -> str:
        if self.lo is None or self.hi is None:
            return f"{self.value:.3f} (one start)"
        return f"{self.value:.3f} ({self.lo:.3f}-{self.hi:.3f})"


def read(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Rows of all files, each with the number of its file, from 0."""
    return [{**json.loads(line), "file": number} for number, path in enumerate(paths) for line in path.read_text().splitlines() if line.strip()]


def where(row: dict[str, Any]) -> str:
    """Which start a row is of: FILE:GPU:PLACE."""
    return f"{row['file']}:{row['gpu']}:{row['place']}"


def starts(rows: Iterable[dict[str, Any]], conc: int, metric: str) -> dict[Key, float]:
    """Each start's value at a concurrency. Loads with a failed or short answer do not count, nor does a start's first repeat."""
    found: dict[Key, list[float]] = defaultdict(list)
    for row in rows:
        if row["kind"] == "load" and row["conc"] == conc and row["repeat"] > 0 and not row["failed"] and not row["short"]:
            found[row["arm"], row["file"], row["gpu"], row["place"]].append(float(row[metric]))
    return {key: median(values) for key, values in found.items()}


def ratio(values: dict[Key, float], arm: str, base: str) -> Ratio | None:
    """arm over base, None where no GPU served both in one file.

    The interval is Welch's: the scatter of the arm's starts and that of the base's, each with its own variance. Where the base has one start per
    GPU, its scatter is taken to be the arm's.
    """
    cells: dict[tuple[int, int], list[float]] = defaultdict(list)
    for (name, file, gpu, _), value in values.items():
        if name == base:
            cells[file, gpu].append(math.log(value))
    own = [((file, gpu), math.log(value)) for (name, file, gpu, _), value in values.items() if name == arm and (file, gpu) in cells]
    logs = [log - fmean(cells[cell]) for cell, log in own]
    if len(logs) < 2:
        return Ratio(math.exp(logs[0]), None, None, 1) if logs else None
    share = Counter(cell for cell, _ in own)
    mean, half = fmean(logs), half_width(logs, [(share[cell] / len(own), base_logs) for cell, base_logs in cells.items()])
    return Ratio(math.exp(mean), math.exp(mean - half), math.exp(mean + half), len(logs))


def half_width(arm: Sequence[float], base: Sequence[tuple[float, Sequence[float]]]) -> float:
    """Half of the 95 % interval of a mean of differences (Welch, Satterthwaite). base: per GPU its weight in that mean, and its logs."""
    free = sum(len(logs) - 1 for _, logs in base)
    own = variance(arm)
    theirs = sum((log - fmean(logs)) ** 2 for _, logs in base for log in logs) / free if free else own
    parts = [(own / len(arm), len(arm) - 1), (theirs * sum(weight**2 / len(logs) for weight, logs in base), free or len(arm) - 1)]
    total = sum(part for part, _ in parts)
    if total == 0:
        return 0.0
    freedom = total**2 / sum(part**2 / df for part, df in parts)
    return float(stats.t.isf(0.025, freedom)) * math.sqrt(total)


def tables(rows: Sequence[dict[str, Any]], base: str = "A") -> str:
    """Two Markdown tables: loads and starts (FILE:GPU:PLACE); then what failed."""
    names = {row["arm"]: row["why"] for row in rows if row["kind"] == "start"}
    concs = sorted({row["conc"] for row in rows if row["kind"] == "load"})
    lines = [f"| CONC | arm | median TPOT ms | median TTFT ms | output tokens/s | TPOT / {base} (95 %) | throughput / {base} (95 %) | starts |",
             "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for conc in concs:
        values = {metric: starts(rows, conc, metric) for metric in (*METRICS, "median_ttft_ms")}
        for arm in sorted(names):
            own = {metric: [value for (name, *_), value in found.items() if name == arm] for metric, found in values.items()}
            if not own["median_tpot_ms"]:
                continue
            shown = ["1", "1"] if arm == base else [str(ratio(values[metric], arm, base) or "no common GPU") for metric in METRICS]
            means = f"{fmean(own['median_tpot_ms']):.3f} | {fmean(own['median_ttft_ms']):.0f} | {fmean(own['output_throughput']):.0f}"
            lines.append(f"| {conc} | {arm}: {names[arm]} | {means} | {shown[0]} | {shown[1]} | {len(own['median_tpot_ms'])} |")
    lines += ["", "| arm | start | seconds to ready | loading | torch.compile | capturing | graphs |", "|---|---|---|---|---|---|---|"]
    lines += [started(row) for row in rows if row["kind"] == "start"]
    lines += [f"\nfailed: arm {row['arm']} on GPU {row['gpu']}: {row['message'].splitlines()[0]}" for row in rows if row["kind"] == "failure"]
    return "\n".join(lines)


def started(row: dict[str, Any]) -> str:
    """A start's line: seconds, and GiB of graphs."""
    cells = [f"{row[name]:.3g}" if name in row else "" for name in ("load_s", "compile_s", "capture_s")]
    if not row.get("cached", True):
        cells[1] += " (not cached)"
    graphs = f"{row['graphs_gib']:g} GiB" if "graphs_gib" in row else ""
    return f"| {row['arm']}: {row['why']} | {where(row)} | {row['seconds_to_ready']:.1f} | {' | '.join(cells)} | {graphs} |"


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, nargs="+")
    parser.add_argument("--base", default="A")
    parser.add_argument("--leave-out", action="append", default=[], metavar="FILE:GPU:PLACE", help="a start whose loads do not count")
    words = parser.parse_args()
    rows = read(words.rows)
    known = [where(row) for row in rows if row["kind"] == "start"]
    unknown = set(words.leave_out) - set(known)
    if unknown:
        parser.error(f"no such start: {', '.join(sorted(unknown))}; FILE:GPU:PLACE are {' '.join(known)}")
    print(tables([row for row in rows if row["kind"] != "load" or where(row) not in words.leave_out], words.base))
    for one in words.leave_out:
        print(f"\nleft out: the start FILE:GPU:PLACE {one}")


if __name__ == "__main__":
    main()
