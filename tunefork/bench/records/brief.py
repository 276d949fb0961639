"""A record in brief, as lists and charts show it: 20,000 of them are read from the index in a third of a second, and fit into 40 MB."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any, NamedTuple

from tunefork.bench.records import tables
from tunefork.bench.records.schema import Record

COLUMNS = ("id", "created", "status", "problem", "profile", "scenario_isl", "scenario_osl", "scenario_conc", "chip", "measured", "server_gpus", "commit",
           "trees", "score_tput_per_gpu", "score_interactivity", "score_median_e2el_ms", "score_weighted", "score_divisor_kind", "score_baseline",
           "score_tput_ratio", "score_e2e_ratio", "score_interactivity_ratio", "metrics_median_ttft_ms", "metrics_median_tpot_ms",
           "labels_experiment", "labels_comparison", "labels_arm")  # fmt: skip
MACHINE = ("chip", "server_gpus", "host_name", "host_system", "host_cores", "host_memory_gib", "server_version", "server_target", "variant", "commit",
           "project", "versions")  # fmt: skip
WANTED = tuple(dict.fromkeys((*COLUMNS, *MACHINE)))
machine = itemgetter(*map(WANTED.index, MACHINE))
Machine = tuple[Any, ...]
"""What was measured on and with: the values of MACHINE. versions: JSON."""


class Brief(NamedTuple):
    """commit: of vLLM, in full; "" where it is not known.  patches: vLLM's.  problem: why it did not pass, or "".

    tput: tokens/s/GPU.  interactivity: tokens/s/user.  tput, interactivity and e2e_ms are None where it has no score.
    """

    id: str
    created: datetime
    status: str
    problem: str
    profile: str
    isl: int
    osl: int
    conc: int
    chip: str
    variant: str
    gpus: int
    commit: str
    patches: tuple[str, ...]
    tput: float | None
    interactivity: float | None
    e2e_ms: float | None
    weighted: float | None
    divisor_kind: str | None
    baseline: str | None
    tput_ratio: float | None
    e2e_ratio: float | None
    interactivity_ratio: float | None
    ttft_ms: float | None
    tpot_ms: float | None
    experiment: str | None
    comparison: str
    arm: str
    machine: Machine


def read(database: sqlite3.Connection) -> list[Brief]:
    """Every record of the tables, oldest first."""
    cursor = database.execute(f"SELECT {', '.join(map(tables.quoted, WANTED))} FROM records ORDER BY id")
    known = Known()
    return [made(row, known) for row in cursor]


def of(record: Record) -> Brief:
    """The same of a record at hand."""
    row = tables.flat(record)
    return made(tuple(row.get(name) for name in WANTED), Known())


def of_experiments(records: Iterable[Brief]) -> dict[str, list[Brief]]:
    """The records of each experiment, in the order of their first."""
    groups: dict[str, list[Brief]] = {}
    for one in records:
        if one.experiment is not None:
            groups.setdefault(one.experiment, []).append(one)
    return groups


class Known(dict[Any, Any]):
    """Machines, each kept once, and vLLM's patches by the JSON of a record's trees: a store is full of the same few."""

    def __missing__(self, key: Machine | str) -> Any:
        self[key] = found = key if isinstance(key, tuple) else next((tuple(one["patches"]) for one in json.loads(key) if one["upstream"] == "vllm"), ())
        return found


def made(row: Sequence[Any], known: Known) -> Brief:
    """From the values of WANTED."""
    (name, created, status, problem, profile, isl, osl, conc, chip, measured, gpus, commit, trees, tput, interactivity, e2e, weighted, kind, baseline,
     tput_ratio, e2e_ratio, interactivity_ratio, ttft, tpot, experiment, comparison, arm, *_) = row  # fmt: skip
    return Brief(name, datetime.fromisoformat(created), status, problem or "", profile, isl, osl, conc, chip, measured, gpus, commit or "",
                 known[trees], tput, interactivity, e2e, weighted, kind, baseline, tput_ratio, e2e_ratio, interactivity_ratio, ttft, tpot,
                 experiment, comparison or "", arm or "", known[machine(row)])  # fmt: skip
