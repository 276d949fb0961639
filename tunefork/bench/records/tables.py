"""The rows that a record makes in the tables of `bench query`, and the tables themselves."""

from __future__ import annotations

import gzip
import io
import json
import os
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from tunefork.base.files import read_within
from tunefork.base.visible import visible
from tunefork.bench.errors import RecordError
from tunefork.bench.records import measured
from tunefork.bench.records.ranking import weighted
from tunefork.bench.records.schema import Record, Submission, Tree
from tunefork.bench.records.store import CLIENT, MOST_BYTES, Store

Row = dict[str, Any]
AS_IT_IS = frozenset({str, float, bool, type(None)})
TOLD = frozenset({int, tuple, datetime})
KEPT = (str, Tree)
REST = "rest"
OF_A_RECORD = {
    "patches": ("record", "upstream", "position", "patch"),
    "submissions": ("record", "state", "team", "url", "started", "event_id", "answer"),
    "requests": ("record", "request", "ttft_ms", "e2el_ms", "tpot_ms", "input_len", "output_len"),
    "damaged": ("record", "message"),
}
"""The tables beside ``records``."""


def create(database: sqlite3.Connection) -> None:
    """Empty tables. ``_columns`` says which column holds which field."""
    names = named([], {})
    database.execute("CREATE TABLE _columns (key TEXT PRIMARY KEY, name TEXT)")
    database.executemany("INSERT INTO _columns VALUES (?, ?)", names.items())
    database.execute(f"CREATE TABLE records ({', '.join(map(quoted, [*names.values(), REST]))})")
    for name, columns in OF_A_RECORD.items():
        database.execute(f"CREATE TABLE {name} ({', '.join(map(quoted, columns))})")


def add(database: sqlite3.Connection, store: Store, ids: Iterable[str], *, samples: bool) -> None:
    """Read records and put in their rows. samples: also those of every single request, which take longest to read."""
    rows: list[Row] = []
    others: dict[str, list[tuple[Any, ...]]] = {name: [] for name in OF_A_RECORD}
    for record_id in ids:
        try:
            record = store.read(record_id)
            # Both or neither, so that a record with a broken raw file is not half there.
            own = request_rows(store, record) if samples else []
        except RecordError as error:
            others["damaged"].append((record_id, error.message))
            continue
        rows.append(flat(record))
        others["requests"] += own
        others["patches"] += [(record.id, tree.upstream, i, name) for tree in record.trees for i, name in enumerate(tree.patches)]
        others["submissions"] += submission_rows(store, record)
    columns = widened(database, rows)
    order = [*columns.values(), REST]
    text = f"INSERT INTO records ({', '.join(map(quoted, order))}) VALUES ({', '.join('?' * len(order))})"
    database.executemany(text, ([*map(row.get, columns), rest(row, columns)] for row in rows))
    for name, found in others.items():
        database.executemany(f"INSERT INTO {name} VALUES ({', '.join('?' * len(OF_A_RECORD[name]))})", found)


def add_samples(database: sqlite3.Connection, store: Store, ids: Iterable[str]) -> None:
    """The rows of every single request, of records that are in the other tables already."""
    for record_id in ids:
        try:
            found = request_rows(store, store.read(record_id))
        except RecordError as error:  # its raw file: until now nobody had looked
            remove(database, [record_id])
            database.execute("INSERT INTO damaged VALUES (?, ?)", (record_id, error.message))
            continue
        database.executemany(f"INSERT INTO requests VALUES ({', '.join('?' * len(OF_A_RECORD['requests']))})", found)


def remove(database: sqlite3.Connection, ids: Iterable[str]) -> None:
    """Take out every row of some records."""
    for record_id in ids:
        database.execute("DELETE FROM records WHERE id = ?", (record_id,))
        for name in OF_A_RECORD:
            database.execute(f"DELETE FROM {name} WHERE record = ?", (record_id,))


def widened(database: sqlite3.Connection, rows: Sequence[Row]) -> dict[str, str]:
    """{key: its column's name} with columns for what the rows bring."""
    known = dict(database.execute("SELECT key, name FROM _columns"))
    columns = named(rows, known)
    for key in columns.keys() - known.keys():
        database.execute(f"ALTER TABLE records ADD COLUMN {quoted(columns[key])}")
        database.execute("INSERT INTO _columns VALUES (?, ?)", (key, columns[key]))
    return columns


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def named(rows: Sequence[Row], known: Mapping[str, str]) -> dict[str, str]:
    """{key: its column's name}: those that are known, then those of the rows, the most frequent first.

    sqlite takes names of another case for the same, and only so many columns. Of keys that differ in case alone, the later ones get a number.
    What does not fit is JSON in the column ``rest``.
    """
    old = known.keys() | set(FIELDS)
    often = Counter(key for row in rows if not row.keys() <= old for key in row if key not in old)
    order = sorted(often, key=lambda key: -often[key])
    columns = dict(known)
    taken = {REST, *(name.lower() for name in columns.values())}
    for key in [*(key for key in FIELDS if key not in known), *order][: max(0, MOST_COLUMNS - 1 - len(columns))]:
        name = visible(key).replace("\n", "\\n").replace("\t", "\\t")
        fresh = next(each for each in (name, *(f"{name}_{number}" for number in range(2, MOST_COLUMNS + 2))) if each.lower() not in taken)
        taken.add(fresh.lower())
        columns[key] = fresh
    return columns


def rest(row: Row, columns: Mapping[str, str]) -> str | None:
    """The fields that have no column, as JSON; None where there are none."""
    if row.keys() <= columns.keys():
        return None
    return json.dumps({key: value for key, value in row.items() if key not in columns})


# Columns that exist even in an empty store, so that a query fails on its own faults only.
MOST_COLUMNS = 1000
"""sqlite's limit is 2000, and 2000 values in a row of an INSERT are slow."""
REST = "rest"
FIELDS = ("id", "created", "trial", "batch", "profile", "status", "scenario_isl", "scenario_osl", "scenario_conc", "variant", "commit", "chip", "measured",
          "score_tput_per_gpu", "score_median_e2el_ms", "score_interactivity", "score_weighted", "score_divisor_kind", "score_baseline",
          "score_tput_ratio", "score_e2e_ratio", "score_interactivity_ratio", "metrics_median_ttft_ms", "metrics_median_tpot_ms", "problem",
          "labels_experiment", "labels_comparison", "labels_arm", "host_name", "host_system", "host_cores", "host_memory_gib",
          "server_gpus", "server_version", "server_target", "trees", "project", "versions")


def flat(record: Record) -> Row:
    """A record as one row; lists become JSON. What it takes a second look to see has columns of its own.

    variant, commit: of the vLLM tree.  measured: the variant, or whose server.  versions: as JSON.  problem: the first.
    """
    row: dict[str, Any] = {}
    put(row, "", record.__dict__)
    tree = record.vllm
    row["variant"] = tree.variant if tree else None
    row["commit"] = tree.commit if tree else None
    row["chip"], row["measured"] = measured.chip(record), measured.variant(record)
    row["versions"] = json.dumps(record.versions, sort_keys=True)
    row["score_weighted"] = weighted(record.score) if record.score else None
    row["problem"] = record.problems[0].message if record.problems else None
    return row


def put(row: Row, prefix: str, fields: Mapping[str, Any]) -> None:
    """The fields of a part of a record, and of the parts in it."""
    for key, value in fields.items():
        kind = type(value)
        if kind in AS_IT_IS or (kind is int and -(2**63) <= value < 2**63):
            row[prefix + key] = value
        elif kind in TOLD:
            row[prefix + key] = told(value)
        else:
            put(row, f"{prefix}{key}_", value if kind is dict else value.__dict__)


def told(value: Any) -> Any:
    """A value as sqlite keeps it: lists as JSON, times as JSON has them, integers beyond 64 bits as floats."""
    if isinstance(value, int):
        return float(value) if abs(value) < 10**300 else str(value)
    if isinstance(value, tuple):  # of one kind, says the schema
        return listed(value) if not value or isinstance(value[0], KEPT) else json.dumps(to_jsonable_python(value))
    return to_jsonable_python(value)


@lru_cache(maxsize=4096)  # thousands of records have the same few command lines and trees
def listed(values: tuple[str | Tree, ...]) -> str:
    return json.dumps(to_jsonable_python(values))


def request_rows(store: Store, record: Record) -> Iterable[tuple[Any, ...]]:
    """The client's samples; none where it gave no answer. RecordError where they are no samples."""
    if CLIENT not in store.files(record.id):
        return []
    data = store.raw(record.id, CLIENT)
    try:
        return list(sample_rows(record.id, json.loads(unpacked(data))))
    except (ValueError, TypeError, AttributeError, OSError, EOFError, zlib.error, OverflowError, RecursionError) as error:
        raise RecordError(f"record {record.id} is damaged: {CLIENT} holds no samples ({type(error).__name__}: {error})",
                          f"move {store.path(record.id)} away and measure again") from error


def unpacked(data: bytes) -> bytes:
    """What a gzip file holds; ValueError beyond what any client's answer is."""
    with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
        found = read_within(file, MOST_BYTES)
    if found is None:
        raise ValueError(f"more than {MOST_BYTES >> 20} MiB")
    return found


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
    folder = f"{store.folder}/{record.id}"
    try:
        names = os.listdir(folder)  # noqa: PTH208 - for tens of thousands of records: a glob takes five times as long
    except FileNotFoundError:  # deleted since it was read
        names = []
    for path in (Path(folder, name) for name in sorted(name for name in names if name.startswith("submission-") and name.endswith(".json"))):
        try:
            one = Submission.model_validate_json(path.read_bytes())
        except ValueError:
            found.append((record.id, "damaged", None, None, None, None, str(path)))
            continue
        found.append((record.id, one.state, one.team, one.url, one.started.isoformat(), one.event_id, one.answer))
    return found
