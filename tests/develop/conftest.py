"""Fixtures of the develop room."""

import os
from pathlib import Path

import pytest
from loading import module

workshops = module("develop_workshop", Path(__file__).with_name("workshop.py"))


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    """No setting of the caller's reaches what is under test."""
    for name in [name for name in os.environ if name.startswith(("VLLM_", "AITER_", "HSA_")) or name == "PYTHONPATH"]:
        monkeypatch.delenv(name)


@pytest.fixture
def workshop(tmp_path, monkeypatch):
    """A small project to develop, with the room's modules pointed at it."""
    made = workshops.Workshop(tmp_path).make()
    made.activate(monkeypatch.setattr)
    return made
