"""The command that brings one of our extras (pyproject.toml) into this Python."""

from __future__ import annotations

import sys
from pathlib import Path

from tunefork.base.typed import typed

ROOT = Path(__file__).resolve().parents[2]


def installing(extra: str, root: Path = ROOT) -> str:
    """From the checkout where this is one: there the name may be installed nowhere, and an index has whatever somebody put there under it."""
    ours = (root / "pyproject.toml").is_file() and (root / "build.py").is_file()
    return f"{typed(sys.executable)} -m pip install " + (f"-e {typed(f'{root}[{extra}]')}" if ours else f"'tunefork[{extra}]'")
