"""The artefact store: whole or absent, verified at use, proof against a full disk and against edits of what was placed."""

import json
import os
import shutil
import subprocess
import sys
from multiprocessing import get_context

import pytest

from tunefork.base.errors import BuildError
from tunefork.base.layout import Layout
from tunefork.develop import store

DIGEST = "d" * 64


@pytest.fixture
def layout(tmp_path):
    return Layout(tmp_path / "project", tmp_path / "cache")


def fill(folder):
    (folder / "vllm").mkdir()
    (folder / "vllm" / "_C.abi3.so").write_bytes(b"operators")
    (folder / "vllm" / "_C.abi3.so").chmod(0o755)


def test_what_is_added_is_found_and_placed(layout, tmp_path):
    added = store.add(layout, DIGEST, fill)
    assert store.find(layout, DIGEST) == added
    store.place(added, tmp_path / "tree")
    placed = tmp_path / "tree" / "vllm" / "_C.abi3.so"
    assert (placed.read_bytes(), placed.stat().st_mode & 0o777) == (b"operators", 0o755)


def test_overwriting_a_placed_file_in_place_leaves_the_store_whole(layout, tmp_path):
    added = store.add(layout, DIGEST, fill)
    store.place(added, tmp_path / "one")
    with (tmp_path / "one" / "vllm" / "_C.abi3.so").open("r+b") as file:
        file.write(b"XXXX")
    store.place(added, tmp_path / "two")
    assert (tmp_path / "two" / "vllm" / "_C.abi3.so").read_bytes() == b"operators"


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"Operators"), lambda path: path.unlink()])
def test_a_damaged_artefact_is_never_placed_and_is_dropped(layout, tmp_path, damage):
    added = store.add(layout, DIGEST, fill)
    damage(added.folder / "vllm" / "_C.abi3.so")
    target = tmp_path / "tree" / "vllm" / "_C.abi3.so"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"before")
    with pytest.raises(store.DamagedArtefact):
        store.place(added, tmp_path / "tree")
    assert target.read_bytes() == b"before"
    assert store.find(layout, DIGEST) is None
    assert [path.name for path in target.parent.iterdir()] == ["_C.abi3.so"]


def test_an_artefact_without_manifest_does_not_exist_and_is_replaced(layout):
    folder = layout.cache / "artefacts" / DIGEST
    folder.mkdir(parents=True)
    (folder / "rest").write_text("of an old program")
    assert store.find(layout, DIGEST) is None
    assert store.add(layout, DIGEST, fill).files.keys() == {"vllm/_C.abi3.so"}


def test_a_failing_fill_leaves_nothing(layout):
    def failing(folder):
        fill(folder)
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        store.add(layout, DIGEST, failing)
    assert list((layout.cache / "artefacts").iterdir()) == []


def test_a_full_disk_is_one_clear_line_and_nothing_half_written_is_trusted(layout):
    """A process that may write no file above 64 KiB stands for the full disk: the same error path, the same place."""
    code = f"""
import resource, signal
from pathlib import Path
from tunefork.develop import store
from tunefork.base.errors import BuildError
from tunefork.base.layout import Layout
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    store.add(Layout(Path({str(layout.root)!r}), Path({str(layout.cache)!r})), {DIGEST!r},
              lambda folder: (folder / "big.so").write_bytes(bytes(1 << 20)))
except BuildError as error:
    print(error.message, "|", error.remedy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"no room to write compiled files below {layout.cache}")
    assert "clean --cache" in done.stdout
    assert list((layout.cache / "artefacts").iterdir()) == []
    assert store.find(layout, DIGEST) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_really_full_disk(layout):
    if shutil.which("mount") is None:
        pytest.skip("NOT TESTED: no mount on PATH")
    layout.cache.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(layout.cache)], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let tests mount a tmpfs")
    try:
        with pytest.raises(BuildError, match="no room to write compiled files"):
            store.add(layout, DIGEST, lambda folder: (folder / "big.so").write_bytes(bytes(1 << 20)))
        assert list((layout.cache / "artefacts").iterdir()) == []
        subprocess.run(["mount", "-o", "remount,size=8m", str(layout.cache)], check=True)
        assert store.add(layout, DIGEST, lambda folder: (folder / "big.so").write_bytes(bytes(1 << 20))).digest == DIGEST
    finally:
        subprocess.run(["umount", str(layout.cache)], check=True)


@pytest.mark.parametrize(("place", "helps"), [("cache", "make it writable, or set TUNEFORK_CACHE to a disk that is"),
                                              ("checkout", "make it writable, or develop in a clone on a disk that is")])  # fmt: skip
def test_what_cannot_be_written_names_what_helps_there(place, helps, layout, tmp_path):
    """A file stands for a folder that may not be written: root may write all others."""
    artefact = store.add(Layout(layout.root, tmp_path / "other"), DIGEST, fill)
    closed, other = layout.root if place == "checkout" else layout.cache / "artefacts", tmp_path / "elsewhere"
    closed.parent.mkdir(parents=True, exist_ok=True)
    closed.rmdir() if closed.is_dir() else None
    closed.write_bytes(b"")
    with pytest.raises(BuildError, match=f"cannot write below {closed}") as caught:
        store.place(artefact, closed) if place == "checkout" else store.add(layout, DIGEST, fill)
    assert caught.value.remedy == helps
    store.place(artefact, other) if place == "checkout" else store.add(Layout(layout.root, other), DIGEST, fill)


def test_an_artefact_that_another_command_removed_is_made_by_the_same_command(layout, monkeypatch):
    """`clean --cache` beside it, in the moment after it was published."""
    with monkeypatch.context() as patch, pytest.raises(BuildError, match="vanished from") as caught:
        patch.setattr(store, "publish", lambda scratch, _final: shutil.rmtree(scratch))
        store.add(layout, DIGEST, fill)
    assert caught.value.remedy == "run the command again"
    assert store.add(layout, DIGEST, fill).digest == DIGEST


def add_once(root, cache, content):
    store.add(Layout(root, cache), DIGEST, lambda folder: (folder / "file.so").write_bytes(content))


def test_two_processes_at_once_leave_one_whole_artefact(layout):
    context = get_context("fork")
    both = [context.Process(target=add_once, args=(layout.root, layout.cache, bytes([number]) * 1000)) for number in (1, 2)]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert [path.name for path in (layout.cache / "artefacts").iterdir()] == [DIGEST]
    found = store.find(layout, DIGEST)
    manifest = json.loads((found.folder / "manifest.json").read_text())
    assert manifest["files"] == {"file.so": store.sync_and_hash(found.folder / "file.so")}
