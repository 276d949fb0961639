"""What every test may count on: the environment of the process is the one that pytest was started with."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

STARTED_WITH = dict(os.environ)


def restore() -> None:
    """Take back what importing torch or vLLM put into os.environ, which our child processes would inherit."""
    for name in os.environ.keys() - STARTED_WITH.keys():
        if not name.startswith("PYTEST_"):
            del os.environ[name]
    os.environ.update(STARTED_WITH)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Test modules have been imported."""
    restore()


@pytest.fixture(autouse=True)
def environment_is_restored() -> Iterator[None]:
    """Whatever a test or what it imports sets is gone after it."""
    yield
    restore()
