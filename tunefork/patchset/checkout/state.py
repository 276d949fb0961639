"""What Tunefork remembers of a checkout: one small JSON file inside its git directory. Losing it costs time, never work.

Everything in it can be derived again from the series and the refs; it exists so that a no-op apply starts no git process.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from tunefork.base import jsons
from tunefork.base.files import write_atomically

FORMAT = 1


@dataclass(frozen=True)
class AppliedPatch:
    """A patch as it was applied. sha256: of its file; locked: hash of its lines in series.lock, as verified ("" where merged)."""

    name: str
    sha256: str
    commit: str
    tree: str
    locked: str


@dataclass(frozen=True)
class State:
    """One checkout's applied variant.

    variant, branch: its spec and the branch it is on.  source: "git" or "sdist".  base, base_tree: the pin's commit and tree.
    exact: whether the patches are a prefix of the series (and so can be reused for another variant).
    """

    variant: str
    branch: str
    source: str
    base: str
    base_tree: str
    exact: bool
    patches: tuple[AppliedPatch, ...]

    @property
    def commit(self) -> str:
        return self.patches[-1].commit if self.patches else self.base

    @property
    def tree(self) -> str:
        return self.patches[-1].tree if self.patches else self.base_tree


def load(path: Path) -> State | None:
    """The state in a file; None where there is none or it is not of this format."""
    try:
        data = jsons.loads(path.read_bytes())
        if data.pop("format") != FORMAT:
            return None
        return State(**{**data, "patches": tuple(AppliedPatch(**patch) for patch in data["patches"])})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def save(path: Path, state: State) -> None:
    """Write a state so that a reader sees the old one or the new one."""
    write_atomically(path, json.dumps({"format": FORMAT, **asdict(state)}, indent=1).encode())
