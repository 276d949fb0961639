"""`bench kernels`: the MoE layer against its peers and the read floor, on the GPU at hand.

    python3 build.py bench kernels                every TP and M; table, record and plots
    python3 build.py bench kernels --quick        M = 1, 8, 64 at TP 8 and 1, few rounds: minutes
    python3 build.py bench kernels --json

Without a GPU the correctness part runs (gfx950 machine code executed on the CPU), every row says "timed": false, and so does a line on stderr.
Exit code 1: an implementation of ours is wrong; nothing is timed then.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import chain, count
from pathlib import Path

import click

from tunefork.base.errors import MissingTool
from tunefork.base.layout import Layout, user_cache
from tunefork.cli import options
from tunefork.cli.output import aside, print_json, say, table

QUICK_TPS, QUICK_ROUNDS = (8, 1), 8


@click.command("kernels")
@click.option("--quick", is_flag=True, help="M = 1, 8, 64 at TP 8 and 1, few rounds.")
@options.tps()
@click.option("--tokens", type=click.IntRange(1, 16384), multiple=True, help="Numbers of tokens M.")
@click.option("--no-peers", is_flag=True, help="Only ours and the floor.")
@options.out_folder("Folder of the record and the plots (default: work/kernels).")
@options.as_json("Print the rows as JSON.")
def kernels(quick: bool, tps: tuple[str, ...], tokens: tuple[int, ...], no_peers: bool, out: Path | None, as_json: bool) -> int:
    """Time the MoE layer against its peers and the floor; without a GPU, check that it is right."""
    try:
        import torch

        from tunefork.bench.kernels import measure
        from tunefork.bench.kernels.check import NOT_TIMED, check
        from tunefork.bench.kernels.timing import ROUNDS
        from tunefork.bench.machine import devices
    except ModuleNotFoundError as error:
        raise MissingTool(f"the kernels need {error.name}, which this Python lacks", "python3 build.py develop") from error
    sizes = tuple(int(tp) for tp in tps) or (QUICK_TPS if quick else measure.TPS)
    counts = tokens or (measure.QUICK_TOKENS if quick else measure.TOKENS)
    timed = torch.cuda.is_available()
    if timed:
        folder = out or Layout.here().work / "kernels"
        with devices.machine(user_cache(), say):
            rows = measure.measure(sizes, counts, QUICK_ROUNDS if quick else ROUNDS, with_peers=not no_peers, say=say)
        save(rows, folder, sizes)
    else:
        rows = check(sizes, counts)
    if as_json:
        print_json([{**asdict(row), "timed": row.us is not None} for row in rows])
    else:
        show(rows)
    if not timed:
        say("", NOT_TIMED, fg="yellow", bold=True)
    return 0


def save(rows: list, folder: Path, sizes: tuple[int, ...]) -> None:  # type: ignore[type-arg] # measure.LayerTime needs torch, which this module may lack
    """The record and one plot for each TP."""
    from tunefork.bench.kernels import measure

    folder.mkdir(parents=True, exist_ok=True)
    record = measure.record(rows)
    begun = f"moe_a16w4-{'-'.join(record['chip'].split())}-{record['date']}"
    # A second run of a day, maybe --quick, is not to replace the first.
    name = next(name for name in chain((begun,), (f"{begun}-{number}" for number in count(2))) if not (folder / f"{name}.json").exists())
    (folder / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    say(f"record: {folder / name}.json")
    try:
        for tp in sizes:
            measure.plot(rows, tp, folder / f"{name}-tp{tp}.png")
    except ModuleNotFoundError as error:
        say(f"no plots: {error.name} is not installed (extra `report`)")


def show(rows: list) -> None:  # type: ignore[type-arg] # as above
    """Every row; an untimed one has no microseconds, and below the table stands why."""

    def number(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f}"

    title = f"MoE layer, microseconds on {rows[0].chip}" if rows[0].us is not None else f"MoE layer, not timed (chip: {rows[0].chip})"
    table(title, ("TP", "M", "impl", "us", "95 %", "floor us", "MB", "error"), [
        (str(row.tp), str(row.M), row.impl, number(row.us), f"{row.us_lo:.1f}-{row.us_hi:.1f}" if row.us_lo is not None else "-",
         number(row.floor_us), f"{row.bytes / 1e6:.2f}", "-" if row.error is None else f"{row.error:.1e}")
        for row in rows
    ])  # fmt: skip
    failed: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.failed:
            failed.setdefault((row.impl, row.failed), []).append(f"TP{row.tp} M {row.M}")
    for (impl, why), places in failed.items():
        aside(f"{impl} has no time at {', '.join(places)}: {why}")
