"""`clean`: remove what builds left, never work. What goes is what git ignores and what the project itself wrote."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.layout import Layout
from tunefork.develop import compiled
from tunefork.develop.installed import Mark, mark_path, read_mark
from tunefork.develop.step import remove
from tunefork.patchset.git import Git
from tunefork.patchset.sources import pins

ENDED_S = 86400.0
"""Nothing that writes a pack takes a day."""
CACHED = ("artefacts", "downloads", "models", "gfx950", "gfx950-parts", "upstream-tests")
"""What is made or downloaded again; not the clones of upstreams, which a machine without a network could not have again."""


@dataclass(frozen=True)
class Removed:
    """One thing that `clean` removed (or, in a dry run, would remove). size: bytes."""

    path: Path
    size: int
    why: str


def clean(layout: Layout, *, cache: bool = False, dry_run: bool = False) -> list[Removed]:
    """Remove builds and logs of this project (``cache``: also the shared artefacts, downloads and tiny models) and say what went."""
    doomed = list(found(layout, cache=cache))
    if not dry_run:
        for item in doomed:
            remove(item.path)
        if (mark := read_mark()) and is_ours(mark, layout):
            mark_path().unlink(missing_ok=True)
    return doomed


def is_ours(mark: Mark, layout: Layout) -> bool:
    """Whether this environment's vLLM is this project's: another clone's installation is left as it is."""
    return layout.work in Path(mark.path).parents


def found(layout: Layout, *, cache: bool) -> Iterator[Removed]:
    """What would be removed, in order."""
    for upstream in pins.load(layout):
        for checkout in sorted(layout.work.glob(f"{upstream}*")):
            if checkout.is_dir() and (checkout.name == upstream or checkout.name.startswith(f"{upstream}@")):
                yield from built(checkout, upstream)
                yield from broken_off(checkout)
    for path in (layout.logs, layout.work / "develop"):
        if path.exists():
            yield Removed(path, size(path), "logs" if path == layout.logs else "files that develop wrote for pip")
    for name in CACHED if cache else ():
        if (layout.cache / name).exists():
            yield Removed(layout.cache / name, size(layout.cache / name), "shared cache; it is made or downloaded again")


def broken_off(checkout: Path) -> Iterator[Removed]:
    """Packs that git began to write and did not end, a day ago or more: on a full disk they are what fills it."""
    for path in sorted((checkout / ".git" / "objects" / "pack").glob("tmp_*")):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - ENDED_S:
                yield Removed(path, size(path), "half a pack of git's")


def built(checkout: Path, package: str) -> Iterator[Removed]:
    """The build folder and the compiled files of a checkout: only what git ignores, so no file of the series or of the user's."""
    if not (checkout / ".git").exists():
        return
    names = [*compiled.built_files(checkout, package), *compiled.files_of(checkout)]
    libraries = [name for name in dict.fromkeys(names) if name.endswith(".so") or ".so." in name]
    for path in (checkout / "build", *(checkout / name for name in libraries)):
        if path.exists() and ignored(checkout, path):
            yield Removed(path, size(path), "build folder" if path.is_dir() else "compiled")


def ignored(checkout: Path, path: Path) -> bool:
    """Whether git ignores a path and tracks nothing in it."""
    name = str(path.relative_to(checkout))
    git = Git(checkout)
    return git.run("check-ignore", "-q", "--", name).code == 0 and not git("ls-files", "-z", "--", name)


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    if path.is_dir() and not path.is_symlink():
        return sum(item.lstat().st_size for item in path.rglob("*") if not item.is_dir() or item.is_symlink())
    return path.lstat().st_size
