"""The index beside the records is never believed against them: kills, damage, another version, two at once, and no room."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from every_step import chosen, say_kills

from tunefork.bench.records import index
from tunefork.bench.records.query import query
from tunefork.bench.records.store import RECORD, Store

COUNT = "SELECT count(*) FROM records"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNEFORK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def twelve(store: Store, samples: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr("tunefork.bench.records.store.os.fsync", lambda _handle: None)
    for _ in range(12):
        store.write(samples.passed(), samples.FILES)
    return store


def counts(store: Store) -> tuple[int, int, int]:
    return tuple(query(store, f"SELECT count(*) FROM {name}").rows[0][0] for name in ("records", "requests", "damaged"))  # type: ignore[return-value]


def test_what_is_deleted_or_damaged_afterwards_is_seen(twelve: Store) -> None:
    assert counts(twelve) == (12, 24, 0)
    first, second, *_ = twelve.ids()
    (twelve.folder / first / RECORD).write_bytes(b"{}")
    for path in (twelve.folder / second).iterdir():
        path.unlink()
    (twelve.folder / second).rmdir()
    assert counts(twelve) == (10, 20, 1)


def test_a_submission_that_comes_later_is_seen(twelve: Store) -> None:
    assert query(twelve, "SELECT count(*) FROM submissions").rows == ((0,),)
    (twelve.folder / twelve.ids()[0] / "submission-1.json").write_text("{half")
    assert query(twelve, "SELECT state FROM submissions").rows == (("damaged",),)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def version(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")


def emptied(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE requests")


@pytest.mark.parametrize("damage", [cut, version, emptied, lambda path: path.write_bytes(b"no database " * 999), lambda path: path.write_bytes(b"")])
def test_a_damaged_index_is_made_anew(twelve: Store, damage: Callable[[Path], object]) -> None:
    assert counts(twelve) == (12, 24, 0)
    damage(twelve.folder / index.FILE)
    assert counts(twelve) == (12, 24, 0)


def forged(store: Store) -> None:
    """A record in the index that no folder has, and another status of one that has."""
    assert counts(store) == (12, 24, 0)
    with sqlite3.connect(store.folder / index.FILE) as database:
        database.execute("INSERT INTO records (id, status) VALUES ('never-measured', 'passed')")
        database.execute("UPDATE records SET score_tput_per_gpu = 1e9")


BEST = "SELECT max(score_tput_per_gpu) FROM records"


@pytest.mark.parametrize("handed_over", ["a copy", "in the place of our own", "of a user whose cache is another"])
def test_an_index_that_came_with_a_store_is_not_believed(twelve: Store, cache: Path, tmp_path: Path, handed_over: str, monkeypatch: pytest.MonkeyPatch) -> None:
    best = query(twelve, BEST).rows
    forged(twelve)
    assert query(twelve, BEST).rows != best  # its stamps fit: of our own index nobody asks
    theirs = Store(tmp_path / "theirs")
    shutil.copytree(twelve.folder, theirs.folder)
    if handed_over == "in the place of our own":
        theirs.folder.rename(tmp_path / "came back")
        shutil.rmtree(twelve.folder)
        (tmp_path / "came back").rename(twelve.folder)
        theirs = twelve
    elif handed_over == "of a user whose cache is another":
        monkeypatch.setenv("TUNEFORK_CACHE", str(tmp_path / "another"))
        theirs = twelve
    assert query(theirs, COUNT).rows == ((12,),) and query(theirs, BEST).rows == best
    assert index.known(theirs.folder / index.FILE)  # it is made anew, and used from now on


def test_an_index_of_ours_is_found_again_and_one_of_a_store_that_is_gone_is_forgotten(twelve: Store, cache: Path, tmp_path: Path) -> None:
    assert counts(twelve) == (12, 24, 0)
    before = index.inode(twelve.folder / index.FILE)
    assert counts(twelve) == (12, 24, 0) and index.inode(twelve.folder / index.FILE) == before
    other = Store(tmp_path / "other")
    shutil.copytree(twelve.folder, other.folder)
    assert counts(other) == (12, 24, 0) and len([*(cache / "indices").iterdir()]) == 2
    shutil.rmtree(twelve.folder)
    (other.folder / index.FILE).unlink()
    assert counts(other) == (12, 24, 0) and [*(cache / "indices").iterdir()] == [index.note(other.folder / index.FILE)]


def test_where_nothing_can_be_noted_the_answer_is_the_same(twelve: Store, cache: Path) -> None:
    cache.write_text("a file where the folder would be")
    assert counts(twelve) == (12, 24, 0)


def test_of_two_that_take_records_in_none_is_lost(twelve: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another query takes all in between two steps of this one."""
    monkeypatch.setattr(index, "STEP", 3)
    added: list[int] = []
    add = index.tables.add

    def adding(database: sqlite3.Connection, store: Store, ids: list[str], *, samples: bool) -> None:
        add(database, store, ids, samples=samples)
        added.append(len(ids))

    written = index.written

    def other_first(made: sqlite3.Connection) -> int:
        if added == [3]:
            added.append(0)
            if made.in_transaction:
                made.execute("COMMIT")
                assert counts(twelve) == (12, 24, 0)
                made.execute("BEGIN IMMEDIATE")
        return written(made)

    monkeypatch.setattr(index.tables, "add", adding)
    monkeypatch.setattr(index, "written", other_first)
    assert query(twelve, "SELECT count(*), count(DISTINCT id) FROM records").rows == ((12, 12),)
    assert sum(added) == 12


def test_without_room_for_one_the_answer_is_the_same(twelve: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_args: object, **_kw: object) -> None:
        raise sqlite3.OperationalError("attempt to write a readonly database")

    monkeypatch.setattr(index, "current", refused)
    assert counts(twelve) == (12, 24, 0) and not (twelve.folder / index.FILE).exists()


def test_a_disk_that_fills_up_is_no_damage(twelve: Store, samples: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """sqlite ends the transaction by itself; our own end of it had hidden why, and a good index was made anew."""
    assert counts(twelve) == (12, 24, 0)
    file, add = twelve.folder / index.FILE, index.tables.add
    before = file.stat().st_ino, file.read_bytes()
    twelve.write(samples.passed(), samples.FILES)

    def full(made: sqlite3.Connection, *words: object, **options: object) -> None:
        if made.execute("PRAGMA database_list").fetchone()[2]:  # not the one in memory
            made.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")
        add(made, *words, **options)

    monkeypatch.setattr(index.tables, "add", full)
    assert query(twelve, "SELECT count(*) FROM records").rows == ((13,),)
    assert (file.stat().st_ino, file.read_bytes()) == before


def test_two_queries_at_once(twelve: Store) -> None:
    found: list[tuple[int, int, int]] = []
    threads = [threading.Thread(target=lambda: found.append(counts(twelve))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [(12, 24, 0)] * 4


KILLER = """
import os, signal, sys
from pathlib import Path
from tunefork.bench.records import index, query, store
index.STEP, left = 3, int(sys.argv[2])
def counted(function):
    def wrapper(*args, **more):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **more)
    return wrapper
store.Store.raw = counted(store.Store.raw)
index.behind = counted(index.behind)
index.tables.widened = counted(index.tables.widened)
index.stamps = counted(index.stamps)
query.query(store.Store(Path(sys.argv[1])), "SELECT count(*) FROM requests")
"""


@pytest.mark.slow
def test_a_kill_anywhere_costs_time_only(twelve: Store, capfd: pytest.CaptureFixture[str]) -> None:
    """Every step under `--long`, every fifth otherwise: of a first index, then of going on from what that kill left."""
    killed = step = 0
    for step in chosen(5):
        (twelve.folder / index.FILE).unlink(missing_ok=True)
        ended = [subprocess.run([sys.executable, "-c", KILLER, str(twelve.folder), str(at)], check=False).returncode for at in (step, step // 2)]
        assert ended[0] in (0, -signal.SIGKILL) and ended[1] in (0, -signal.SIGKILL)
        killed += ended.count(-signal.SIGKILL)
        if ended[0] == 0:
            break
        assert counts(twelve) == (12, 24, 0)
    say_kills(capfd, "the index beside the records", killed, step)
    assert step >= 25 and counts(twelve) == (12, 24, 0)
