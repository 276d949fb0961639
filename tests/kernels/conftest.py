"""Scripts of cases in Triton's interpreter, which TRITON_INTERPRET switches on for a whole process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def cases() -> Callable[..., dict[str, dict[str, Any]]]:
    """What a script of this folder prints, a JSON line per case, by name."""

    def run(script: str, *words: str) -> dict[str, dict[str, Any]]:
        done = subprocess.run([sys.executable, str(Path(__file__).with_name(script)), *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}

    return run
