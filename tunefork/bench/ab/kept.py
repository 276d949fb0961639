"""What was judged, kept in the index beside the records: a report judges only the experiments in which something changed.

Kept under a hash of all that it follows from: each record's id and stamp (size and times of its files, records/index.py), what decides and at which
threshold, and the judge: its code and the libraries that it counts with. The index is believed or made anew as a whole, and what is kept with it.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tunefork.bench.ab import evidence
from tunefork.bench.ab.evidence import Evidence
from tunefork.bench.ab.judgement import THRESHOLD, Judgement
from tunefork.bench.ab.outcome import DECIDES, Outcome, ScenarioOutcome, outcomes
from tunefork.bench.ab.pairs import Rejected

TABLE = "_judged"
HERE, PACKAGE = Path(__file__).parent, Path(__file__).parents[2]
CODE = (*sorted(HERE.glob("*.py")), PACKAGE / "base/upstream_facts/vllm.py", *sorted((PACKAGE / "bench/records").glob("*.py")))
"""The judge, and what its evidence is made by."""
LIBRARIES = ("numpy", "scipy")


@dataclass(frozen=True)
class Asked:
    """One experiment. records: the ids of those that it is judged by, in order."""

    records: tuple[str, ...]
    decides: str = DECIDES
    threshold: float = THRESHOLD


@dataclass(frozen=True)
class Found:
    """Of the experiments asked for. keys: of each that can be kept.  known: outcomes as they were kept.  told: the records of all others, by id."""

    keys: Mapping[str, str]
    known: Mapping[str, list[Outcome]]
    told: Mapping[str, Evidence]


@contextmanager
def one_state(database: sqlite3.Connection) -> Iterator[None]:
    """Whatever is read within is of one moment, also while another command brings the index up to date."""
    database.execute("BEGIN")
    try:
        yield
    finally:
        database.rollback()


def read(database: sqlite3.Connection, asked: Mapping[str, Asked]) -> Found:
    """What is kept of these experiments, and what the judge needs for the rest of them."""
    keys = keys_of(database, asked)
    known = {name: made for name, key, text in rows(database) if keys.get(name) == key and (made := unpacked(text)) is not None}
    missing = [name for name in asked if name not in known]
    return Found(keys, known, {one.id: one for one in evidence.read(database, missing)} if missing else {})


def judged(database: sqlite3.Connection, asked: Mapping[str, Asked], found: Found) -> list[Outcome]:
    """The outcomes of all experiments in the order in which they were asked for; what is judged now is kept."""
    new = {name: outcomes([found.told[each] for each in one.records], decides=one.decides, threshold=one.threshold)
           for name, one in asked.items() if name not in found.known}
    keep(database, [(name, found.keys[name], packed(new[name])) for name in new if name in found.keys])
    return [one for name in asked for one in (new[name] if name in new else found.known[name])]


def keys_of(database: sqlite3.Connection, asked: Mapping[str, Asked]) -> dict[str, str]:
    """By experiment what it is kept under; none in tables that are not kept, and none of an experiment with a record that has no stamp."""
    if not has(database, "_seen"):
        return {}
    stamps = dict(database.execute("SELECT id, stamp FROM _seen"))
    judge = version()
    return {name: hashlib.sha256(json.dumps([judge, name, one.decides, one.threshold, [(each, stamps[each]) for each in one.records]]).encode()).hexdigest()
            for name, one in asked.items() if all(each in stamps for each in one.records)}


def version() -> str:
    """Of the judge: another one may come to another figure from the same records."""
    found = hashlib.sha256(f"{platform.python_version()} {platform.machine()}".encode())
    for path in (*CODE, *map(counted_with, LIBRARIES)):
        found.update(path.read_bytes())
    return found.hexdigest()


def counted_with(library: str) -> Path:
    """The file with a library's version; the library is not loaded for it."""
    spec = find_spec(library)
    assert spec is not None and spec.origin is not None, "required by the extra that reports need"
    return Path(spec.origin).with_name("version.py")


def has(database: sqlite3.Connection, table: str) -> bool:
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is not None


def rows(database: sqlite3.Connection) -> list[tuple[str, str, str]]:
    """(experiment, key, outcomes) of all that is kept."""
    return database.execute(f"SELECT experiment, key, outcomes FROM {TABLE}").fetchall() if has(database, TABLE) else []


def keep(database: sqlite3.Connection, new: Sequence[tuple[str, str, str]]) -> None:
    """Take the place of what was kept of these experiments. Where it cannot be written, the next report judges again."""
    if not new:
        return
    try:
        database.execute("BEGIN IMMEDIATE")
        database.execute(f"CREATE TABLE IF NOT EXISTS {TABLE} (experiment TEXT PRIMARY KEY, key TEXT, outcomes TEXT)")
        database.executemany(f"INSERT OR REPLACE INTO {TABLE} VALUES (?, ?, ?)", new)
        database.execute(f"DELETE FROM {TABLE} WHERE experiment NOT IN (SELECT labels_experiment FROM records WHERE labels_experiment IS NOT NULL)")
        database.commit()
    except sqlite3.DatabaseError:
        database.rollback()


def packed(found: Sequence[Outcome]) -> str:
    """As JSON, of each dataclass its values in order; floats come back as they went."""
    return json.dumps(found, default=lambda one: list(vars(one).values()))


def unpacked(text: str) -> list[Outcome] | None:
    """The same outcomes; None where the text holds none."""
    try:
        return [outcome(*one) for one in json.loads(text)]
    except (ValueError, TypeError, AttributeError):
        return None


def outcome(*values: Any) -> Outcome:
    experiment, comparison, a, b, profile, chips, restarts, threshold, scenarios, look = values
    return Outcome(experiment, comparison, a, b, profile, tuple(chips), restarts, threshold, tuple(scenario(*one) for one in scenarios), look)


def scenario(*values: Any) -> ScenarioOutcome:
    isl, osl, conc, decides, judgements, rejected, half, lost, uneven, period = values
    return ScenarioOutcome(isl, osl, conc, decides, {metric: Judgement(*one) for metric, one in judgements.items()},
                           tuple(Rejected(*one) for one in rejected), tuple(half), tuple(lost), uneven, period)
