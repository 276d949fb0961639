"""build.py's first run, when it is killed, runs twice at once, or may not write."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from project import ROOT, project

pytestmark = pytest.mark.slow
BARE = Path(sys.base_prefix) / "bin" / "python3"
EVERYBODYS = Path("/usr/bin/python3")  # BARE may lie in root's own folder
OTHER = 54321


def light(folder: Path) -> Path:
    """A copy of the project that needs little: what is tested is the making, not what is made."""
    root = project(folder)
    text = (root / "pyproject.toml").read_text()
    for name, wanted in (("dependencies", '["click>=8.1,<9", "rich>=13.9,<16"]'), ("test", "[]")):
        text = re.sub(rf"(?s)\n{name} = \[.*?\n\]", f"\n{name} = {wanted}", text)
    (root / "pyproject.toml").write_text(text)
    return root


def started(root: Path, python: Path = BARE) -> subprocess.Popen[str]:
    return subprocess.Popen([str(python), str(root / "build.py"), "--version"], cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True)


def build(root: Path, python: Path = BARE) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(python), str(root / "build.py"), "--version"], cwd="/", capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose environment two processes made at once; a blank is in its path."""
    root = light(tmp_path_factory.mktemp("boot") / "my project")
    both = [started(root), started(root)]
    said = [each.communicate() for each in both]
    assert [each.returncode for each in both] == [0, 0], said
    lines = [line for _, err in said for line in err.splitlines()]
    assert sorted(line.partition(" ")[0] for line in lines) == ["another", "installing", "making"], lines
    return root


def test_two_first_runs_make_it_once(made: Path) -> None:
    assert build(made).stderr == ""


def test_what_was_begun_and_never_finished_is_begun_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill while pip itself was installed left half a pip, which no later run mended. What is not ours, or was finished once, is not emptied."""
    spec = importlib.util.spec_from_file_location("bootstrapping", ROOT / "build.py")
    assert spec is not None and spec.loader is not None
    build_py = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build_py)
    venv, seen = tmp_path / ".venv", []
    for name, value in (("VENV", venv), ("MARK", venv / "tunefork-ready"), ("BEGUN", venv / "tunefork-begun"), ("PYTHON", venv / "bin" / "python")):
        monkeypatch.setattr(build_py, name, str(value))
    monkeypatch.setattr(build_py, "step", lambda *_: seen.append(sorted(path.name for path in venv.iterdir())))
    (venv / "lib").mkdir(parents=True)
    (venv / "pyvenv.cfg").touch()
    build_py.make(0)  # a user's own
    assert seen == [["lib", "pyvenv.cfg", "tunefork-ready"]] * 2 and build_py.text(build_py.MARK) == build_py.ready_mark() and not build_py.ready()
    (venv / "tunefork-begun").touch()
    (venv / "link").symlink_to(tmp_path)
    build_py.make(0)
    assert seen[2:] == [["tunefork-begun"]] * 2 and [path.name for path in venv.iterdir()] == ["tunefork-ready"]


@pytest.fixture
def shared() -> Iterator[Path]:
    """A project that another user may read and not write."""
    if os.getuid() != 0:
        pytest.skip("NOT TESTED: another user needs root")
    folder = Path(tempfile.mkdtemp(prefix="tunefork shared-"))
    folder.chmod(0o755)
    (folder / "home").mkdir()
    os.chown(folder / "home", OTHER, OTHER)
    yield project(folder / "project")
    shutil.rmtree(folder)


@pytest.mark.parametrize("begun", [False, True])
def test_another_users_checkout_is_one_line_and_a_copy_helps(shared: Path, begun: bool) -> None:
    home = shared.parent / "home"
    if begun:  # and their environment is half made
        (shared / ".venv").mkdir()
    around = {**os.environ, "HOME": str(home)}
    done = subprocess.run([str(EVERYBODYS), str(shared / "build.py"), "--version"], cwd="/", capture_output=True, text=True, check=False, user=OTHER, group=OTHER, env=around)
    assert done.returncode == 1 and done.stderr.startswith(f"error: cannot make {shared}/.venv: Permission denied"), done.stderr
    printed = re.search("`(mkdir .*)`", done.stderr)
    assert printed is not None and len(done.stderr.splitlines()) == 2
    subprocess.run(["bash", "-c", printed[1]], check=True, user=OTHER, group=OTHER, env=around, cwd="/")
    assert (home / "tunefork" / "build.py").is_file() and (home / "tunefork" / "patches").is_dir() and not (home / "tunefork" / ".venv").exists()
