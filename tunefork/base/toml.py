"""TOML that somebody else may have written: whatever is wrong with it, nesting included, is a TOMLDecodeError."""

from __future__ import annotations

import tomllib
from tomllib import TOMLDecodeError
from typing import Any

__all__ = ["TOMLDecodeError", "loads"]


def loads(text: str) -> dict[str, Any]:
    """As tomllib.loads, which ends in RecursionError at some thousand brackets in a row."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise TOMLDecodeError("nested too deeply") from None
