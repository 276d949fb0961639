"""What every test may count on: the environment of the process is the one that pytest was started with."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

STARTED_WITH = dict(os.environ)

# studies and tools are importable without the root on the path, where the link `kernels` would shadow the library of that name.
for name in ("studies", "tools"):
    folder = Path(__file__).resolve().parents[1] / name
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None and spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)


def restore() -> None:
    """Take back what importing torch or vLLM put into os.environ, which our child processes would inherit."""
    for name in os.environ.keys() - STARTED_WITH.keys():
        if not name.startswith("PYTEST_"):
            del os.environ[name]
    os.environ.update(STARTED_WITH)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Test modules have been imported."""
    restore()


@pytest.fixture(autouse=True, scope="session")
def commands_keep_their_help_option() -> Iterator[None]:
    """A command that a test calls without build.py around it gets build.py's `-h` too: click keeps the help option of a command's first call
    for the rest of the process, and `build.py COMMAND -h` would be unknown to every later test."""
    alone = CliRunner.invoke

    def invoke(self: CliRunner, cli: Any, args: Any = None, **extra: Any) -> Any:
        return alone(self, cli, args, **{"help_option_names": ["-h", "--help"], **extra})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CliRunner, "invoke", invoke)
        yield


@pytest.fixture(autouse=True)
def random_numbers_are_the_same() -> None:
    """torch's own generator starts anywhere: a test that draws from it would see other numbers in every run and in every order."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(autouse=True)
def environment_is_restored() -> Iterator[None]:
    """Whatever a test or what it imports sets is gone after it."""
    yield
    restore()
