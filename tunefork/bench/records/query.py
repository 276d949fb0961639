"""SQL over the records: they are read, checked and put into an in-memory sqlite database, which is thrown away afterwards.

Tables: ``records`` (one row each; the record's fields, flattened with underscores), ``patches`` (record, upstream, position, patch),
``submissions`` (record, state, team, url, started, event_id, answer), ``requests`` (record, request, ttft_ms, e2el_ms, tpot_ms, input_len,
output_len: every sample of the client), ``damaged`` (record, message). Times are ISO 8601 in UTC.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tunefork.base.errors import BadInput
from tunefork.base.visible import visible
from tunefork.bench.errors import RecordError
from tunefork.bench.records.ranking import weighted
from tunefork.bench.records.schema import Record, Submission
from tunefork.bench.records.store import CLIENT, Store

Row = dict[str, Any]
SCALAR = (str, int, float, bool, type(None))
READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
REQUEST_COLUMNS = ("record", "request", "ttft_ms", "e2el_ms", "tpot_ms", "input_len", "output_len")
SUBMISSION_COLUMNS = ("record", "state", "team", "url", "started", "event_id", "answer")


@dataclass(frozen=True)
class Answer:
    """The rows of a query under their columns' names."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]


def query(store: Store, sql: str) -> Answer:
    """Run one SELECT; BadInput where sqlite refuses it or it would write."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        fill(database, store, samples=re.search(r"\brequests\b", sql, re.IGNORECASE) is not None)
        database.commit()
        database.set_authorizer(lambda action, *_names: sqlite3.SQLITE_OK if action in READS else sqlite3.SQLITE_DENY)
        try:
            cursor = database.execute(sql)
            if cursor.description is None:
                raise sqlite3.ProgrammingError("not a query")
            columns = tuple(column[0] for column in cursor.description)
            return Answer(columns, tuple(tuple(row) for row in cursor.fetchall()))
        except (sqlite3.Error, sqlite3.Warning) as error:
            tables = "records, patches, submissions, requests, damaged"
            raise BadInput(f"--sql: {error}", f"one SELECT over the tables {tables}; `SELECT * FROM records LIMIT 1` shows "
                                              "the columns") from None


def fill(database: sqlite3.Connection, store: Store, *, samples: bool) -> None:
    """Make the tables. samples: also those of every single request, which take longest to read."""
    rows: list[dict[str, Any]] = []
    patches: list[tuple[Any, ...]] = []
    submissions: list[tuple[Any, ...]] = []
    requests: list[tuple[Any, ...]] = []
    damaged: list[tuple[Any, ...]] = []
    for record_id in store.ids():
        try:
            record = store.read(record_id)
            # Both or neither, so that a record with a broken raw file is not half there.
            own = request_rows(store, record) if samples else []
        except RecordError as error:
            damaged.append((record_id, error.message))
            continue
        rows.append(flat(record))
        requests += own
        patches += [(record.id, tree.upstream, i, name) for tree in record.trees for i, name in enumerate(tree.patches)]
        submissions += submission_rows(store, record)
    columns = named(rows)
    table(database, "records", [*columns.values(), REST], ([*(row.get(key) for key in columns), rest(row, columns)] for row in rows))
    table(database, "patches", ("record", "upstream", "position", "patch"), patches)
    table(database, "submissions", SUBMISSION_COLUMNS, submissions)
    table(database, "requests", REQUEST_COLUMNS, requests)
    table(database, "damaged", ("record", "message"), damaged)


def named(rows: Sequence[Row]) -> dict[str, str]:
    """{key: its column's name}. sqlite takes names of another case for the same, and only so many columns.

    Of keys that differ in case alone, the later ones get a number. What does not fit, the rarest, is JSON in the column ``rest``.
    """
    often = Counter(key for row in rows for key in row)
    order = sorted((key for key in often if key not in FIELDS), key=lambda key: -often[key])
    columns: dict[str, str] = {}
    taken = {REST}
    for key in [*FIELDS, *order][: MOST_COLUMNS - 1]:
        name = visible(key).replace("\n", "\\n").replace("\t", "\\t")
        fresh = next(each for each in (name, *(f"{name}_{number}" for number in range(2, len(often) + 3))) if each.lower() not in taken)
        taken.add(fresh.lower())
        columns[key] = fresh
    return columns


def rest(row: Row, columns: Mapping[str, str]) -> str | None:
    """The fields that have no column, as JSON; None where there are none."""
    left = {key: value for key, value in row.items() if key not in columns}
    return json.dumps(left) if left else None


# Columns that exist even in an empty store, so that a query fails on its own faults only.
MOST_COLUMNS = 1000
"""sqlite's limit is 2000, and 2000 values in a row of an INSERT are slow."""
REST = "rest"
FIELDS = ("id", "created", "trial", "batch", "profile", "status", "scenario_isl", "scenario_osl", "scenario_conc", "variant", "commit",
          "score_tput_per_gpu", "score_median_e2el_ms", "score_interactivity", "score_weighted", "problem")


def flat(record: Record) -> Row:
    """A record as one row; lists become JSON, the vLLM tree and the first problem get columns of their own."""
    row: dict[str, Any] = {}

    def put(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                put(f"{prefix}_{key}" if prefix else str(key), inner)
        else:
            row[prefix] = told(value)

    put("", record.model_dump(mode="json"))
    tree = record.vllm
    row["variant"] = tree.variant if tree else None
    row["commit"] = tree.commit if tree else None
    row["score_weighted"] = weighted(record.score) if record.score else None
    row["problem"] = record.problems[0].message if record.problems else None
    return row


def told(value: Any) -> Any:
    """A value as sqlite keeps it: lists as JSON, integers beyond 64 bits as floats."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value) if abs(value) < 10**300 else str(value)
    return value if isinstance(value, SCALAR) else json.dumps(value)


def request_rows(store: Store, record: Record) -> Iterable[tuple[Any, ...]]:
    """The client's samples; none where it gave no answer. RecordError where they are no samples."""
    if CLIENT not in store.files(record.id):
        return []
    data = store.raw(record.id, CLIENT)
    try:
        return list(sample_rows(record.id, json.loads(gzip.decompress(data))))
    except (ValueError, TypeError, AttributeError, OSError, EOFError, zlib.error, OverflowError) as error:
        raise RecordError(f"record {record.id} is damaged: {CLIENT} holds no samples ({type(error).__name__}: {error})",
                          f"move {store.path(record.id)} away and measure again") from error


def sample_rows(record_id: str, raw: dict[str, Any]) -> Iterable[tuple[Any, ...]]:
    """A client's answer, request by request."""
    columns = (raw.get(name, []) for name in ("ttfts", "itls", "input_lens", "output_lens"))
    for number, (ttft, itls, fed, made) in enumerate(zip(*columns, strict=False)):
        after = sum(itls)
        tpot = 1000 * after / (made - 1) if made > 1 else None
        yield record_id, number, 1000 * ttft, 1000 * (ttft + after), tpot, fed, made


def submission_rows(store: Store, record: Record) -> list[tuple[Any, ...]]:
    """The attempts to submit a record."""
    found: list[tuple[Any, ...]] = []
    for path in sorted(store.path(record.id).glob("submission-*.json")):
        try:
            one = Submission.model_validate_json(path.read_bytes())
        except ValueError:
            found.append((record.id, "damaged", None, None, None, None, str(path)))
            continue
        found.append((record.id, one.state, one.team, one.url, one.started.isoformat(), one.event_id, one.answer))
    return found


def table(database: sqlite3.Connection, name: str, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """One table with its rows."""
    names = list(columns)
    quoted = ", ".join('"' + column.replace('"', '""') + '"' for column in names)
    database.execute(f'CREATE TABLE "{name}" ({quoted})')
    database.executemany(f'INSERT INTO "{name}" VALUES ({", ".join("?" * len(names))})', [tuple(row) for row in rows])
