"""What the machine answers and what its environment says: whatever it is, one line or nothing, and nothing of a folder's configuration runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tunefork.base.errors import BadInput
from tunefork.bench.machine import gpu_memory, gpu_processes, host
from tunefork.cli.kernels import compare

DEEP = "[" * 100_000
USER = ("-c", "user.name=A", "-c", "user.email=a@example.org")


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *USER, *words], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def trap(tmp_path: Path) -> tuple[Path, Path]:
    """A repository whose configuration runs a program for every look at it, and the file which that program makes."""
    tree, ran = tmp_path / "tree", tmp_path / "ran"
    (tree / compare.TRITON).mkdir(parents=True)
    git(tree, "init", "-q")
    (tree / compare.TRITON / "k.py").write_text("x = 1\n")
    (tree / ".gitattributes").write_text("*.py filter=f\n")
    git(tree, "add", ".")
    git(tree, "commit", "-qm", "x")
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {ran}\ncat 2>/dev/null\n")
    program.chmod(0o755)
    for name in ("core.fsmonitor", "filter.f.smudge", "filter.f.clean"):
        git(tree, "config", name, str(program))
    (tree / compare.TRITON / "k.py").write_text("x = 2\n")
    return tree, ran


def test_a_folders_commit_is_read_without_its_programs(trap: tuple[Path, Path]) -> None:
    tree, ran = trap
    assert host.project_commit(tree).endswith("+") and not ran.exists()
    assert host.project_commit(tree.parent / "gone") == "unknown"


def test_aiters_folder_at_its_pin_is_written_without_its_programs(trap: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, ran = trap
    (tmp_path / "into").mkdir()
    monkeypatch.setattr(compare.Layout, "checkout", lambda *_: tree)
    commit = git(tree, "rev-parse", "HEAD")
    monkeypatch.setattr(compare.pins, "load", lambda _: {"aiter": type("Pin", (), {"commit": commit})})
    compare.pinned(tmp_path / "into")
    assert (tmp_path / "into" / compare.TRITON / "k.py").read_text() == "x = 1\n" and not ran.exists()


@pytest.mark.parametrize("said", [DEEP, "[]", "5", "null", '{"gpu_data": 5}', '[{"gpu": {}}]', '{"card0": []}', '[{"gpu": 0, "process_list": {"a": 1}}]', "\ud800"])
def test_a_tool_that_prints_anything(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_memory, "ask", lambda *_: said)
    monkeypatch.setattr(host, "ask", lambda *words: said if words[0] == "amd-smi" else "")
    monkeypatch.setattr(gpu_memory.shutil, "which", lambda name: name)
    assert gpu_memory.reading(["0"]) == {} and host.gpus() == () and gpu_processes.amd(said) == []


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "soon", "1e9"])
def test_a_time_that_nobody_waits(text: str) -> None:
    with pytest.raises(BadInput, match="TUNEFORK_RELEASE_S=.*: expected seconds"):
        gpu_memory.seconds(text)
    assert gpu_memory.seconds("0") == 0


def test_a_user_without_a_name_and_a_home() -> None:
    """As in a container that runs as a number: TUNEFORK_CACHE alone must do, and without it one line says so."""
    if os.getuid() != 0:
        pytest.skip("NOT TESTED: another user needs root")
    code = ("import os, sys, shlex, tunefork.cli.main, tunefork.patchset.checkout.backups\nfrom tunefork.cli.main import main\n"
            "os.setuid(54321)\nsys.exit(main(['backup']))")
    around = {name: value for name, value in os.environ.items() if name not in ("HOME", "TUNEFORK_CACHE", "XDG_CACHE_HOME")}
    done = subprocess.run([sys.executable, "-c", code], env=around, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "HOME is not set" in done.stderr and "try: export TUNEFORK_CACHE=FOLDER, or HOME" in done.stderr, done.stderr
    done = subprocess.run([sys.executable, "-c", "from tunefork.base.layout import user_cache; import os; os.setuid(54321); print(user_cache())"],
                          env={**around, "TUNEFORK_CACHE": "/x/cache", "XDG_CACHE_HOME": "rel"}, capture_output=True, text=True, check=False)
    assert done.stdout == "/x/cache\n", done.stderr
