"""Modules of the tests by their files: folders of tests are no packages, and several have a `samples.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def module(name: str, path: Path, *folders: str) -> ModuleType:
    """A module by its file, importable by that name from then on. folders: those of a package, which is not executed."""
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=list(folders) or None)
    assert spec is not None and spec.loader is not None
    sys.modules[name] = made = importlib.util.module_from_spec(spec)
    if not folders:
        spec.loader.exec_module(made)
    return made
