"""Patches that others wrote: a folder of git format-patch mail, or a quilt series, read as git am and quilt read them."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from tunefork.base.errors import BadInput
from tunefork.patchset.author import letter as letters
from tunefork.patchset.author import section
from tunefork.patchset.author.section import Section
from tunefork.patchset.series.series import NAME as PATCH_NAME

ENDINGS = (".patch", ".diff", ".eml", ".mbox")
UNPACKED = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}
# A line that a description does not hold: of a diff in another form, or of something encoded.
SUSPECT = re.compile(rb"^(\*{4}|--- |\+\+\+ |@@|diff |Index: |\d+(,\d+)?[acd]\d+|[<>+] |begin(-base64)? \d{3} |[A-Za-z0-9+/]{50,}={0,2}\s*$|[ad]\d+ \d+$)"
                     rb"|=3D|=20$", re.MULTILINE)  # fmt: skip


@dataclass
class Foreign:
    """A patch of somebody else's. file: its name in the folder.  author, date, message: as commits hold them.

    quilt: it is of a quilt series, which patch applies and not git.  notes: on how it was read, and what it loses.
    """

    name: str
    file: str
    author: bytes
    date: bytes
    message: bytes
    changes: list[Section]
    quilt: bool = False
    notes: list[str] = field(default_factory=list)


def read_folder(folder: Path) -> tuple[list[Foreign], list[str]]:
    """(the patches of a folder, in order; files that were passed over and why). The order is that of ``series``, else of the names."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder", "name the folder that holds the patches, or the one with their `series` file")
    quilt = (folder / "series").is_file()
    entries = quilt_order(folder) if quilt else [(path.name, 1) for path in sorted(folder.iterdir()) if is_patch(path)]
    if not entries:
        raise BadInput(f"{folder} holds no patch", "it should hold *.patch or *.diff files, as `git format-patch -o` writes them, or a quilt `series`")
    found: list[Foreign] = []
    passed: list[str] = []
    for file, strip in entries:
        path = folder / file
        if not path.is_file():
            raise BadInput(f"{folder / 'series'} names {file}, and there is no such file", "delete its line, or bring the file back")
        data = content(path)
        patch = read(fresh_name(file, {each.name for each in found}), file, data, strip, quilt=quilt)
        if patch.changes:
            found.append(patch)
        elif not data.strip() or (is_text(data) and not SUSPECT.search(data)):
            passed.append(f"{file}: no diff in it")
        else:
            raise BadInput(f"{file} holds no diff that can be taken, and is more than a description",
                           "give it as a unified diff (`diff -u`, `git diff --binary`), or move it out of the folder" + (" and of its series" if quilt else ""))
    if not found:
        raise BadInput(f"{folder}: no file of it holds a diff", "name the folder that holds the patches")
    return found, passed


def is_patch(path: Path) -> bool:
    return path.is_file() and (path.suffix in ENDINGS or re.fullmatch(r"\d{1,5}(-.*)?", path.name) is not None)


def quilt_order(folder: Path) -> list[tuple[str, int]]:
    """(file, leading path parts to strip) per line of a quilt series."""
    found = []
    for number, line in enumerate((folder / "series").read_text(encoding="utf-8", errors="surrogateescape").splitlines(), 1):
        words = re.sub(r"(^|\s)#.*", "", line).split()
        if not words:
            continue
        levels = [word for word in words[1:] if re.fullmatch(r"-p(\d+|ab)", word)]
        if len(levels) != len(words) - 1:
            raise BadInput(f"{folder / 'series'}:{number}: cannot take {' '.join(words)}", "only -pN may follow a file's name")
        found.append((words[0], 1 if not levels or levels[0] == "-pab" else int(levels[0][2:])))
    return found


def fresh_name(file: str, taken: set[str]) -> str:
    """The patch's name: its file's without the ending, and with what a name cannot hold replaced."""
    stem = file
    for ending in (*UNPACKED, *ENDINGS):
        stem = stem.removesuffix(ending)
    stem = re.sub(r"\.+", ".", re.sub(r"[^A-Za-z0-9_+.-]+", "-", stem)).strip("-._+") or "patch"
    if not PATCH_NAME.fullmatch(stem):
        stem = stem.replace(".", "-")
    numbered = (f"{stem}-{number}" for number in range(2, 10_000))
    return stem if stem not in taken else next(name for name in numbered if name not in taken)


def content(path: Path) -> bytes:
    """A patch file's bytes, unpacked as quilt unpacks them."""
    data = path.read_bytes()
    if path.suffix not in UNPACKED:
        return data
    try:
        return UNPACKED[path.suffix](data)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise BadInput(f"{path} cannot be unpacked: {error}", f"`file {path}` says what it is; unpack it by hand and name that in the series") from None


def is_text(data: bytes) -> bool:
    """Whether a file could be a description: no control bytes."""
    return re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", data) is None


def read(name: str, file: str, data: bytes, strip: int, *, quilt: bool = False) -> Foreign:
    """One file, as mail or as a diff with a description before it."""
    words = letters.read(name, file, data)
    found = section.read(file, words.diff, strip, quilt=quilt, first=words.line or 1)
    return Foreign(name, file, words.author, words.date, words.message, found.changes, quilt, [*words.notes, *found.notes])
