"""pins.toml: the upstreams (where each comes from, which commit, which hashes) and the wheel of compiled CPU operators."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tunefork.base import toml
from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.base.typed import typed


@dataclass(frozen=True)
class PinnedWheel:
    """One exact wheel of a package index. sha256: 64 lower-case hex digits."""

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Sdist:
    """A source distribution with the same content as the pin's commit.

    sha256: of the archive.  commit: the root commit that its files become (40 hex digits).
    added: files and folders that packaging put into the archive and the upstream's tag has not.
    """

    name: str
    version: str
    sha256: str
    commit: str
    added: tuple[str, ...]


@dataclass(frozen=True)
class Pin:
    """The exact commit of one upstream. submodules: whether a native build wants them.

    commit: 40 hex digits; or as few as a source distribution names its own commit by, where git did not answer when the pin was made.
    """

    name: str
    url: str
    tag: str
    commit: str
    version: str
    submodules: bool
    sdist: Sdist | None


Check = Callable[[Any], bool]


def _matches(pattern: str) -> Check:
    compiled = re.compile(pattern)
    return lambda value: isinstance(value, str) and compiled.fullmatch(value) is not None


def _relative_paths(value: Any) -> bool:
    """Whether this is a list of plain paths below the archive's top folder."""
    return isinstance(value, list) and all(
        isinstance(path, str) and path and not {"", ".", ".."} & set(path.split("/")) for path in value
    )


# What a key must hold: the check, and how a message calls it. No value may start with "-": git and pip would take it for an option.
COMMIT = (_matches(r"[0-9a-f]{40}"), "40 lower-case hex digits")
ABBREVIATED = (_matches(r"[0-9a-f]{9,40}"), "40 lower-case hex digits (beside a source distribution, 9 at least)")
SHA256 = (_matches(r"[0-9a-f]{64}"), "64 lower-case hex digits")
PACKAGE = (_matches(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"), "a package name")
VERSION = (_matches(r"[0-9][A-Za-z0-9.!+]*"), "a version such as 0.33.0")
URL = (_matches(r"(?!\w+::)[^\s-]\S*"), "a git URL")  # `ext::CMD` is a program that git would start
TEXT = (lambda value: isinstance(value, str) and bool(value.strip()), "a text")
TAG = (_matches(r"[A-Za-z0-9][A-Za-z0-9._/+-]*"), "a tag such as v0.33.0")
FLAG = (lambda value: isinstance(value, bool), "true or false")
PATHS = (_relative_paths, "a list of paths relative to the archive's top folder")

Keys = dict[str, tuple[Check, str]]
PIN: Keys = {"url": URL, "tag": TAG, "commit": COMMIT, "version": VERSION, "submodules": FLAG}
SDIST: Keys = {"name": PACKAGE, "version": VERSION, "sha256": SHA256, "commit": COMMIT, "added": PATHS}
ALTERNATIVE: Keys = {"tag": TAG, "state": TEXT, "why": TEXT}
WHEEL: Keys = {"name": PACKAGE, "version": VERSION, "sha256": SHA256}

UPSTREAM_NAME = re.compile(r"[a-z][a-z0-9-]*")


def load(layout: Layout) -> dict[str, Pin]:
    """The pins of pins.toml, by upstream, in the file's order. BadInput says which key is wrong and what was expected."""
    path = layout.pins
    document = _document(path)
    upstreams = document.get("upstreams")
    if not isinstance(upstreams, dict) or not upstreams:
        raise _wrong(path, "upstreams", "a table per upstream, such as [upstreams.vllm]", upstreams)
    return {name: _pin(path, name, table) for name, table in upstreams.items()}


def pin_of(layout: Layout, upstream: str) -> Pin:
    """The pin of an upstream; BadInput lists the known ones."""
    known = load(layout)
    if upstream not in known:
        raise BadInput(f"no upstream {upstream!r} in pins.toml", f"use one of: {', '.join(known)}")
    return known[upstream]


def revived(data: dict[str, Any]) -> Pin:
    """A pin from what ``asdict`` made of it, through JSON."""
    return Pin(**{**data, "sdist": revived_sdist(data["sdist"])})


def revived_sdist(data: dict[str, Any] | None) -> Sdist | None:
    return None if data is None else Sdist(**{**data, "added": tuple(data["added"])})


def alternatives(layout: Layout, upstream: str) -> dict[str, dict[str, str]]:
    """The tables [upstreams.<upstream>.alternatives.<name>], checked, by name."""
    pin_of(layout, upstream)
    return _alternatives(layout.pins, upstream, _document(layout.pins)["upstreams"][upstream].get("alternatives", {}))


def cpu_operators(layout: Layout) -> PinnedWheel:
    """The wheel whose shared objects serve the CPU target."""
    table = _table(layout.pins, "cpu-operators", _document(layout.pins).get("cpu-operators"), WHEEL)
    return PinnedWheel(**table)


def _document(path: Path) -> dict[str, Any]:
    try:
        document = toml.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput(f"{path} does not exist", "run inside a Tunefork checkout, or set TUNEFORK_ROOT to one") from None
    except (toml.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not TOML: {error}", f"`git checkout -- {typed(path)}` takes the last edit back") from error
    for name in document:
        if name not in ("upstreams", "cpu-operators"):
            raise _wrong(path, name, "no such key; known are upstreams and cpu-operators", document[name])
    return document


def _pin(path: Path, name: str, table: Any) -> Pin:
    where = f"upstreams.{name}"
    if not UPSTREAM_NAME.fullmatch(name):
        raise BadInput(f"{path}: {where}: expected a name of lower-case letters, digits and dashes, got {name!r}", "rename it")
    beside = isinstance(table, dict) and "sdist" in table
    values = _table(path, where, table, PIN | {"commit": ABBREVIATED} if beside else PIN, optional=("sdist", "alternatives"))
    _alternatives(path, name, values.pop("alternatives", {}))
    sdist = values.pop("sdist", None)
    if sdist is not None:
        fields = _table(path, f"{where}.sdist", sdist, SDIST)
        sdist = Sdist(**{**fields, "added": tuple(fields["added"])})
    return Pin(name=name, sdist=sdist, **values)


def _alternatives(path: Path, upstream: str, tables: Any) -> dict[str, dict[str, str]]:
    """The other pins of one upstream, each with its keys. Their commit may be unknown, which is no ``commit`` at all."""
    where = f"upstreams.{upstream}.alternatives"
    if not isinstance(tables, dict):
        raise _wrong(path, where, "a table per alternative pin", tables)
    wanted = {name: ALTERNATIVE | ({"commit": COMMIT} if isinstance(table, dict) and "commit" in table else {}) for name, table in tables.items()}
    return {name: _table(path, f"{where}.{name}", table, wanted[name]) for name, table in tables.items()}


def _table(path: Path, where: str, table: Any, keys: Keys, optional: Collection[str] = ()) -> dict[str, Any]:
    """A copy of a table that holds every one of ``keys``, each as its check wants it, and nothing else."""
    if not isinstance(table, dict):
        raise _wrong(path, where, "a table", table)
    for key in table:
        if key not in keys and key not in optional:
            raise _wrong(path, f"{where}.{key}", f"no such key; known are {', '.join((*keys, *optional))}", table[key])
    for key, (check, expected) in keys.items():
        if not check(table.get(key)):
            raise _wrong(path, f"{where}.{key}", expected, table.get(key))
    return dict(table)


def _wrong(path: Path, key: str, expected: str, came: Any) -> BadInput:
    got = "nothing" if came is None else repr(came)
    return BadInput(f"{path}: {key}: expected {expected}, got {got}", f"edit {path}; `git diff {typed(path)}` shows what changed")
