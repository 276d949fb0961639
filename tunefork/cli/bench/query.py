"""`bench query`: SQL over the records."""

from __future__ import annotations

from pathlib import Path

import click

from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.output import print_json, table


@click.command()
@click.option("--sql", required=True, help="One SELECT.")
@click.option("--records", type=click.Path(path_type=Path, file_okay=False), help="Default: work/records.")
@click.option("--fresh", is_flag=True, help="Read and check every record again, whatever the index beside them says.")
@options.as_json("Print a list of objects.")
def query(sql: str, records: Path | None, fresh: bool, as_json: bool) -> int:
    """Ask the records in SQL (sqlite). Tables: records, patches, submissions, requests, damaged.

    \b
    python3 build.py bench query --sql "SELECT variant, scenario_conc, max(score_interactivity) FROM records GROUP BY 1, 2"
    python3 build.py bench query --sql "SELECT * FROM damaged"
    """
    from tunefork.bench.records.query import query as ask
    from tunefork.bench.records.store import Store, default_store

    answer = ask(Store(records) if records else default_store(Layout.here()), sql, fresh=fresh)
    if as_json:
        print_json([dict(zip(answer.columns, row, strict=True)) for row in answer.rows])
    else:
        table(f"{len(answer.rows)} rows", answer.columns, [["" if value is None else str(value) for value in row] for row in answer.rows])
    return 0
