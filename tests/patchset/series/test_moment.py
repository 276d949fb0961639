"""A series that another command writes just now is read as it was before or as it is after, never half of it."""

from __future__ import annotations

import fcntl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from test_author import three
from world import World

from tunefork.base import files, mutex
from tunefork.patchset.author import reshape
from tunefork.patchset.checkout import export, repin
from tunefork.patchset.checkout.status import status
from tunefork.patchset.series.series import Series


def renamed(world: World) -> None:
    reshape.rename(world.layout, "up", "one", "uno")


def exported(world: World) -> None:
    world.commit({"four.py": b"four\n"}, "[Up] Four", "Why.\n\nPatch-Name: four")
    export.export(world.layout, "up")


@pytest.mark.parametrize("write", [renamed, exported])
def test_a_reader_waits_for_the_last_file(world: World, write: Callable[[World], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the first file that is written a reader begins: it is done only when all are, or (the fault) reads at once."""
    three(world)
    before = Series.load("up", world.series)
    stopped, read, found = threading.Event(), threading.Event(), list[object]()
    flock, write_atomically = fcntl.flock, files.write_atomically

    def reading() -> None:
        try:
            found.extend([Series.load("up", world.series), status(world.layout, "up").drift])
        except Exception as error:
            found.append(error)
        read.set()
        stopped.set()

    reader = threading.Thread(target=reading)

    def locking(handle: int, how: int) -> None:
        if threading.current_thread() is reader:
            stopped.set()
        flock(handle, how)

    def writing(path: Path, data: bytes) -> None:
        write_atomically(path, data)
        if path.parent == world.series and reader.ident is None:
            reader.start()
            assert stopped.wait(60)
            assert not read.is_set(), found

    monkeypatch.setattr(mutex.fcntl, "flock", locking)
    for module in (export, repin):
        monkeypatch.setattr(module, "write_atomically", writing)
    write(world)
    reader.join()
    after = Series.load("up", world.series)
    assert after.names != before.names and found[0] == after
    assert found[1] in ((), ("another command is changing the series just now; ask again when it is done",))  # its checkouts follow after the files
