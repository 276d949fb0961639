"""What the judge looks at of a record: taken from the record, or from its row in the index (bench/records/index.py), which is six times faster.

The row was made from a record that was read and checked; `bench report --fresh` makes it again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache, cached_property
from operator import itemgetter
from typing import Any, NamedTuple

from tunefork.bench.records import tables
from tunefork.bench.records.measured import chip
from tunefork.bench.records.schema import Record

LABEL, METRIC, CLOCK = "labels_", "metrics_", ("telemetry_gpus_", "_clock_mhz")
Tree = Mapping[str, Any]


class Load(NamedTuple):
    """As schema.Scenario."""

    isl: int
    osl: int
    conc: int
    num_prompts: int
    warmups: int
    range_ratio: float
    seed: int


PLAIN = ("id", "created", "profile", "status", "problem", "chip", "trees", "host_name", "server_own", "server_version", "server_gpus",
         *(f"scenario_{name}" for name in Load._fields))  # fmt: skip


class Evidence(NamedTuple):
    """problem: why it did not pass, or "".  metrics: none where the client gave none.  clocks: per GPU, the median in MHz.

    vllm: the tree that was measured, as the record has it; None for somebody else's server.  own: whether the tool started the server.
    """

    id: str
    created: datetime
    profile: str
    status: str
    problem: str
    load: Load
    labels: Mapping[str, str]
    metrics: Mapping[str, float]
    clocks: Mapping[str, float]
    vllm: Tree | None
    version: str
    gpus: int
    chip: str
    host: str
    own: bool


def of(record: Record) -> Evidence:
    """From a record at hand."""
    clocks = {gpu: values["clock_mhz"][0] for gpu, values in record.telemetry.gpus.items() if "clock_mhz" in values} if record.telemetry else {}
    server = record.server
    return Evidence(record.id, record.created, record.profile, record.status, record.problems[0].message if record.problems else "",
                    Load._make(getattr(record.scenario, name) for name in Load._fields), record.labels, record.metrics or {}, clocks,
                    record.vllm.model_dump(mode="json") if record.vllm else None, server.version, server.gpus, chip(record), record.host.name, server.own)


def read(database: sqlite3.Connection, experiments: Sequence[str]) -> list[Evidence]:
    """Every record of these experiments that the tables have, oldest first."""
    names = dict(database.execute("SELECT key, name FROM _columns"))
    known = Fields([key for key in names if key in PLAIN or kind(key)])
    columns = ", ".join(tables.quoted(names[key]) for key in known.keys)
    cursor = database.execute(f"SELECT {columns}, {tables.REST} FROM records WHERE labels_experiment IS NOT NULL ORDER BY id")
    wanted, at = {*experiments}, known.keys.index("labels_experiment")  # compared here: sqlite's JSON ends a name at a NUL
    return [made(row, known) if row[-1] is None else beside(row, known) for row in cursor if row[at] in wanted]


def beside(row: Sequence[Any], known: Fields) -> Evidence:
    """Of a record of which some fields have no column."""
    rest = {key: value for key, value in json.loads(row[-1]).items() if key in PLAIN or kind(key)}
    return made([*row[:-1], *rest.values()], Fields([*known.keys, *rest]))


def kind(key: str) -> str:
    """Whether a field is a label, a metric or a clock: what its key begins with, else ""."""
    if key.startswith(CLOCK[0]):
        return CLOCK[0] if key.endswith(CLOCK[1]) else ""
    return LABEL if key.startswith(LABEL) else METRIC if key.startswith(METRIC) else ""


class Fields:
    """Where in a row what is. labels, metrics, clocks: (place, name).  plain: the values of PLAIN, from a row."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = keys
        of = {start: [(place, key.removeprefix(start)) for place, key in enumerate(keys) if kind(key) == start] for start in (LABEL, METRIC, CLOCK[0])}
        self.labels, self.metrics = of[LABEL], of[METRIC]
        self.clocks = [(place, name.removesuffix(CLOCK[1])) for place, name in of[CLOCK[0]]]

    @cached_property  # in an empty store not every field has a column
    def plain(self) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
        return itemgetter(*map(self.keys.index, PLAIN))


def made(row: Sequence[Any], known: Fields) -> Evidence:
    """From a record's row."""
    name, created, profile, status, problem, on, trees, host, own, version, gpus, *load = known.plain(row)
    return Evidence(name, datetime.fromisoformat(created), profile, status, problem or "", Load._make(load),
                    {name: row[place] for place, name in known.labels if row[place] is not None},
                    {name: row[place] for place, name in known.metrics if row[place] is not None},
                    {name: json.loads(row[place])[0] for place, name in known.clocks if row[place] is not None},
                    vllm(trees), version, gpus, on, host, bool(own))


@cache
def vllm(trees: str) -> Tree | None:
    """vLLM's of a record's trees, which are JSON; each text is read once, a store is full of the same few."""
    return next((one for one in json.loads(trees) if one["upstream"] == "vllm"), None)
