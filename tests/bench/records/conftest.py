"""A store of its own for every test."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
from loading import module

from tunefork.bench.records.store import Store


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    return module("record_samples", Path(__file__).with_name("samples.py"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "records")
