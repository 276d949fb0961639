"""`clean` removes builds and nothing that anyone wrote."""

import json
import os
import time

from click.testing import CliRunner
from develop_workshop import CPU_MACHINE, git

from tunefork.cli.clean import clean as command
from tunefork.develop import install
from tunefork.develop.clean import clean
from tunefork.develop.installed import read_mark


def everything(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts}


def test_builds_go_and_work_stays(workshop):
    before = everything(workshop.layout.work)
    workshop.layout.checkout("vllm", "base").parent.mkdir(exist_ok=True)
    git(workshop.vllm, "worktree", "add", "-q", "--detach", str(workshop.layout.checkout("vllm", "base")))
    install.develop(workshop.layout, "cpu", machine=CPU_MACHINE)
    (workshop.vllm / "vllm" / "model.py").write_text("an edit\n")
    (workshop.vllm / "vllm" / "fresh.py").write_text("untracked work\n")
    (workshop.vllm / "notes.so").write_text("ignored, but outside the package\n")
    (workshop.layout.checkout("vllm", "base") / "vllm" / "_C.abi3.so").write_bytes(b"x" * 1000)
    removed = clean(workshop.layout)
    names = {str(item.path.relative_to(workshop.layout.work)): item.size for item in removed}
    assert names["vllm@base/vllm/_C.abi3.so"] == 1000
    assert {"vllm/build", "vllm/vllm/_C_AVX2.abi3.so", "vllm/vllm/_C.abi3.so", "logs", "develop"} <= set(names)
    left = everything(workshop.layout.work)
    assert left["vllm/vllm/model.py"] == b"an edit\n"
    assert left["vllm/vllm/fresh.py"] == b"untracked work\n"
    assert "vllm/notes.so" in left
    assert before.keys() <= left.keys()
    assert not [name for name in left if name.endswith(".so") and name != "vllm/notes.so"]
    assert read_mark() is None
    assert install.develop(workshop.layout, "cpu", machine=CPU_MACHINE).rebuilt == ("vllm",)


def test_packs_that_a_full_disk_broke_off_go_and_those_being_written_stay(workshop):
    packs = workshop.vllm / ".git" / "objects" / "pack"
    packs.mkdir(exist_ok=True)
    for name, age in (("tmp_pack_old", 2 * 86400), ("tmp_pack_now", 60), ("pack-1234.pack", 2 * 86400)):
        (packs / name).write_bytes(b"x" * 7)
        os.utime(packs / name, (time.time() - age,) * 2)
    assert [(item.path.name, item.size) for item in clean(workshop.layout) if item.path.parent == packs] == [("tmp_pack_old", 7)]
    assert sorted(path.name for path in packs.iterdir() if path.stat().st_size == 7) == ["pack-1234.pack", "tmp_pack_now"]


def test_what_git_tracks_is_never_removed(workshop):
    workshop.commit_all(workshop.vllm, {"build/helper.py": "", ".gitignore": "*.so\n__pycache__/\n"}, "tracked build folder")
    (workshop.vllm / "vllm" / "kept.so").write_text("mine")
    git(workshop.vllm, "add", "-f", "vllm/kept.so")
    git(workshop.vllm, "commit", "-q", "-m", "a tracked library")
    clean(workshop.layout)
    assert (workshop.vllm / "build" / "helper.py").exists()
    assert (workshop.vllm / "vllm" / "kept.so").exists()


def test_the_cache_goes_only_when_asked(workshop):
    install.develop(workshop.layout, "cpu", machine=CPU_MACHINE)
    clean(workshop.layout)
    assert (workshop.layout.cache / "artefacts").is_dir()
    for name in ("git", "gfx950-parts", "gfx950", "upstream-tests"):
        (workshop.layout.cache / name).mkdir()
    clean(workshop.layout, cache=True)
    assert [path.name for path in workshop.layout.cache.iterdir()] == ["git"]


def test_a_dry_run_removes_nothing(workshop, monkeypatch):
    install.develop(workshop.layout, "cpu", machine=CPU_MACHINE)
    before = everything(workshop.layout.work)
    monkeypatch.setattr("tunefork.cli.clean.Layout.here", lambda: workshop.layout)
    done = CliRunner().invoke(command, ["--dry-run", "--json"])
    assert {item["why"] for item in json.loads(done.output)} >= {"build folder", "compiled", "logs"}
    assert everything(workshop.layout.work) == before
    assert read_mark() is not None
    assert "would free" in CliRunner().invoke(command, ["--dry-run"]).output
    assert "freed" in CliRunner().invoke(command, []).output
    assert CliRunner().invoke(command, []).output == "nothing to remove\n"


def test_another_clones_install_is_left_as_it_is(workshop, monkeypatch):
    install.develop(workshop.layout, "cpu", machine=CPU_MACHINE)
    other = type(workshop.layout)(workshop.folder / "other", workshop.layout.cache)
    other.root.mkdir()
    other.pins.write_bytes(workshop.layout.pins.read_bytes())
    assert clean(other) == []
    assert read_mark() is not None
