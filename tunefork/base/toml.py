"""TOML that somebody else may have written: whatever is wrong with it, nesting included, is a TOMLDecodeError, and of a file a BadInput."""

from __future__ import annotations

import tomllib
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Any

from tunefork.base.errors import BadInput

__all__ = ["TOMLDecodeError", "loads", "read"]


def loads(text: str) -> dict[str, Any]:
    """As tomllib.loads, which ends in RecursionError at some thousand brackets in a row."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise TOMLDecodeError("nested too deeply") from None


def read(path: Path) -> dict[str, Any]:
    """A file's content. Errors: BadInput where it is not TOML, OSError where it cannot be read."""
    try:
        return loads(path.read_text(encoding="utf-8"))
    except (TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not TOML: {error}", "correct the file") from None
