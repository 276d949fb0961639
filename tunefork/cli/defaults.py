"""``tunefork.toml`` beside pins.toml: this checkout's own defaults. What is typed, and a variable of the environment, goes before it.

    profile = "stage2"          # of serve, bench run, bench ab and bench profile
    team = "us"                 # of bench run --mode submit and bench submit
    cache = "/data/tunefork"    # as TUNEFORK_CACHE; relative to the file
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tunefork.base.errors import BadInput
from tunefork.base.layout import find_root

FILE = "tunefork.toml"
# Key of the file -> (command, ..., parameter) of each command that takes it.
OPTIONS = {
    "profile": (("serve", "name"), ("bench", "run", "profile"), ("bench", "ab", "profile"), ("bench", "profile", "profile")),
    "team": (("bench", "run", "team"), ("bench", "submit", "team")),
}
CACHE = "cache"


def read(root: Path) -> dict[str, str]:
    """The file's keys; {} where there is none. BadInput names what cannot be understood."""
    path = root / FILE
    if not path.is_file():
        return {}
    from tunefork.base import toml  # most calls read no such file

    found = toml.read(path)
    for key, value in found.items():
        if key not in (*OPTIONS, CACHE):
            raise BadInput(f"{path}: no such key {key!r}", f"known: {', '.join((*OPTIONS, CACHE))}")
        if not isinstance(value, str) or not value:
            raise BadInput(f"{path}: {key}: expected a text, got {value!r}", f'{key} = "..."')
    return found


def default_map() -> dict[str, Any]:
    """The defaults by command, as click takes them; the cache becomes TUNEFORK_CACHE. {} outside a checkout."""
    try:
        root = find_root()
    except BadInput:
        return {}
    made: dict[str, Any] = {}
    for key, value in read(root).items():
        if key == CACHE:
            os.environ.setdefault("TUNEFORK_CACHE", str(root / Path(value).expanduser()))
        for *commands, parameter in OPTIONS.get(key, ()):
            inner = made
            for command in commands:
                inner = inner.setdefault(command, {})
            inner[parameter] = value
    return made
