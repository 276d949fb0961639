"""pytest on small files below this project's own conftest, started from the beginning: for tests of what that conftest does."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Entry points by name. Not every plugin there is: hypothesis alone takes longer than the rest of a start.
PLUGINS = {"timeout": "pytest_timeout", "randomly": "pytest_randomly", "xdist": "xdist"}


def prepare(folder: Path, files: Mapping[str, str]) -> None:
    """A root in ``folder`` with this project's conftest and ``files``: text by name below its tests/."""
    tests = folder / "tests"
    for name, text in files.items():
        (tests / name).parent.mkdir(parents=True, exist_ok=True)
        (tests / name).write_text(text)
    for path in (ROOT / "tests").glob("*.py"):
        if not path.name.startswith("test_"):  # conftest.py and what it registers
            shutil.copy(path, tests)
    for name in ("studies", "tools"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("")
    shutil.copy(ROOT / "pyproject.toml", folder)


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`pytest WORDS` in a root of ``prepare``, in an environment without this run's own settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TUNEFORK_EXAMPLES"))}
    plugins = [word for name, module in PLUGINS.items() if importlib.util.find_spec(module) for word in ("-p", name)]
    return subprocess.run([sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugins, *words],
                          env={**environment, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **variables}, cwd=folder, capture_output=True, text=True, check=False)  # fmt: skip
