"""The lock between processes: who waits for whom, what is said meanwhile, and that a kill unlocks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tunefork.base import mutex
from tunefork.base.errors import TuneforkError

HOLDER = """
import sys
from pathlib import Path
from tunefork.base.mutex import locked
with locked(Path(sys.argv[1]), print, "", shared=sys.argv[2] == "shared"):
    print("locked", flush=True)
    sys.stdin.read()
"""


class Waits(Exception):
    """Raised by a Say, so that a test need not wait."""


def waits(line: str) -> None:
    raise Waits(line)


@contextmanager
def another(path: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the lock until its input ends."""
    root = Path(mutex.__file__).parents[2]
    argv = [sys.executable, "-P", "-c", HOLDER, str(path), how]
    with subprocess.Popen(argv, env={**os.environ, "PYTHONPATH": str(root)}, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        yield holder


@pytest.mark.parametrize(("theirs", "ours", "wait"), [("alone", False, True), ("alone", True, True), ("shared", False, True), ("shared", True, False)])
def test_only_those_that_share_run_beside_each_other(tmp_path: Path, theirs: str, ours: bool, wait: bool) -> None:
    path = tmp_path / "made for it" / "lock"
    with another(path, theirs):
        try:
            with mutex.locked(path, waits, "waiting for them", shared=ours):
                waited = False
        except Waits as said:
            waited = str(said) == "waiting for them"
    assert waited is wait


def test_the_end_of_the_block_and_a_kill_unlock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with another(path, "alone") as holder:
        holder.kill()
        holder.wait()
        with mutex.locked(path, waits, "killed"):
            pass
    with another(path, "alone"):  # which says "locked" only once it has it
        pass


def test_a_folder_that_somebody_keeps_is_an_error_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may read a folder may hold it, a stopped process for good: no command hangs of it without a word."""
    monkeypatch.setattr(mutex, "PATIENCE_S", 0.1)
    with mutex.folder(tmp_path, shared=True), pytest.raises(TuneforkError, match=r"another process has held .* for 0 s") as caught, mutex.folder(tmp_path):
        pass
    assert caught.value.remedy == f"see who: fuser -v {tmp_path}"
    with mutex.folder(tmp_path), pytest.raises(TuneforkError), mutex.folder(tmp_path, shared=True):
        pass
    with mutex.folder(tmp_path, shared=True), mutex.folder(tmp_path, shared=True):
        pass
