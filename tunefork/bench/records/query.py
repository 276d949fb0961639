"""SQL over the records: they are read and checked once, and kept as tables in an index beside them (index.py).

Tables: ``records`` (one row each; the record's fields, flattened with underscores; what has no column of its own is JSON in ``rest``), ``patches``
(record, upstream, position, patch), ``submissions`` (record, state, team, url, started, event_id, answer), ``requests`` (record, request, ttft_ms,
e2el_ms, tpot_ms, input_len, output_len: every sample of the client), ``damaged`` (record, message). Times are ISO 8601 in UTC.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from dataclasses import dataclass
from typing import Any

from tunefork.base.errors import BadInput
from tunefork.bench.records import index
from tunefork.bench.records.store import Store

READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}


@dataclass(frozen=True)
class Answer:
    """The rows of a query under their columns' names."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def query(store: Store, sql: str, *, fresh: bool = False) -> Answer:
    """Run one SELECT; BadInput where sqlite refuses it or it would write. fresh: read every record again, whatever the index says."""
    samples = re.search(r"\brequests\b", sql, re.IGNORECASE) is not None
    with contextlib.closing(index.database(store, samples=samples, fresh=fresh)) as database:
        database.set_authorizer(lambda action, *_names: sqlite3.SQLITE_OK if action in READS else sqlite3.SQLITE_DENY)
        try:
            cursor = database.execute(sql)
            if cursor.description is None:
                raise sqlite3.ProgrammingError("not a query")
            columns = tuple(column[0] for column in cursor.description)
            return Answer(columns, tuple(tuple(row) for row in cursor))
        except (sqlite3.Error, sqlite3.Warning) as error:
            tables = "records, patches, submissions, requests, damaged"
            raise BadInput(f"--sql: {error}", f"one SELECT over the tables {tables}; `SELECT * FROM records LIMIT 1` shows "
                                              "the columns") from None
