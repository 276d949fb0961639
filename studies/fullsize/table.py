"""Ratios with intervals and verdicts from the rows of `fullsize.run`, as Markdown.

    python -m studies.fullsize.table rows.jsonl [more.jsonl ...] --base A [--leave-out FILE:GPU:PLACE ...]

A server start is the unit: its value is the median over its repeats, the first dropped. The n-th start of an arm and the n-th of the base arm on one GPU
in one file (a file is a session) are a pair, which bench/ab/judge.py judges as it does those of `bench ab`: the ratio is the geometric mean over the
pairs, the interval Student's t, and the CONCs are one family. A start without a partner is in the means alone. What is left out, and what ran
beside another process on its GPU, does not count, and is named below the tables.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

from tunefork.bench.ab.judge import judge
from tunefork.bench.ab.judgement import Judgement

METRICS = {"median_tpot_ms": "TPOT", "output_throughput": "throughput"}  # those that ratios are made of
WITH_TTFT = {"median_tpot_ms": "TPOT", "median_ttft_ms": "TTFT", "output_throughput": "throughput"}
Key = tuple[str, int, int, int]  # arm, file, GPU, place in the GPU's sequence


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


def pairs(values: dict[Key, float], arm: str, base: str) -> list[tuple[float, float]]:
    """(base, arm) of each pair: the n-th starts of both on one GPU in one file, in the order of their places."""
    order: dict[str, dict[tuple[int, int], list[float]]] = {arm: defaultdict(list), base: defaultdict(list)}
    for (name, file, gpu, _), value in sorted(values.items()):
        if name in order:
            order[name][file, gpu].append(value)
    return [pair for place, own in order[arm].items() for pair in zip(order[base].get(place, []), own, strict=False)]


def judged(rows: Sequence[dict[str, Any]], metric: str, arm: str, base: str) -> dict[int, Judgement]:
    """arm over base by CONC, as `bench ab` judges."""
    concs = sorted({row["conc"] for row in rows if row["kind"] == "load"})
    return judge(metric, {conc: pairs(starts(rows, conc, metric), arm, base) for conc in concs})


def cell(found: Judgement) -> str:
    """A ratio as the tables show it; of one pair no interval is known."""
    if found.ratio is None:
        return "no pair"
    if found.lo is None or found.hi is None:
        return f"{found.ratio:.3f} (one pair)"
    return f"{found.ratio:.3f} ({found.lo:.3f}-{found.hi:.3f}) {found.verdict}"


def tables(rows: Sequence[dict[str, Any]], base: str = "A", metrics: dict[str, str] = METRICS) -> str:
    """Markdown tables: the loads of each length of prompts (1024 where a row does not say), and starts (FILE:GPU:PLACE); then what failed."""
    names = {row["arm"]: row["why"] for row in rows if row["kind"] == "start"}
    lines = []
    for isl in sorted({row.get("isl", 1024) for row in rows if row["kind"] == "load"}):
        own = [row for row in rows if row["kind"] == "load" and row.get("isl", 1024) == isl]
        lines += [f"{isl} tokens in, 128 out", "", *loaded(own, names, base, metrics), ""]
    lines += ["| arm | start | seconds to ready | loading | torch.compile | capturing | graphs |", "|---|---|---|---|---|---|---|"]
    lines += [started(row) for row in rows if row["kind"] == "start"]
    lines += [f"\nfailed: arm {row['arm']} on GPU {row['gpu']}: {row['message'].splitlines()[0]}" for row in rows if row["kind"] == "failure"]
    return "\n".join(lines)


def loaded(rows: Sequence[dict[str, Any]], names: dict[str, str], base: str, metrics: dict[str, str]) -> list[str]:
    """The lines of one table of loads; its CONCs are one family of judgements."""
    found = {arm: {metric: judged(rows, metric, arm, base) for metric in metrics} for arm in names}
    ratios = " | ".join(f"{name} / {base} (95 %)" for name in metrics.values())
    lines = [f"| CONC | arm | median TPOT ms | median TTFT ms | output tokens/s | {ratios} | starts, pairs |", "|---" * (6 + len(metrics)) + "|"]
    for conc in sorted({row["conc"] for row in rows if row["kind"] == "load"}):
        values = {metric: starts(rows, conc, metric) for metric in WITH_TTFT}
        for arm in sorted(names):
            own = {metric: [value for (name, *_), value in measured.items() if name == arm] for metric, measured in values.items()}
            if not own["median_tpot_ms"]:
                continue
            shown = ["1"] * len(metrics) if arm == base else [cell(found[arm][metric][conc]) for metric in metrics]
            means = f"{fmean(own['median_tpot_ms']):.3f} | {fmean(own['median_ttft_ms']):.0f} | {fmean(own['output_throughput']):.0f}"
            count = f"{len(own['median_tpot_ms'])}, {found[arm]['median_tpot_ms'][conc].pairs}"
            lines.append(f"| {conc} | {arm}: {names[arm]} | {means} | {' | '.join(shown)} | {count} |")
    return lines


def started(row: dict[str, Any]) -> str:
    """A start's line: seconds, and GiB of graphs."""
    cells = [f"{row[name]:.3g}" if name in row else "" for name in ("load_s", "compile_s", "capture_s")]
    if not row.get("cached", True):
        cells[1] += " (not cached)"
    graphs = f"{row['graphs_gib']:g} GiB" if "graphs_gib" in row else ""
    return f"| {row['arm']}: {row['why']} | {where(row)} | {row['seconds_to_ready']:.1f} | {' | '.join(cells)} | {graphs} |"


def disturbed(rows: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Starts that do not count, with the reason: somebody else's process was on the GPU. Rows of before 2026-11-29 do not say."""
    return {where(row): f"another process was on the device: {row['foreign']}" for row in rows if row["kind"] == "start" and row.get("foreign")}


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", type=Path, nargs="+")
    parser.add_argument("--base", default="A")
    parser.add_argument("--leave-out", action="append", default=[], metavar="FILE:GPU:PLACE", help="a start whose loads do not count")
    parser.add_argument("--ttft", action="store_true", help="also the ratio of median TTFTs")
    words = parser.parse_args()
    rows = read(words.rows)
    known = [where(row) for row in rows if row["kind"] == "start"]
    unknown = set(words.leave_out) - set(known)
    if unknown:
        parser.error(f"no such start: {', '.join(sorted(unknown))}; FILE:GPU:PLACE are {' '.join(known)}")
    reasons = {**disturbed(rows), **dict.fromkeys(words.leave_out, "as asked")}
    print(tables([row for row in rows if row["kind"] != "load" or where(row) not in reasons], words.base, WITH_TTFT if words.ttft else METRICS))
    for one, reason in reasons.items():
        print(f"\nleft out: the start FILE:GPU:PLACE {one}: {reason}")


if __name__ == "__main__":
    main()
