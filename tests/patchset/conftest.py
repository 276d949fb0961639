"""Fixtures of the manager's tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.extend(str(folder) for folder in (HERE, *HERE.iterdir()) if folder.is_dir())  # world.py and the helpers in some tests are shared

from world import World, make  # noqa: E402 - needs the path above


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A small upstream, pinned, not yet applied."""
    return make(tmp_path)
