"""A store of another user's on a shared node: it can be asked and reported, nothing of it is changed, and what cannot be written is one line."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tunefork.base.errors import TuneforkError
from tunefork.bench.records.index import FILE, known
from tunefork.bench.records.query import query
from tunefork.bench.records.store import Store
from tunefork.bench.report.build import gather
from tunefork.bench.run.batch import Batch
from tunefork.bench.run.settings import Settings

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: another user needs root")
OTHER = 65534  # nobody


@pytest.fixture
def shared(samples: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store that everybody may read, with its index; in a folder that everybody may enter, which pytest's own are not."""
    folder = Path(tempfile.mkdtemp(prefix="tunefork-shared-"))
    folder.chmod(0o755)
    monkeypatch.setenv("TUNEFORK_CACHE", str(folder / "mine"))
    store = Store(folder / "records")
    for _ in range(3):
        store.write(samples.passed(), samples.FILES)
    query(store, "SELECT 1")
    (folder / "theirs").mkdir()
    os.chown(folder / "theirs", OTHER, OTHER)
    yield store
    shutil.rmtree(folder)


def as_other(store: Store, call: Callable[[], object]) -> str:
    """What a call says in a process of the other user's, who has a cache."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = "ended badly"
        try:
            os.setgroups([])
            os.setgid(OTHER)
            os.setuid(OTHER)
            os.environ["TUNEFORK_CACHE"] = str(store.folder.parent / "theirs")
            said = str(call())
        except TuneforkError as error:
            said = f"{type(error).__name__}: {error.message} | {error.remedy}"
        except BaseException as error:
            said = f"a traceback: {error!r}"
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as answer:
        return answer.read()


def test_it_is_asked_and_reported_and_stays_as_it_is(shared: Store) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in shared.folder.rglob("*")}
    assert as_other(shared, lambda: query(shared, "SELECT count(*) FROM records").rows) == "((3,),)"
    assert as_other(shared, lambda: len(gather(shared).records)) == "3"
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in shared.folder.rglob("*")} == before


def test_what_cannot_be_written_is_one_line(shared: Store, samples: ModuleType) -> None:
    said = as_other(shared, lambda: shared.write(samples.passed(), samples.FILES))
    assert said.startswith("RecordError: cannot write record ") and "Permission denied | " in said
    where = shared.folder / "bench"
    said = as_other(shared, lambda: Batch.create(where, Settings(profile="smoke"), 16, 4, (1,), tree="", version=""))
    assert said.startswith(f"BadInput: cannot make {where}") and said.endswith("Permission denied | --out a folder that can be written")
    assert not list(shared.folder.glob("*tmp*"))


def test_where_both_may_write_the_index_is_made_anew_for_each(shared: Store) -> None:
    """One of them does not believe the other's (decision 0052): that costs time and nothing else."""
    shared.folder.chmod(0o777)
    assert as_other(shared, lambda: query(shared, "SELECT count(*) FROM records").rows) == "((3,),)"
    assert (shared.folder / FILE).stat().st_uid == OTHER
    assert query(shared, "SELECT count(*) FROM records").rows == ((3,),) and (shared.folder / FILE).stat().st_uid == 0


def test_an_index_of_another_user_is_not_ours_whatever_its_inode(shared: Store) -> None:
    path = shared.folder / FILE
    assert known(path)
    os.chown(path, OTHER, OTHER)  # a file of theirs that got the number of ours
    assert not known(path)
    assert query(shared, "SELECT count(*) FROM records").rows == ((3,),) and path.stat().st_uid == 0
