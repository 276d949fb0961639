"""A record is whole or absent, is not believed when it was changed, and is never overwritten."""

from __future__ import annotations

import json
import os
import platform
import resource
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from pydantic import ValidationError

from tunefork.bench.errors import RecordError
from tunefork.bench.records.store import CLIENT, MANIFEST, RECORD, Store, new_id


def test_what_is_written_is_read(store: Store, samples: ModuleType) -> None:
    record = samples.passed()
    folder = store.write(record, samples.FILES)
    assert store.read(record.id) == record == store.verify(record.id)
    assert sorted(path.name for path in folder.iterdir()) == sorted([RECORD, MANIFEST, CLIENT])
    assert store.ids() == [record.id]
    assert [path.name for path in store.folder.iterdir()] == [record.id], "nothing temporary is left"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_a_number_is_no_number(samples: ModuleType, value: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        samples.passed(metrics={"median_tpot_ms": value})


def test_a_pass_needs_its_numbers_and_a_failure_its_reason(samples: ModuleType) -> None:
    with pytest.raises(ValidationError, match="has metrics"):
        samples.passed(metrics=None)
    with pytest.raises(ValidationError, match="has a problem and no score"):
        samples.failed(problems=())
    with pytest.raises(ValidationError, match="no score"):
        samples.failed(score=samples.SCORE)


def test_never_overwritten(store: Store, samples: ModuleType) -> None:
    record = samples.passed()
    store.write(record, {})
    with pytest.raises(RecordError, match="never overwritten"):
        store.write(samples.failed(id=record.id), {})
    assert store.read(record.id).status == "passed"


@pytest.mark.parametrize(("name", "damage"), [
    (RECORD, lambda data: data.replace(b'"passed"', b'"failed"')),
    (RECORD, lambda data: data[: len(data) // 2]),
    (MANIFEST, lambda data: b"{}"),
    (MANIFEST, lambda data: b"not json"),
])
def test_damage_is_seen(store: Store, samples: ModuleType, name: str, damage: object) -> None:
    record = samples.passed()
    path = store.write(record, samples.FILES) / name
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(RecordError, match=f"record {record.id} is damaged") as caught:
        store.read(record.id)
    assert "--resume" in caught.value.remedy
    assert [type(entry) for entry in store.records()] == [RecordError]


def test_damage_of_a_raw_file_is_seen_where_it_is_used(store: Store, samples: ModuleType) -> None:
    record = samples.passed()
    (store.write(record, samples.FILES) / CLIENT).write_bytes(b"other")
    for use in (lambda: store.raw(record.id, CLIENT), lambda: store.verify(record.id)):
        with pytest.raises(RecordError, match=rf"{CLIENT} is not what its manifest says"):
            use()


def test_a_record_moved_under_another_name_is_refused(store: Store, samples: ModuleType) -> None:
    record = samples.passed()
    store.write(record, {}).rename(store.folder / "another")
    with pytest.raises(RecordError, match="it says it is"):
        store.read("another")


@pytest.mark.parametrize("name", ["../x", "", "nowhere", ".tmp-1-x"])
def test_no_such_record(store: Store, name: str) -> None:
    with pytest.raises(RecordError, match="no record"):
        store.read(name)


def test_a_full_disk_leaves_no_record(store: Store, samples: ModuleType) -> None:
    """A process that may write no file above 4 KiB stands for the full disk: the same error path, the same place."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(RecordError, match="cannot write record .* File too large"):
            store.write(samples.passed(), {"big": b"x" * 10_000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(store.folder.iterdir()) == []


def test_a_killed_writer_leaves_nothing_that_counts_and_the_next_one_clears_it(store: Store, samples: ModuleType, tmp_path: Path) -> None:
    code = ("import os, signal, sys\nfrom pathlib import Path\nfrom tunefork.bench.records import store\n"
            "from tunefork.bench.records.schema import Record\n"
            "store.sync_folder = lambda folder: os.kill(os.getpid(), signal.SIGKILL)\n"
            "store.Store(Path(sys.argv[1])).write(Record.model_validate_json(sys.stdin.read()), {})\n")
    done = subprocess.run([sys.executable, "-c", code, str(store.folder)], input=samples.passed().model_dump_json(), text=True,
                          check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name.startswith(".tmp-") for path in store.folder.iterdir()] == [True, True]
    assert store.ids() == []
    record = samples.passed()
    store.write(record, {})
    assert [path.name for path in store.folder.iterdir()] == [record.id]


def test_names_differ_whatever_the_clock_does(monkeypatch: pytest.MonkeyPatch) -> None:
    from tunefork.bench.records import store as module
    still = module.utc_now()
    monkeypatch.setattr(module, "utc_now", lambda: still)
    assert len({new_id("x", 1) for _ in range(200)}) == 200
    assert "/" not in new_id("../../etc", "a b")


def test_the_manifest_lists_what_is_there(store: Store, samples: ModuleType) -> None:
    folder = store.write(samples.passed(), samples.FILES)
    assert set(json.loads((folder / MANIFEST).read_bytes())["files"]) == {*os.listdir(folder)} - {MANIFEST}


WRITER = """
import sys
from pathlib import Path
from tunefork.bench.records import store
from tunefork.bench.records.schema import Record
def wait(folder):
    print(flush=True)
    sys.stdin.readline()
store.sync_folder, real = wait, store.sync_folder
made = store.Store(Path(sys.argv[1])).write(Record.model_validate_json(sys.argv[2]), {})
"""


def test_a_living_writer_is_left_alone_whatever_its_number(store: Store, samples: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in two containers with one host name and one disk: the other's process numbers mean nothing here."""
    theirs = samples.passed()
    monkeypatch.setattr("os.getpid", lambda: 7)
    monkeypatch.setattr("psutil.pid_exists", lambda _pid: False)
    with subprocess.Popen([sys.executable, "-c", WRITER, str(store.folder), theirs.model_dump_json()], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdin and writer.stdout
        writer.stdout.readline()  # all of it is written, under its temporary name
        ours = samples.passed()
        store.write(ours, samples.FILES)
        assert store.ids() == [ours.id]
        writer.communicate(b"\n\n")
    assert writer.returncode == 0 and sorted(store.ids()) == sorted([ours.id, theirs.id])
    assert store.verify(theirs.id) == theirs
    store.write(samples.passed(), {})
    assert not [path for path in store.folder.iterdir() if path.name.startswith(".")]


def test_what_an_earlier_version_began_goes_after_a_day(store: Store, samples: ModuleType) -> None:
    old, young = (store.folder / f".tmp-999999999@{node}@x" for node in ("another-host", platform.node()))
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (0, 0))
    store.write(samples.passed(), samples.FILES)
    assert not old.exists() and young.is_dir()
