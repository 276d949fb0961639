"""Compiled files by content: a result is taken again where the source, everything it includes, the flags and the compiler are the same.

``<cache>/gfx950-native/<key>/`` has for each content that was seen ``<n>.json`` (what was read, by hash; the result) and ``<n>.s.gz``. A header
that comes to lie where another of its name was found is seen, too: of every header's name all places in the include folders are part of the key.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from tunefork.base.files import write_atomically
from tunefork.develop.gfx950.compile_only.facts import CodeFacts
from tunefork.develop.gfx950.compile_only.toolchain import Toolchain
from tunefork.develop.gfx950.compile_only.unit import Unit
from tunefork.develop.targets import GFX950

DEVICE_ONLY = ("-x", "hip", f"--offload-arch={GFX950}", "--cuda-device-only", "--no-gpu-bundle-output", "-D__AMDGCN_WAVEFRONT_SIZE=64")
FORM = ""  # what else decides a result: another number, and nothing that was kept is taken
KEPT = 8  # contents of one file that are kept; the oldest goes


@cache
def file_hash(path: str) -> str:
    """A file's hash, "" where it is gone. Cached: nothing that is compiled changes while a run compiles."""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


@cache
def places(folder: str) -> dict[str, tuple[str, ...]]:
    """File name -> where files of that name are below a folder of headers."""
    found: dict[str, list[str]] = {}
    for at, _, names in os.walk(folder):
        for name in names:
            found.setdefault(name, []).append(os.path.relpath(f"{at}/{name}", folder))
    return {name: tuple(sorted(held)) for name, held in found.items()}


def shelf(cache_folder: Path, unit: Unit, toolchain: Toolchain) -> Path:
    """Where the results of one file under one compiler and one set of flags are."""
    parts = (DEVICE_ONLY, unit.name, str(unit.file), unit.flags, unit.includes, toolchain.argv, toolchain.includes, toolchain.identity + FORM)
    return cache_folder / "gfx950-native" / hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


@cache
def names_in(folder: str) -> frozenset[str]:
    """The names directly in a folder: where a quoted include is looked for first."""
    try:
        return frozenset(path.name for path in Path(folder).iterdir())
    except OSError:
        return frozenset()


def twins(unit: Unit, read: Iterable[str]) -> str:
    """A digest of where the names of what was read are: below the file's own include folders, and beside each file that was read."""
    paths = [Path(path) for path in read]
    names = {path.name for path in paths}
    below = [[places(folder).get(name, ()) for name in sorted(names)] for folder in unit.includes]
    beside = [(folder, sorted(names & names_in(folder))) for folder in sorted({str(path.parent) for path in paths})]
    return hashlib.sha256(repr((below, beside)).encode()).hexdigest()


def find(shelf_folder: Path, unit: Unit) -> dict[str, Any] | None:
    """The result of this very content, with ``text`` the path of its code; None where it was not compiled yet."""
    for path in sorted(shelf_folder.glob("*.json")):
        try:
            kept = json.loads(path.read_bytes())
            same = all(file_hash(name) == digest for name, digest in kept["read"].items())
            if same and twins(unit, kept["read"]) == kept["twins"] and path.with_suffix(".s.gz").is_file():
                os.utime(path)
                return {**kept, "facts": CodeFacts(**kept["facts"]), "text": path.with_suffix(".s.gz")}
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


def keep(shelf_folder: Path, unit: Unit, read: Iterable[str], code: str, **result: Any) -> Path:
    """Keep a result. read: every file that the compiler read. Returns the path of its code."""
    shelf_folder.mkdir(parents=True, exist_ok=True)
    known = {name: file_hash(name) for name in sorted(set(read))}
    name = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]
    text = shelf_folder / f"{name}.s.gz"
    write_atomically(text, gzip.compress(code.encode(), 1, mtime=0))
    entry = {"read": known, "twins": twins(unit, known), **result, "facts": asdict(result["facts"])}
    write_atomically(shelf_folder / f"{name}.json", json.dumps(entry).encode())
    for old in sorted(shelf_folder.glob("*.json"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
        old.with_suffix(".s.gz").unlink(missing_ok=True)
        old.unlink(missing_ok=True)
    return text


def dependencies(written: str) -> list[str]:
    """The files that a compiler's dependency file (-MD) names."""
    words = written.replace("\\\n", " ").partition(":")[2].replace("\\ ", "\0").split()
    return [word.replace("\0", " ") for word in words]
