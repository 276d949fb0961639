"""Where things are: the project's folders and the cache that all checkouts of this user share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import BadInput


def user_cache() -> Path:
    """Sources, downloads, artefacts and models of this user: TUNEFORK_CACHE, else XDG_CACHE_HOME/tunefork, else ~/.cache/tunefork."""
    if named := os.environ.get("TUNEFORK_CACHE"):
        return Path(named).resolve()
    if (caches := os.environ.get("XDG_CACHE_HOME", "")).startswith("/"):  # a relative one does not count, by its specification
        return (Path(caches) / "tunefork").resolve()
    return (home() / ".cache" / "tunefork").resolve()


def home() -> Path:
    """This user's folder. Errors: BadInput where there is none: a container that runs as a number without a name, and HOME not set."""
    try:
        return Path.home()
    except RuntimeError:
        raise BadInput(f"user {os.getuid()} of this machine has no name, and HOME is not set: no place for the cache is known",
                       "export TUNEFORK_CACHE=FOLDER, or HOME") from None


def is_checkout(folder: Path) -> bool:
    """Whether a folder is the root of a Tunefork checkout."""
    return (folder / "pins.toml").is_file() and (folder / "patches").is_dir()


BUILD_PY: list[Path] = []  # the checkout whose build.py runs this process: that command acts on its own folder, wherever it is called


def find_root() -> Path:
    """TUNEFORK_ROOT; else build.py's folder; else the nearest checkout from the working directory upward; else the one of this code.

    Errors: BadInput where there is none.
    """
    if named := os.environ.get("TUNEFORK_ROOT"):
        return Path(named).resolve()
    here = Path.cwd()
    for folder in (*BUILD_PY, here, *here.parents, Path(__file__).resolve().parents[2]):
        if is_checkout(folder):
            return folder.resolve()
    raise BadInput(f"{here} is not in a Tunefork checkout (a folder with pins.toml and patches/)",
                   "cd into one, or set TUNEFORK_ROOT=FOLDER to it")


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
        """The checkout at hand (find_root) and this user's cache. Errors: BadInput where no checkout is at hand."""
        return cls(find_root(), user_cache())

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
