"""build.py: the bootstrap, from a bare interpreter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from project import ROOT, project

BARE = Path(sys.base_prefix) / "bin" / "python3"


def build(root: Path, *args: str, python: Path = BARE) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(python), str(root / "build.py"), *args], cwd="/", capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_bootstrap_from_bare_python_recovers_and_then_starts_at_once(tmp_path: Path) -> None:
    root = project(tmp_path / "clone")
    (root / ".venv").mkdir()  # what a kill before the first step's end leaves
    first = build(root, "--version")
    assert first.returncode == 0 and first.stdout.startswith("build.py, version"), first.stderr
    assert first.stderr.splitlines() == [f"making {root}/.venv", "installing Tunefork there, editable, with what its tests need"]
    again = build(root, "--version")
    assert (again.returncode, again.stderr, again.stdout) == (0, "", first.stdout)
    (root / ".venv" / "tunefork-ready").unlink()  # what a kill before the last step leaves
    assert "installing Tunefork" in build(root, "--version").stderr
    assert build(root, "--version").stderr == ""
    inside = subprocess.run([str(root / ".venv/bin/python"), "-c", "import sys, tunefork, vllm_overrides; print(tunefork.__file__)"],
                            cwd="/", capture_output=True, text=True, check=True)
    assert Path(inside.stdout.strip()) == root / "tunefork/__init__.py"


@pytest.mark.slow
def test_a_bootstrap_that_fails_says_which_step_and_how_to_start_over(tmp_path: Path) -> None:
    root = project(tmp_path / "clone")
    text = (root / "pyproject.toml").read_text()
    (root / "pyproject.toml").write_text(text.replace('requires = ["setuptools', 'requires = ["no-such-package-anywhere", "setuptools'))
    done = build(root, "--version")
    assert done.returncode == 1
    assert "no-such-package-anywhere" in done.stderr and "ended with exit code" in done.stderr and "rm -rf" in done.stderr
    assert (root / ".venv" / "tunefork-ready").read_text() == "", "an empty mark says that the environment is not to be believed"


def test_an_environment_that_holds_the_project_starts_at_once() -> None:
    done = build(ROOT, "--version", python=Path(sys.executable))
    assert done.returncode == 0 and done.stderr == "", done.stderr


def test_an_old_python_is_told_so() -> None:
    old = f"import sys, runpy; sys.version_info = (3, 9, 0); sys.argv = ['build.py', 'apply']; runpy.run_path({str(ROOT / 'build.py')!r}, run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", old], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer" in done.stderr and "try: python3.11 " in done.stderr and done.stderr.endswith("build.py apply\n")


def test_our_folders_do_not_shadow_libraries() -> None:
    code = (
        f"import sys, runpy; sys.argv = ['build.py', '--no-venv', '--version']; sys.path.insert(0, {str(ROOT)!r})\n"
        f"try: runpy.run_path({str(ROOT / 'build.py')!r}, run_name='__main__')\nexcept SystemExit: pass\n"
        "import importlib.util; print('kernels', importlib.util.find_spec('kernels'), 'bench', importlib.util.find_spec('bench'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "kernels None bench None" in done.stdout
