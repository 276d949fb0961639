"""Fixtures of the manager's tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # world.py is shared by the tests of this room

from world import World, make


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A small upstream, pinned, not yet applied."""
    return make(tmp_path)
