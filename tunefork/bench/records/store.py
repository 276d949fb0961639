"""The record store: a folder of records, each complete or absent, verified when it is read, never overwritten.

    <store>/<id>/record.json      what schema.Record says
    <store>/<id>/manifest.json    sha256 of record.json and of every raw file beside it
    <store>/<id>/client.json.gz ...  raw files: the client's answer with every sample, telemetry, lm_eval's answer
    <store>/<id>/submission-1.json ...   appended later, each in a format of its own (not in the manifest)

A record is written under a temporary name, synced, and renamed into place. While it is, its writer holds a lock on a file beside it: process
numbers and host names say nothing where two containers share a disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tunefork.base.checked import from_json
from tunefork.base.files import sync_folder, write_synced
from tunefork.base.layout import Layout
from tunefork.bench.errors import RecordError
from tunefork.bench.records.schema import Record, utc_now

RECORD, MANIFEST, CLIENT = "record.json", "manifest.json", "client.json.gz"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
LOCK = ".lock"
MOST_BYTES = 1 << 30
"""Of one file of a record."""
STALE_S = 86400.0
"""Age from which what was begun without a lock, by an earlier version, is taken for abandoned."""


def new_id(*parts: str | int) -> str:
    """A name for a record: when (UTC), what, and eight random digits, so that no two ever meet, whatever the clock does."""
    words = [re.sub(r"[^A-Za-z0-9._+-]+", "-", str(part)) for part in parts]
    return "-".join([utc_now().strftime("%Y%m%dT%H%M%SZ"), *words, secrets.token_hex(4)])


def default_store(layout: Layout) -> Store:
    """The store of a checkout."""
    return Store(layout.work / "records")


def contents(path: str) -> bytes:
    """A plain file's bytes. OSError where it is none (a pipe would never end), or larger than any of ours.

    Of a Path, opening costs twice what the file does, for tens of thousands of records.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MOST_BYTES:
            raise OSError(errno.EINVAL, "no plain file of a record's size")
        data = os.read(handle, found.st_size + 1)  # one more, so that a file's end is seen in one call
        while len(data) < found.st_size and (more := os.read(handle, found.st_size - len(data))):
            data += more
        return data
    finally:
        os.close(handle)


def held(lock: int, path: Path) -> bool:
    """Whether an open file is locked by us now and is still the one of that name."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(lock), path.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


class Store:
    """A folder of records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, record_id: str) -> Path:
        """A record's directory; RecordError where there is none."""
        folder = Path(self._folder(record_id))
        if not folder.is_dir():
            raise self._missing(record_id)
        return folder

    def _folder(self, record_id: str) -> str:
        """A record's directory, which may not be there; a text, since a Path costs as much as reading a file, and there are tens of thousands."""
        if not NAME.fullmatch(record_id):
            raise self._missing(record_id)
        return f"{self.folder}/{record_id}"

    def _missing(self, record_id: str) -> RecordError:
        return RecordError(f"no record {record_id!r} in {self.folder}", "python3 build.py bench query --sql 'SELECT id FROM records'")

    def write(self, record: Record, files: Mapping[str, bytes]) -> Path:
        """Add a record with its raw files; all of it is on the disk when this returns, or RecordError and nothing is there."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._sweep()
            with self._scratch() as scratch:
                return self._fill(scratch, record, files)
        except OSError as error:
            raise RecordError(f"cannot write record {record.id} to {self.folder}: {error.strerror or error}",
                              "free space or make the folder writable, then `python3 build.py bench run --resume` its batch") from error

    def _fill(self, scratch: Path, record: Record, files: Mapping[str, bytes]) -> Path:
        """Write everything into a folder of this writer's, and give it the record's name."""
        final = self.folder / record.id
        contents = {RECORD: record.model_dump_json(indent=1).encode() + b"\n", **files}
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
        contents[MANIFEST] = json.dumps({"format": 1, "files": hashes}, indent=1).encode() + b"\n"
        for name, data in contents.items():
            write_synced(scratch / name, data)
        sync_folder(scratch)
        if final.exists():
            raise RecordError(f"record {record.id} exists; records are never overwritten", "measure again, under another id")
        scratch.rename(final)
        sync_folder(self.folder)
        return final

    @contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder of this writer's own, gone or renamed at the end. Its lock is there before it, and until after it."""
        while True:
            scratch = self.folder / f".tmp-{secrets.token_hex(8)}"
            with (self.folder / f"{scratch.name}{LOCK}").open("xb") as lock:
                if not held(lock.fileno(), Path(lock.name)):  # a sweep took it for a dead writer's
                    continue
                try:
                    scratch.mkdir()
                    yield scratch
                finally:
                    shutil.rmtree(scratch, ignore_errors=True)
                    Path(lock.name).unlink(missing_ok=True)
                return

    def _sweep(self) -> None:
        """Remove what writers left that died half-way: nobody holds their lock."""
        for path in self.folder.glob(f".tmp-*{LOCK}"):
            with contextlib.suppress(FileNotFoundError), path.open("r+b") as lock:
                if held(lock.fileno(), path):
                    shutil.rmtree(path.with_name(path.name.removesuffix(LOCK)), ignore_errors=True)
                    path.unlink(missing_ok=True)
        for entry in self.folder.glob(".tmp-*@*@*"):
            if entry.stat().st_mtime < time.time() - STALE_S:
                shutil.rmtree(entry, ignore_errors=True)

    def read(self, record_id: str) -> Record:
        """A record, checked against its manifest and the schema; raw files are checked when they are used (``raw``)."""
        data = self.raw(record_id, RECORD)
        record = from_json(Record, data, f"record {record_id} is damaged", self._remedy(record_id), RecordError)
        if record.id != record_id:
            raise RecordError(f"record {record_id} is damaged: it says it is {record.id}", self._remedy(record_id))
        return record

    def raw(self, record_id: str, name: str) -> bytes:
        """The bytes of one file of a record, as its manifest lists them; RecordError otherwise."""
        folder = self._folder(record_id)
        try:
            digest = self._manifest(record_id, folder)[name]
            data = contents(f"{folder}/{name}")
        except (OSError, KeyError) as error:
            raise RecordError(f"record {record_id} is damaged: {name}: {type(error).__name__}", self._remedy(record_id)) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise RecordError(f"record {record_id} is damaged: {name} is not what its manifest says", self._remedy(record_id))
        return data

    def verify(self, record_id: str) -> Record:
        """A record with every one of its files checked."""
        for name in self.files(record_id):
            self.raw(record_id, name)
        return self.read(record_id)

    def files(self, record_id: str) -> tuple[str, ...]:
        """The files that a record's manifest lists."""
        return tuple(self._manifest(record_id, self._folder(record_id)))

    def _manifest(self, record_id: str, folder: str) -> dict[str, str]:
        try:
            listed = json.loads(contents(f"{folder}/{MANIFEST}").decode())["files"]
            return {str(name): str(digest) for name, digest in listed.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            self.path(record_id)  # where there is no record, that is what is said
            raise RecordError(f"record {record_id} is damaged: {MANIFEST}: {type(error).__name__}",
                              self._remedy(record_id)) from error

    def _remedy(self, record_id: str) -> str:
        return f"move {self.folder}/{record_id} away and measure again: `python3 build.py bench run --resume` its batch"

    def ids(self) -> list[str]:
        """The records there are, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(entry.name for entry in self.folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))

    def records(self) -> Iterator[Record | RecordError]:
        """Every record, or what is wrong with it."""
        for record_id in self.ids():
            try:
                yield self.read(record_id)
            except RecordError as error:
                yield error


class Followed:
    """The records of a store that somebody waits for, each read once while more of them come. wanted: whether one is of them."""

    def __init__(self, store: Store, wanted: Callable[[Record], bool]) -> None:
        self.store, self.wanted = store, wanted
        self.seen: set[str] = set()
        self.records: list[Record] = []

    def all(self) -> list[Record]:
        """Every one there is now; a damaged one is left out."""
        for record_id in self.store.ids():
            if record_id not in self.seen:
                self.seen.add(record_id)
                with contextlib.suppress(RecordError):
                    if self.wanted(record := self.store.read(record_id)):
                        self.records.append(record)
        return self.records
