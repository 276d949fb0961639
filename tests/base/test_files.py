"""Files that are replaced in one step: whole or as they were, whatever ends the write; what it says when it cannot."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from tunefork.base import files
from tunefork.base.errors import TuneforkError

OLD, NEW = b"old\n", b"new\n" * 1000


def test_the_content_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "made" / "for it" / "state.json"
    files.write_atomically(path, OLD)
    files.write_atomically(path, NEW)
    assert path.read_bytes() == NEW
    assert list(path.parent.iterdir()) == [path]


def test_the_bytes_are_on_the_disk_before_the_name_is_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (done.append(f"fsync of {os.fstat(handle).st_size}"), fsync(handle))[1])
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append("rename"), replace(old, new))[1])
    files.write_atomically(tmp_path / "f", NEW)
    assert done == [f"fsync of {len(NEW)}", "rename"]


def test_a_full_disk_leaves_the_old_content_and_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f"
    path.write_bytes(OLD)

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TuneforkError) as caught:
        files.write_atomically(path, NEW)
    assert caught.value.message == f"cannot write {path}: No space left on device"
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(TuneforkError, match="cannot write .*file/f: "):
        files.write_atomically(tmp_path / "file" / "f", NEW)


def test_a_block_that_fails_changes_nothing_and_its_error_comes_through(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(OLD)
    with pytest.raises(KeyboardInterrupt), files.replacing(path) as fresh:
        fresh.write_bytes(NEW)
        raise KeyboardInterrupt
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_of_a_block_is_told_where_it_was_and_keeps_its_own_words(tmp_path: Path) -> None:
    def told(error: OSError) -> str:
        with pytest.raises(OSError) as caught, files.replacing(tmp_path / "f"):
            raise error
        return str(caught.value)

    assert told(OSError(errno.ENOSPC, "No space left on device")) == f"[Errno {errno.ENOSPC}] No space left on device: '{tmp_path / 'f'}'"
    assert told(OSError("not a plain file")) == "not a plain file"


def test_two_processes_of_the_same_number_do_not_meet(tmp_path: Path) -> None:
    """As in two containers on one disk."""
    path = tmp_path / "f"
    with files.replacing(path) as first:
        first.write_bytes(OLD)
        files.write_atomically(path, NEW)
        assert first.read_bytes() == OLD and path.read_bytes() == NEW
    assert path.read_bytes() == OLD and list(tmp_path.iterdir()) == [path]


def test_of_two_that_write_a_new_file_one_does(tmp_path: Path) -> None:
    files.write_synced(tmp_path / "f", OLD)
    with pytest.raises(FileExistsError):
        files.write_synced(tmp_path / "f", NEW)
    assert (tmp_path / "f").read_bytes() == OLD


def test_what_is_made_elsewhere_never_shows_beside_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with files.replacing(folder / "f", tmp_path / "elsewhere") as fresh:
        fresh.write_bytes(NEW)
        fresh.chmod(0o755)
        assert list(folder.iterdir()) == []
    assert (folder / "f").read_bytes() == NEW
    assert stat.S_IMODE((folder / "f").stat().st_mode) == 0o755
    assert list(tmp_path.iterdir()) == [folder]


WRITER = """
import sys
from pathlib import Path
from tunefork.base.files import write_atomically
while True:
    for letter in (b"a", b"b"):
        write_atomically(Path(sys.argv[1]), letter * 200_000)
"""


def test_a_reader_and_a_kill_find_one_content_or_the_other(tmp_path: Path) -> None:
    path = tmp_path / "f"
    files.write_atomically(path, b"a" * 200_000)
    root = Path(files.__file__).parents[2]
    with subprocess.Popen([sys.executable, "-P", "-c", WRITER, str(path)], env={**os.environ, "PYTHONPATH": str(root)}) as writer:
        try:
            seen: set[bytes] = set()
            deadline = time.monotonic() + 30
            while len(seen) < 2 and time.monotonic() < deadline:
                content = path.read_bytes()
                assert (len(content), len(set(content))) == (200_000, 1)
                seen.add(content[:1])
            assert seen == {b"a", b"b"}
        finally:
            writer.kill()
    assert len(set(path.read_bytes())) == 1


def test_a_copy_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "source", tmp_path / "folder" / "target"
    source.write_bytes(NEW)

    def cut(reader: BinaryIO, writer: BinaryIO, _size: int) -> None:
        writer.write(reader.read(1))
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.shutil, "copyfileobj", cut)
        with pytest.raises(OSError, match="No space"):
            files.copy_whole(source, target)
    assert not target.exists() and list(target.parent.iterdir()) == []
    files.copy_whole(source, target)
    assert target.read_bytes() == NEW


def test_a_write_that_fails_says_where(tmp_path: Path) -> None:
    """As a full disk does: the system names no file then, and `free space` must name the right disk."""
    with pytest.raises(OSError, match="No space left") as caught, files.replacing(tmp_path / "target"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.filename == str(tmp_path / "target")
