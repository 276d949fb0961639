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


# (file, what it imports inside a function, the contract that forbids it): where an import is hidden that made a circle otherwise.
HIDDEN = [
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
]  # fmt: skip


def test_no_folder_is_without_its_init() -> None:
    """import-linter (2.17) looks into no folder that has no __init__.py, and calls kept what is broken there; setuptools leaves it out."""
    bare = {path.parent for package in ("tunefork", "vllm_overrides") for path in (ROOT / package).rglob("*.py") if not (path.parent / "__init__.py").exists()}
    assert not bare, f"expected an __init__.py beside each module, missing in: {', '.join(sorted(str(each.relative_to(ROOT)) for each in bare))}"


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What import-linter says of each broken contract, where a copy of the packages has every import of HIDDEN: one run takes seconds of CPU."""
    copy = tmp_path_factory.mktemp("spoiled")
    for package in ("tunefork", "vllm_overrides"):
        shutil.copytree(ROOT / package, copy / package, ignore=lambda folder, names: [
            name for name in names if name == "__pycache__" or not (name.endswith(".py") or Path(folder, name).is_dir())])
    shutil.copy(ROOT / "pyproject.toml", copy)
    for number, (module, imported, _) in enumerate(HIDDEN):
        path = copy / module
        path.write_text(f"{path.read_text()}\n\ndef hidden_{number}() -> None:\n    import {imported}\n")
    done = lint(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    kept, _, said = done.stdout.partition("Broken contracts")
    titles = [line.removesuffix(" BROKEN") for line in kept.splitlines() if line.endswith(" BROKEN")]
    found, title = dict.fromkeys(titles, ""), ""
    for line in said.splitlines():
        if line in titles:
            title = line
        elif title:
            found[title] += line + "\n"
    return found


def test_every_import_goes_the_stated_way() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 kept, 0 broken" in done.stdout


@pytest.mark.parametrize(("module", "imported", "contract"), HIDDEN)
def test_an_import_the_other_way_is_found(broken: dict[str, str], module: str, imported: str, contract: str) -> None:
    importer = module.removesuffix(".py").replace("/", ".")
    assert f"{importer} -> {imported} (" in broken[contract]
