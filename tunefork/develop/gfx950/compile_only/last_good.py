"""What compiled last, file by file: against it a run is judged. One record for each compiler, in ``work/develop/native``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tunefork.base.files import write_atomically
from tunefork.develop.gfx950.compile_only.facts import CodeFacts


@dataclass(frozen=True)
class Good:
    """A file's last successful compilation: CPU seconds, the compiler's most memory in bytes, what was in the code."""

    seconds: float
    peak: int
    facts: CodeFacts


@dataclass
class LastGood:
    """The record of one compiler. path: where it is kept."""

    path: Path
    files: dict[str, Good] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Path, label: str) -> LastGood:
        """The record of a compiler; empty where there is none, or none that can be read."""
        path = folder / f"last-good-{label}.json"
        try:
            kept: dict[str, Any] = json.loads(path.read_bytes())
            return cls(path, {name: Good(one["seconds"], one["peak"], CodeFacts(**one["facts"])) for name, one in kept.items()})
        except (OSError, ValueError, KeyError, TypeError):
            return cls(path)

    def update(self, name: str, good: Good) -> None:
        """Take a success in, and put the record on the disk: a run that is stopped keeps what it had."""
        self.files[name] = good
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps({each: asdict(one) for each, one in sorted(self.files.items())}, indent=1).encode())
