"""An index beside the records: the tables of `bench query`, kept in `<store>/.index.sqlite`, so that a query reads only what is new.

It is derived: every row comes from a record that was read and checked, and goes when the record's folder or a file in it has another size or time.
A kill leaves what sqlite's transactions leave; a damaged index, or one of another version, is made anew; where none can be written, the tables are
made in memory.

Only an index that this user made is believed: one that came with somebody's store may say what no record does. A word drawn when it is made
stands in it and, with its inode, in the user's own cache (``note``).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sqlite3
from pathlib import Path

from tunefork.base.files import replace_content
from tunefork.base.layout import user_cache
from tunefork.bench.records import tables
from tunefork.bench.records.store import CLIENT, MANIFEST, RECORD, Store

FILE = ".index.sqlite"
VERSION = 3
WAIT_S = 60.0
"""For another query that brings the index up to date; who waits longer makes the tables for itself, which is said by no one and takes as long."""
STEP = 2000
"""Records between two commits: what a kill costs."""
MANY = 500
"""With more records than this changed, all are read again: that is cheaper than to take their rows out."""


def database(store: Store, *, samples: bool, fresh: bool = False) -> sqlite3.Connection:
    """The tables of a store as it is now. samples: with those of every request.  fresh: whatever the index says."""
    if store.folder.is_dir() and not (store.folder / FILE).is_symlink():  # nothing is written through somebody's link
        for again in (fresh, True):
            try:
                return current(store, samples, again=again)
            except sqlite3.OperationalError as error:
                if any(word in str(error) for word in ("unable to open", "readonly", "full", "I/O", "locked")):
                    break
            except sqlite3.DatabaseError:  # damaged, or of another version
                continue
            except OSError:
                break
    return in_memory(store, samples)


def in_memory(store: Store, samples: bool) -> sqlite3.Connection:
    """The tables, made for this once."""
    made = sqlite3.connect(":memory:")
    tables.create(made)
    tables.add(made, store, store.ids(), samples=samples)
    made.commit()
    return made


def current(store: Store, samples: bool, *, again: bool) -> sqlite3.Connection:
    """The index, brought up to date. again: made anew. sqlite3.DatabaseError where it cannot be used."""
    path = store.folder / FILE
    if again or not known(path):
        for name in (FILE, *(f"{FILE}{kind}" for kind in ("-journal", "-wal", "-shm"))):
            (store.folder / name).unlink(missing_ok=True)
    made = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
    try:
        made.execute("PRAGMA synchronous = NORMAL")
        made.execute("PRAGMA trusted_schema = OFF")
        if made.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            begin(made, path)
        if made.execute("SELECT word FROM _made").fetchall() != [(noted(path)[0],)]:
            raise sqlite3.DatabaseError("an index of somebody else's")
        names = {name for name, in made.execute("SELECT name FROM sqlite_master")}
        if not names >= {"_seen", "_columns", "records", *tables.OF_A_RECORD}:
            raise sqlite3.DatabaseError("not all tables are there")
        follow(made, store, samples)
    except BaseException:
        made.close()
        raise
    return made


def note(path: Path) -> Path:
    """Where this user's cache says which index of a store is its own."""
    return user_cache() / "indices" / hashlib.sha256(os.fsencode(path.parent.resolve())).hexdigest()[:32]


def noted(path: Path) -> tuple[str, str]:
    """(its word, device and inode) of the index that this user made for a store; empty where there is none."""
    try:
        word, _, place = note(path).read_bytes().partition(b"\n")[0].decode("ascii").partition(" ")
    except (OSError, ValueError):
        return "", ""
    return word, place


def take_note(path: Path) -> str:
    """Draw the word of a new index and note it; notes of stores that are gone go. OSError where the cache cannot be written."""
    word, mine = secrets.token_hex(16), note(path)
    replace_content(mine, f"{word} {inode(path)}\n".encode() + os.fsencode(path.parent.resolve()))
    for other in mine.parent.iterdir():
        with contextlib.suppress(OSError):
            if other != mine and not os.path.isdir(other.read_bytes().partition(b"\n")[2]):  # noqa: PTH112 - a name may be no text
                other.unlink()
    return word


def inode(path: Path) -> str:
    """Device and inode of a file; "" where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return ""
    return f"{found.st_dev} {found.st_ino}"


def known(path: Path) -> bool:
    """Whether an index is the file that this user made; it is not opened for this. An empty one holds nothing to believe."""
    found = inode(path)
    if not found:
        return True
    of = path.stat()  # an inode's number comes again: another user's file may have it
    return of.st_uid == os.geteuid() and (noted(path)[1] == found or of.st_size == 0)


def begin(made: sqlite3.Connection, path: Path) -> None:
    """Empty tables in a fresh index; sqlite3.DatabaseError in one of another version."""
    made.execute("BEGIN IMMEDIATE")
    version = made.execute("PRAGMA user_version").fetchone()[0]
    if version == 0 and not made.execute("SELECT 1 FROM sqlite_master").fetchone():
        tables.create(made)
        made.execute("CREATE TABLE _made (word TEXT)")
        made.execute("INSERT INTO _made VALUES (?)", (take_note(path),))
        made.execute("CREATE TABLE _seen (id TEXT PRIMARY KEY, stamp TEXT, sampled INTEGER)")
        made.execute(f"PRAGMA user_version = {VERSION}")
    made.execute("COMMIT")
    if version not in (0, VERSION):
        raise sqlite3.DatabaseError("an index of another version")


def follow(made: sqlite3.Connection, store: Store, samples: bool) -> None:
    """Take in what is new, and take out what changed or went, some records at a time."""
    there = stamps(store)
    seen = written(made)
    left = behind(made, there, samples)
    while any(left):
        made.execute("BEGIN IMMEDIATE")
        try:
            if (now := written(made)) != seen:  # another query did some of it meanwhile
                left, seen = behind(made, there, samples), now
            gone, new, unsampled = left
            if len(gone) > MANY:
                raise sqlite3.DatabaseError("too much changed")
            tables.remove(made, gone)
            made.executemany("DELETE FROM _seen WHERE id = ?", ((each,) for each in gone))
            step, more = new[:STEP], unsampled[: max(0, STEP - len(new))]
            tables.add(made, store, step, samples=samples)
            made.executemany("INSERT INTO _seen VALUES (?, ?, ?)", ((each, there[each], int(samples)) for each in step))
            tables.add_samples(made, store, more)
            made.executemany("UPDATE _seen SET sampled = 1 WHERE id = ?", ((each,) for each in more))
            made.execute("COMMIT")
        except BaseException:
            if made.in_transaction:  # a full disk ends it by itself, and a second end would hide why
                made.execute("ROLLBACK")
            raise
        left = [], new[len(step) :], unsampled[len(more) :]


def written(made: sqlite3.Connection) -> int:
    """A number that changes when another connection has written."""
    found: int = made.execute("PRAGMA data_version").fetchone()[0]
    return found


def behind(made: sqlite3.Connection, there: dict[str, str], samples: bool) -> tuple[list[str], list[str], list[str]]:
    """(records to take out, to read, to read the requests of)."""
    indexed = {record: (stamp, sampled) for record, stamp, sampled in made.execute("SELECT id, stamp, sampled FROM _seen")}
    gone = [each for each, (stamp, _) in indexed.items() if there.get(each) != stamp]
    new = [each for each, stamp in there.items() if indexed.get(each, ("",))[0] != stamp]
    unsampled = [each for each, (stamp, sampled) in indexed.items() if samples and not sampled and there.get(each) == stamp]
    return gone, new, unsampled


def stamps(store: Store) -> dict[str, str]:
    """What tells of each record whether it changed, by its id in order: when its folder did, and size and time of the files that are read."""
    found = {}
    stat = os.stat  # four for each record: Path costs more than the call, and so does the store's own path in each
    home = os.open(store.folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(store.folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_dir():
                    parts = [str(stat(entry.name, dir_fd=home).st_mtime_ns)]
                    for name in (RECORD, MANIFEST, CLIENT):
                        try:
                            one = stat(f"{entry.name}/{name}", dir_fd=home)
                            parts.append(f"{one.st_size}-{one.st_mtime_ns}")
                        except FileNotFoundError:
                            parts.append("")
                    found[entry.name] = ":".join(parts)
    finally:
        os.close(home)
    return dict(sorted(found.items()))
