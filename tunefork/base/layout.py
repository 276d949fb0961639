"""Where things are: the project's folders and the cache that all checkouts of this user share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Layout:
    """The paths of one Tunefork checkout.

    root: the folder that holds pins.toml, patches/ and work/.
    cache: sources, downloads, artefacts and models, shared by every checkout of this user.
    """

    root: Path
    cache: Path

    @classmethod
    def here(cls) -> Layout:
        """The checkout this code runs from; TUNEFORK_ROOT and TUNEFORK_CACHE override its two folders."""
        root = Path(os.environ.get("TUNEFORK_ROOT") or Path(__file__).resolve().parents[2])
        home_cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        cache = Path(os.environ.get("TUNEFORK_CACHE") or home_cache / "tunefork")
        return cls(root.resolve(), cache.resolve())

    @property
    def pins(self) -> Path:
        return self.root / "pins.toml"

    @property
    def work(self) -> Path:
        return self.root / "work"

    @property
    def logs(self) -> Path:
        return self.work / "logs"

    def series_dir(self, upstream: str) -> Path:
        return self.root / "patches" / upstream

    def checkout(self, upstream: str, beside: str | None = None) -> Path:
        """The checkout of an upstream: ``work/<upstream>``, or ``work/<upstream>@<slug>`` for a variant beside it."""
        return self.work / (f"{upstream}@{beside}" if beside else upstream)
