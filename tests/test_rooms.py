"""Imports go one way: pyproject.toml states it, import-linter finds every way against it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINT = "import sys; from importlinter.cli import lint_imports_command; sys.argv[0] = 'lint-imports'; lint_imports_command()"


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """import-linter on a tree, as CI runs it; it puts the current folder first on its path."""
    command = [sys.executable, "-P", "-c", LINT, "--no-logo", "--no-cache"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and the configuration, to be spoiled."""
    for package in ("tunefork", "vllm_overrides"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=lambda folder, names: [
            name for name in names if name == "__pycache__" or not (name.endswith(".py") or Path(folder, name).is_dir())])
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_import_goes_the_stated_way() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(("module", "imported", "contract"), [
    ("tunefork/base/files.py", "tunefork.patchset.git", "tunefork: cli > bench > develop > patchset > base; kernels > base"),
    ("tunefork/kernels/registry.py", "tunefork.patchset.git", "tunefork: cli > bench > develop > patchset > base; kernels > base"),
    ("tunefork/patchset/git.py", "tunefork.develop.step", "tunefork: cli > bench > develop > patchset > base; kernels > base"),
    ("tunefork/base/files.py", "vllm_overrides.registry", "tunefork: only cli imports vllm_overrides"),
    ("vllm_overrides/registry.py", "tunefork.patchset.git", "vllm_overrides: only kernels and base"),
    ("tunefork/patchset/checkout/park.py", "tunefork.patchset.rebase.resolve", "patchset"),
    ("tunefork/patchset/author/owner.py", "tunefork.patchset.inspect.graph", "patchset"),
    ("tunefork/develop/store.py", "tunefork.develop.install", "develop"),
    ("tunefork/kernels/mxfp4/format.py", "tunefork.kernels.registry", "kernels"),
    ("tunefork/bench/records/query.py", "tunefork.bench.run.score", "bench"),
])  # fmt: skip
def test_an_import_the_other_way_is_found(copy: Path, module: str, imported: str, contract: str) -> None:
    path = copy / module
    # Inside a function: where an import is hidden that made a circle otherwise.
    path.write_text(f"{path.read_text()}\n\ndef hidden() -> None:\n    import {imported}\n")
    done = lint(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{contract} BROKEN" in done.stdout
    assert module.removesuffix(".py").replace("/", ".") in done.stdout.partition("Broken contracts")[2]


def test_a_room_that_is_not_listed_is_found(copy: Path) -> None:
    (copy / "tunefork/bench/attic.py").write_text('"""A room that nobody placed."""\n')
    done = lint(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "tunefork.bench.attic" in done.stdout
