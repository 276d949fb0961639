"""Libraries that only some commands need: asked for when such a command is called."""

from __future__ import annotations

import importlib.util

from tunefork.base.errors import MissingTool
from tunefork.base.extras import installing

NEEDS = {"checkpoint": ("numpy",), "ab": ("httptools", "numpy", "scipy"), "report": ("numpy", "scipy", "plotly", "matplotlib")}


def require(extra: str) -> None:
    """MissingTool where a library of one of our extras is not installed."""
    missing = [name for name in NEEDS[extra] if importlib.util.find_spec(name) is None]
    if missing:
        command, extra = ("checkpoint check", "report") if extra == "checkpoint" else (f"bench {extra}", extra)
        raise MissingTool(f"{command} needs {', '.join(missing)}, not installed here", installing(extra))


def require_kernels() -> None:
    """MissingTool where what compiles or runs a kernel is not installed."""
    missing = [name for name in ("torch", "triton") if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingTool(f"the kernels need {', '.join(missing)}, which this Python lacks", "python3 build.py develop")
