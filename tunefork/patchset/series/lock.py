"""series.lock: what each patch makes of each path, so that an apply can be verified whatever source the tree came from.

A text file that git people can read: per patch its file's hash, then one line per touched path in the form of ``git diff --raw``::

    base 98dff2a81d747d1dba01a47f939f48c3526d4206
    patch wvsplitkrc-strided sha256 65f6...
    :100644 100644 <blob before> <blob after> vllm/model_executor/layers/utils.py
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import LockMismatch
from tunefork.base.files import write_atomically
from tunefork.base.typed import typed
from tunefork.patchset.series.diff import quote, shown, unquote
from tunefork.patchset.series.series import LOCK, Series

FILE = LOCK
# The title is the format's own first line: it stays as it was written first.
TITLE = "# series.lock 1 - written by `python build.py patch export` and `patch lock`; read, never edited"
PATCH = re.compile(r"^patch (\S+) sha256 ([0-9a-f]{64})$")
PATH = re.compile(r"^:([0-7]{6}) ([0-7]{6}) ([0-9a-f]{40}) ([0-9a-f]{40}) (.+)$")


@dataclass(frozen=True)
class Touch:
    """What one patch does to one path: mode and blob before and after; zeros where the file is absent."""

    old_mode: str
    new_mode: str
    old_blob: str
    new_blob: str
    path: bytes

    def line(self) -> str:
        path = self.path.decode("ascii") if re.fullmatch(rb"[!#-\[\]-~]+", self.path) else quote(self.path).decode()
        return f":{self.old_mode} {self.new_mode} {self.old_blob} {self.new_blob} {path}"


@dataclass(frozen=True)
class LockedPatch:
    """One patch as the lock records it."""

    name: str
    sha256: str
    touches: tuple[Touch, ...]


@dataclass(frozen=True)
class Lock:
    """The whole record of one series on one pin. base: the pin's commit."""

    base: str
    patches: tuple[LockedPatch, ...]

    @classmethod
    def of(cls, series: Series) -> Lock | None:
        """The lock that was read with a series; None where there is none. LockMismatch when it cannot be read."""
        return None if series.lock is None else cls.read(series.directory, series.lock)

    @classmethod
    def load(cls, directory: Path) -> Lock | None:
        """The lock of a series folder by itself."""
        path = directory / FILE
        return cls.read(directory, path.read_text(encoding="ascii", errors="replace")) if path.is_file() else None

    @classmethod
    def read(cls, directory: Path, text: str) -> Lock:
        path = directory / FILE
        base, patches = "", list[LockedPatch]()
        for number, line in enumerate(text.splitlines(), 1):
            if patch := PATCH.match(line):
                patches.append(LockedPatch(patch[1], patch[2], ()))
            elif (touch := PATH.match(line)) and patches:
                last = patches[-1]
                made = Touch(touch[1], touch[2], touch[3], touch[4], unquote(touch[5].encode()))
                patches[-1] = LockedPatch(last.name, last.sha256, (*last.touches, made))
            elif line.startswith("base "):
                base = line[5:].strip()
            elif line.strip() and not line.startswith("#"):
                raise LockMismatch(f"{path}:{number} is not a line of a lock: {line[:60]!r}", restore(directory))
        return cls(base, tuple(patches))

    def save(self, directory: Path) -> bool:
        """Write the lock if it changed; tells whether it did."""
        path = directory / FILE
        text = self.text()
        if path.is_file() and path.read_text(encoding="ascii", errors="replace") == text:
            return False
        write_atomically(path, text.encode("ascii"))
        return True

    def text(self) -> str:
        lines = [TITLE, f"base {self.base}"]
        for patch in self.patches:
            lines.append(f"patch {patch.name} sha256 {patch.sha256}")
            lines += [touch.line() for touch in patch.touches]
        return "\n".join(lines) + "\n"

    def check_files(self, series: Series, base: str, hashes: Sequence[str]) -> None:
        """LockMismatch unless the series' files and their order are the recorded ones. hashes: sha256 per patch, in order."""
        where = series.directory
        if self.base != base:
            raise LockMismatch(f"{where / FILE} was made on commit {self.base[:12]}, pins.toml says {base[:12]}",
                               accept(series.upstream))
        if self.names != tuple(series.names):
            odd = sorted(set(self.names) ^ set(series.names)) or ["their order"]
            raise LockMismatch(f"{where / 'series'} and {FILE} differ in {', '.join(odd)}", accept(series.upstream))
        for patch, sha256 in zip(self.patches, hashes, strict=True):
            if patch.sha256 != sha256:
                raise LockMismatch(f"{where / patch.name}.patch is not the file that {FILE} records "
                                   f"(sha256 {sha256[:12]}, expected {patch.sha256[:12]})", accept(series.upstream))

    def check_touches(self, name: str, touches: Sequence[Touch]) -> None:
        """LockMismatch unless a patch made exactly what is recorded of it."""
        recorded = next((patch.touches for patch in self.patches if patch.name == name), ())
        if tuple(touches) == recorded:
            return
        odd = sorted({touch.path for touch in set(recorded) ^ set(touches)})
        where = ", ".join(map(shown, odd[:3]))
        raise LockMismatch(f"{name} makes of {where} something else than {FILE} records: the lock or the patch was edited",
                           "`git diff patches/` shows the edit; `git checkout -- patches/` takes it back")

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(patch.name for patch in self.patches)


def accept(upstream: str) -> str:
    """The remedy for files that differ from the lock."""
    return (f"`git checkout -- patches/` takes the change back; if it is meant, `python3 build.py patch lock {upstream}` "
            "checks it on the pin and records it")


def restore(directory: Path) -> str:
    return f"`git checkout -- {typed(directory / FILE)}` brings it back; `python3 build.py patch lock` makes it anew"
