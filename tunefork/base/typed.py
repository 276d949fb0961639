"""A path in a command that we print: as it is typed in a shell, whatever stands in its name."""

from __future__ import annotations

import shlex
from pathlib import Path


def typed(path: Path | str, more: str = "") -> str:
    """The path as one word of a shell. more: what is added to its name."""
    return shlex.quote(f"{path}{more}")
