"""The other pins of pins.toml: commits that somebody may want and this project does not stand on. Nothing moves to one by itself."""

from __future__ import annotations

from dataclasses import dataclass

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.patchset.sources import pins


@dataclass(frozen=True)
class Alternative:
    """One other pin of an upstream. tag: what git is asked for.  commit: "" where nobody here could ask.  state: what is known of it."""

    upstream: str
    name: str
    tag: str
    commit: str
    state: str
    why: str


def load(layout: Layout, upstream: str) -> dict[str, Alternative]:
    """The alternatives of one upstream by name, in the file's order."""
    tables = pins.alternatives(layout, upstream)
    return {name: Alternative(upstream, name, **{"commit": "", **table}) for name, table in tables.items()}


def named(layout: Layout, upstream: str, name: str) -> Alternative:
    """One of them; BadInput lists the names that there are."""
    known = load(layout, upstream)
    if name not in known:
        listed = ", ".join(known) or "none"
        raise BadInput(f"pins.toml has no alternative pin {name!r} of {upstream}; known: {listed}",
                       f"python3 build.py rebase {upstream} --to {name} --check tries any tag, commit or folder")
    return known[name]
