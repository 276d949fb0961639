"""The compiled files in a checkout: which artefact they are from, and whether they are still as they were placed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tunefork.base.files import write_atomically
from tunefork.base.layout import Layout
from tunefork.base.upstream_facts.vllm import VERSION_FILE
from tunefork.develop import store
from tunefork.develop.store import Artefact
from tunefork.patchset.git import Git

RECORD = "build/tunefork-compiled.json"  # vLLM and AITER both ignore build/
NOT_COMPILED = ("__pycache__/", VERSION_FILE)


def place(artefact: Artefact, checkout: Path) -> None:
    """Copy an artefact into a checkout and record it. The record goes first and comes last: a half-done copy has none."""
    (checkout / RECORD).unlink(missing_ok=True)
    store.place(artefact, checkout)
    record(checkout, artefact.digest, artefact.files)


def record(checkout: Path, digest: str, names: Iterable[str]) -> None:
    """Record that these files of a checkout are what ``digest`` names."""
    stamps = {name: stamp(checkout / name) for name in names}
    write_atomically(checkout / RECORD, json.dumps({"digest": digest, "files": stamps}, indent=1).encode())


def digest_in(checkout: Path) -> str | None:
    """The digest of the compiled files in a checkout; None where one is missing, changed, or nothing was recorded."""
    try:
        known = json.loads((checkout / RECORD).read_bytes())
        unchanged = all(stamp(checkout / name) == kept for name, kept in known["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return str(known["digest"]) if unchanged else None


def stamp(path: Path) -> list[int]:
    """What changes when a file is written: its size and mtime (ns)."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def files_of(checkout: Path) -> list[str]:
    """Names of what the record lists, whether or not it is still there."""
    try:
        return list(json.loads((checkout / RECORD).read_bytes())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return []


def built_files(checkout: Path, package: str) -> list[str]:
    """What a build left inside a package: the files that git ignores there, less bytecode and the version file."""
    listed = Git(checkout)("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", package)
    names = [name.decode("utf-8", "surrogateescape") for name in listed.split(b"\0") if name]
    return sorted(name for name in names if not any(part in name for part in NOT_COMPILED))


def keep(layout: Layout, checkout: Path, package: str, digest: str) -> None:
    """Put what a build left into the store, and record it in the checkout."""
    import shutil

    names = built_files(checkout, package)

    def fill(folder: Path) -> None:
        for name in names:
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout / name, target)

    if store.find(layout, digest) is None:
        store.add(layout, digest, fill)
    record(checkout, digest, names)
