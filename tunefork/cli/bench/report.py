"""`bench report`, `bench compare`: show what was measured."""

from __future__ import annotations

import gc
from pathlib import Path

import click

from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.extras import require
from tunefork.cli.output import echo, print_json, say, table


@click.command()
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="The HTML file.  [default: work/report.html]")
@click.option("--experiment", "names", multiple=True, help="Only these experiments and what they measured; default: all records.")
@click.option("--profile", metavar="P", help="Only records of this profile.")
@click.option("--fresh", is_flag=True, help="Read and check every record again, whatever the index beside them says.")
@click.option("--png", type=click.Path(path_type=Path, file_okay=False), metavar="FOLDER", help="Also write the charts as PNG.")
@click.option("--markdown", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Also write the pull request's table.")
@options.as_json("Print what was written as JSON.")
def report(out: Path | None, names: tuple[str, ...], profile: str | None, fresh: bool, png: Path | None, markdown: Path | None, as_json: bool) -> int:
    """One self-contained HTML file of the records: summary, charts, effects, noise, environment, every record.

    It opens without a network. Charts never mix chips: each has its chip in its title.
    """
    require("report")
    from tunefork.bench.ab.words import headline
    from tunefork.bench.records.store import default_store
    from tunefork.bench.report import build

    layout = Layout.here()
    gc.disable()  # a record is many objects and no cycle: to look for one again and again is a fifth of the time
    data = build.gather(default_store(layout), experiments=names, profile=profile, plans=layout.work / "experiments", fresh=fresh)
    written = build.write(data, out=out or layout.work / "report.html", png_folder=png, markdown_file=markdown)
    if as_json:
        print_json({"records": len(data.records), "damaged": len(data.damaged), "written": written})
    else:
        for path in written:
            echo(str(path))
        for one in data.outcomes:
            say(headline(one))
    return 0


@click.command()
@click.argument("first", metavar="R1")
@click.argument("second", metavar="R2")
@options.as_json("Print as JSON.")
def compare(first: str, second: str, as_json: bool) -> int:
    """Two records side by side: every number, their ratio, and everything else in which they differ.

    One record of each is no test: it says how far apart they are, not whether that is noise. `bench ab` decides.
    """
    from tunefork.bench.records.store import default_store
    from tunefork.bench.report.compare import compare as compared_records

    store = default_store(Layout.here())
    found = compared_records(store.read(first), store.read(second))
    if as_json:
        print_json(found)
        return 0
    for line in found.warnings:
        say(f"note: {line}")
    table("numbers", ("metric", "R1", "R2", "R2/R1"), [(row.name, row.shown(row.first), row.shown(row.second), row.ratio_shown)
                                                       for row in found.numbers])
    table("differences", ("what", "R1", "R2"), found.differences)
    return 0
