"""Where the tiny model is kept: a folder per recipe digest, made once under a lock, renamed into place when complete, verified at use."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tunefork.base.mutex import locked
from tunefork.base.process import quiet
from tunefork.bench.server.tiny.recipe import Recipe

MANIFEST = "manifest.json"


def file_hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file below, the manifest apart."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def is_whole(folder: Path) -> bool:
    """Whether a model is there with the bytes that its manifest lists."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("files") == file_hashes(folder)


def obtain(models: Path, recipe: Recipe, make_files: Callable[[Recipe, Path], dict[str, Any]]) -> tuple[Path, bool]:
    """The recipe's folder under ``models``, and whether it had to be made now; safe for any number of processes."""
    folder = models / f"tiny-{recipe.digest()}"
    if is_whole(folder):
        return folder, False
    models.mkdir(parents=True, exist_ok=True)
    with locked(models / f".{folder.name}.lock", quiet, "another process makes the tiny model; waiting"):
        if is_whole(folder):
            return folder, False
        # The lock is ours, so what lies half-made here belongs to a process that died.
        for stale in models.glob(f".{folder.name}.making-*"):
            shutil.rmtree(stale)
        making = models / f".{folder.name}.making-{os.getpid()}"
        making.mkdir()
        started = time.monotonic()
        facts = make_files(recipe, making)
        manifest = {"recipe": asdict(recipe), **facts, "seconds": round(time.monotonic() - started, 1),
                    "files": file_hashes(making)}
        (making / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        if folder.exists():
            shutil.rmtree(folder)
        making.rename(folder)
    return folder, True
