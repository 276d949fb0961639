"""Fixtures of the develop room."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("develop_workshop", Path(__file__).with_name("workshop.py"))
assert spec is not None and spec.loader is not None
module = importlib.util.module_from_spec(spec)
sys.modules["develop_workshop"] = module
spec.loader.exec_module(module)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    """No setting of the caller's reaches what is under test."""
    for name in [name for name in os.environ if name.startswith(("VLLM_", "AITER_", "HSA_")) or name == "PYTHONPATH"]:
        monkeypatch.delenv(name)


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """A small project to develop, with the room's modules pointed at it."""
    made = module.Workshop(tmp_path).make()
    made.activate(monkeypatch.setattr)
    return made
