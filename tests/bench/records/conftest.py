"""A store of its own for every test."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tunefork.bench.records.store import Store


def _samples() -> ModuleType:
    spec = importlib.util.spec_from_file_location("record_samples", Path(__file__).with_name("samples.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    return _samples()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "records")
