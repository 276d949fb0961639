"""build.py's first run, when it is killed or stopped, runs twice at once, may not write, finds a full disk or an environment that no longer holds."""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

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


@pytest.fixture
def build_py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """build.py as a module, whose .venv is in tmp_path."""
    spec = importlib.util.spec_from_file_location("bootstrapping", ROOT / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    venv = tmp_path / ".venv"
    for name, value in (("VENV", venv), ("MARK", venv / "tunefork-ready"), ("BEGUN", venv / "tunefork-begun"), ("PYTHON", venv / "bin" / "python")):
        monkeypatch.setattr(module, name, str(value))
    return module


def test_what_was_begun_and_never_finished_is_begun_again(build_py: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill while pip itself was installed left half a pip, which no later run mended. What is not ours, or was finished once, is not emptied."""
    venv, seen = tmp_path / ".venv", []
    monkeypatch.setattr(build_py, "step", lambda *_, **__: seen.append(sorted(path.name for path in venv.iterdir())))
    (venv / "lib").mkdir(parents=True)
    (venv / "pyvenv.cfg").touch()
    build_py.make(0)  # a user's own
    assert seen == [["lib", "pyvenv.cfg", "tunefork-ready"]] * 2 and build_py.text(build_py.MARK) == build_py.ready_mark() and not build_py.ready()
    (venv / "tunefork-begun").touch()
    (venv / "link").symlink_to(tmp_path)
    build_py.make(0)
    assert seen[2:] == [["tunefork-begun"]] * 2 and [path.name for path in venv.iterdir()] == ["tunefork-ready"]


def test_a_folder_that_is_no_environment_is_left_alone(build_py: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conda prefix, or any folder: its first run, stopped, had said `begun`, and the second emptied it."""
    monkeypatch.setattr(build_py, "step", lambda *_, **__: pytest.fail("a step ran"))
    mine = tmp_path / ".venv" / "conda-meta" / "history"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    for _ in range(2):
        with pytest.raises(SystemExit, match=r"holds 'conda-meta' and no pyvenv.cfg(.|\n)*try: mv .*\.venv .*\.venv\.mine"):
            build_py.make(0)
    assert mine.read_text() == "mine" and [path.name for path in (tmp_path / ".venv").iterdir()] == ["conda-meta"]


@pytest.mark.parametrize("gone", ["python", "python3"])
def test_an_interpreter_that_is_gone_is_had_anew(gone: str, build_py: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """.venv/bin/python is a link to one of the machine's, which another node, or an update, has not; Python's venv left it as it was."""
    venv = [str(BARE), "-m", "venv", "--without-pip", str(tmp_path / ".venv")]
    subprocess.run(venv, check=True)
    bin_ = tmp_path / ".venv" / "bin"
    (bin_ / gone).unlink()
    (bin_ / gone).symlink_to("/nowhere/python3")
    steps: list[str] = []

    def step(line: str, *_: object, **__: object) -> None:
        steps.append(line)
        subprocess.run(venv if len(steps) == 1 else [bin_ / "python", "-c", ""], check=True)

    monkeypatch.setattr(build_py, "step", step)
    assert not build_py.ready()
    build_py.make(0)
    assert len(steps) == 2 and os.access(bin_ / "python3", os.X_OK) and build_py.text(build_py.MARK) == build_py.ready_mark()


def test_ctrl_c_is_one_line(tmp_path: Path) -> None:
    root = light(tmp_path / "clone")
    child = started(root)
    while not (root / ".venv" / "bin").exists() and child.poll() is None:
        time.sleep(0.002)
    os.killpg(child.pid, signal.SIGINT)
    out, err = child.communicate()
    assert child.returncode == 130 and out == "" and err.splitlines() == [f"making {root}/.venv", "stopped; the next call goes on"]
    assert (root / ".venv" / "tunefork-begun").exists() and (root / ".venv" / "tunefork-ready").read_text() == ""


@pytest.mark.parametrize("said", [errno.ENOSPC, errno.EDQUOT])
def test_a_step_that_found_the_disk_full_is_one_line(said: int, build_py: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """pip says it among much else; what venv runs says it, and venv does not pass it on."""
    (tmp_path / ".venv").mkdir()
    fails, tells = [str(BARE), "-c", "raise SystemExit('it failed')"], [str(BARE), "-c", f"raise OSError({said}, {os.strerror(said)!r})"]
    for argv, why in ((tells, None), (fails, tells)):
        with pytest.raises(OSError, match=os.strerror(said)) as caught:
            build_py.step("doing", argv, 0, why)
        assert caught.value.errno == said and capsys.readouterr().err == "doing\n"
    with pytest.raises(SystemExit) as ended:
        build_py.unwritable(caught.value)
    assert str(ended.value).startswith(f"error: cannot make {tmp_path}/.venv: {os.strerror(said)} (free: ") and "TMPDIR" in str(ended.value)
    with pytest.raises(SystemExit, match="ended with exit code 1"):
        build_py.step("doing", fails, 0, fails)
    assert capsys.readouterr().err == "doing\nit failed\nit failed\n\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small tmpfs needs root")
def test_a_full_disk_and_one_that_is_read_only(tmp_path: Path) -> None:
    """Full of names, which takes no second; full of bytes, where ensurepip and pip find it, it is the same line (seen with 2 and 30 MB)."""
    if shutil.which("mount") is None:
        pytest.skip("NOT TESTED: no mount on PATH")
    root = light(tmp_path / "clone")
    (root / ".venv").mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,nr_inodes=6", "none", str(root / ".venv")], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let tests mount a tmpfs")
    try:
        for options, reason in ((None, "No space left on device (free: "), ("remount,ro", "Read-only file system\n")):
            if options:
                subprocess.run(["mount", "-o", options, str(root / ".venv")], check=True)
            done = build(root)
            lines = done.stderr.partition(f"making {root}/.venv\n")[2] if not options else done.stderr
            assert done.returncode == 1 and lines.startswith(f"error: cannot make {root}/.venv: {reason}") and len(lines.splitlines()) == 2, done.stderr
            assert options or f" MB, 0 files in {root}/.venv" in lines, "2 MB are free: it is names that ran out"
        assert (root / ".venv" / "tunefork-begun").exists() and (root / ".venv" / "tunefork-ready").read_text() == ""
    finally:
        subprocess.run(["umount", str(root / ".venv")], check=True)


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
