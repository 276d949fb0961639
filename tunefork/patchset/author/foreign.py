"""Patches that others wrote: a folder of git format-patch mail, or a quilt series, read as git am and quilt read them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import IO

from tunefork.base.errors import BadInput
from tunefork.base.files import read_within
from tunefork.base.typed import typed
from tunefork.patchset.author import ledger, section
from tunefork.patchset.author import letter as letters
from tunefork.patchset.author.section import Section
from tunefork.patchset.checkout import export as exporting
from tunefork.patchset.series.mail import begins as begins_of_mails
from tunefork.patchset.series.series import NAME as PATCH_NAME

BUNDLE = re.compile(rb"# v\d git bundle\n")
ENDINGS = (".patch", ".diff", ".eml", ".mbox", ".mbx")
ALSO_MAIL = (".txt", ".mail", ".msg")  # where what is in it begins as mail does
KNOWN = "it ends in .patch, .diff, .eml, .mbox or .mbx, also with .gz, .bz2 or .xz behind it, or is a number"
MARK = b"\xef\xbb\xbf"  # the byte order mark that some editors put before UTF-8
UNPACKED: dict[str, Callable[[IO[bytes]], gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file), ".bz2": bz2.BZ2File, ".xz": lzma.LZMAFile, ".lzma": lzma.LZMAFile}  # fmt: skip
MOST_BYTES = 256 << 20
"""Of an unpacked patch."""
PACKED = ((b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PK\3\4", "zip"), (b"LZIP", "lzip"),
          (b"\x1f\x9d", "compress"))  # fmt: skip
# A line that a description does not hold: of a diff in another form, or of something encoded.
SUSPECT = re.compile(rb"^(\*{4}|--- |\+\+\+ |@@|diff |Index: |\d+(,\d+)?[acd]\d+|[<>+] |begin(-base64)? \d{3} |[A-Za-z0-9+/]{50,}={0,2}\s*$|[ad]\d+ \d+$)"
                     rb"|=3D|=20$|diff --git |@@ -\d+(,\d+)? \+\d+(,\d+)? @@", re.MULTILINE)
COVER = re.compile(rb"^Subject:.*\[[^]\n]*PATCH[^]\n]*\b0+/\d", re.MULTILINE)  # of the letter before a series, which has no diff
OPTIONS = re.compile(r"(?:(?:-R|--reverse|-p ?(\d+|ab)) )* ?")  # what patch takes after a file's name in a quilt series  # fmt: skip


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


@dataclass(frozen=True)
class Entry:
    """A patch file of a folder. strip: leading parts of paths to take off.  reverse: it is to be taken back (``-R``)."""

    file: str
    strip: int = 1
    reverse: bool = False


def read_folder(folder: Path) -> tuple[list[Foreign], list[str]]:
    """(the patches of a folder, in order; files that were passed over and why). The order is that of ``series``, else of the names."""
    if not folder.is_dir():
        alone = f"put it in a folder of its own: `mkdir DIR && cp {typed(folder)} DIR`, and import DIR; else "
        raise BadInput(f"{folder} is no folder", f"{alone * folder.is_file()}name the folder that holds the patches, or the one with their `series` file")
    quilt = (folder / "series").is_file()
    entries, passed = (quilt_order(folder), beside(folder)) if quilt else mail_order(folder)
    if not entries:
        raise BadInput(f"{folder} holds no patch" + (f": {passed[0]}" if passed else ": its `series` names none" if quilt else ""), elsewhere(folder))
    found: list[Foreign] = []
    taken: set[str] = set()
    for entry in entries:
        path = folder / entry.file
        if not path.is_file():
            raise BadInput(f"{folder / 'series'} names {entry.file}, and there is no such file", "delete its line, or bring the file back")
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BadInput(f"{entry.file} lies outside {folder}", "copy the patch into the folder, and name that copy")
        data = content(path)
        for patch in [quilted(entry, data)] if quilt else mails(entry.file, data):
            if patch.changes:
                patch.name = fresh_name(patch.name, taken)
                taken.add(patch.name)
                found.append(patch)
            elif is_description(data):
                passed.append(f"{patch.file}: no diff in it")
            else:
                raise BadInput(f"{patch.file} holds no diff that can be taken, and is more than a description",
                               f"give it as a unified diff (`git diff --binary --no-color`), or move it out of the folder{' and of its series' * quilt}")
    if not found:
        raise BadInput(f"{folder}: no file of it holds a diff", "name the folder that holds the patches")
    return found, passed


def beside(folder: Path) -> list[str]:
    """Series files of dpkg-source's vendors, which are not read."""
    return [f"{path.name}: another vendor's series, which dpkg-source reads there in place of `series`" for path in sorted(folder.glob("*.series"))]


def elsewhere(folder: Path) -> str:
    """What to do about a folder without patches."""
    for inner in ("debian/patches", "patches"):
        if (folder / inner / "series").is_file():
            return f"name {folder / inner}, which holds a quilt series"
    if vendor := next(iter(sorted(folder.glob("*.series"))), None):
        return f"`cp {typed(vendor)} {typed(folder / 'series')}`, where that is the series that you want"
    return f"`git format-patch -o` writes files that are taken (by name: {KNOWN}); or the folder holds a quilt `series`"


def quilted(entry: Entry, data: bytes) -> Foreign:
    """An entry of a quilt series, which is one patch whatever it holds."""
    name = fresh_name(entry.file, set())
    words = letters.read(name, entry.file, data, several=True)
    text = words.diff
    if words.line:  # the diff as it is in the file: patch looks at the CRs of each header
        lines = data.split(b"\n")
        text = b"\n".join(lines[words.line - 1 :])
        if text not in (words.diff, words.diff + b"\r") and text.replace(b"\r\n", b"\n") != words.diff:
            raise ledger.Unaccounted(f"{entry.file}:{words.line}: its diff does not begin at this line", section.AGAIN)
        section.refuse_lost(entry.file, b"\n".join(lines[: words.line - 1]))
    found = section.read(entry.file, text, entry.strip, quilt=True, first=words.line or 1, reverse=entry.reverse)
    return Foreign(name, entry.file, words.author, words.date, words.message, found.changes, True, [*words.notes, *found.notes])


def mails(file: str, data: bytes) -> list[Foreign]:
    """The patches of a file: one, or those of a mailbox, named after their subjects and split where git mailsplit splits."""
    lead = len(data) - len(data.lstrip())
    first = data.count(b"\n", 0, lead)
    begins = [0, *(at for at in begins_of_mails(data) if at > first)] if data.startswith(b"From ", lead) else [0]
    if len(begins) == 1:
        return [read(fresh_name(file, set()), file, data)]
    found, lines = [], data.split(b"\n")
    ledger.balance(file, len(data) + 1, Counter({"mails": sum(len(line) + 1 for begin, end in pairwise([*begins, len(lines)]) for line in lines[begin:end])}))
    for number, (begin, end) in enumerate(pairwise([*begins, len(lines)]), 1):
        patch = read("patch", f"{file}, mail {number}", b"\n".join(lines[begin:end]) + b"\n")
        if not patch.changes and (number > 1 or not COVER.search(data.partition(b"\n\n")[0])):
            raise BadInput(f"{patch.file} (line {begin + 1}) holds no diff", f"where that line is text of the mail before it, begin it with a blank in {file}")
        patch.name = exporting.fresh_name(patch.message.split(b"\n")[0].decode("utf-8", "replace"), set())
        found.append(patch)
    return found


def is_patch(path: Path) -> bool:
    """Whether a file's name is one that git, b4, browsers or mail programs give a patch; an editor's backup and ``x.patch.disabled`` are not."""
    name = path.name
    for ending in UNPACKED:
        name = name.removesuffix(ending)
    ending = Path(name).suffix.lower()
    if not path.is_file() or name.startswith("."):
        return False
    if ending in ENDINGS or re.fullmatch(r"\d{1,5}(-[^.]*)?", name):
        return True
    return ending in ALSO_MAIL and path.read_bytes()[:5] in (b"From ", b"From:")


def mail_order(folder: Path) -> tuple[list[Entry], list[str]]:
    """(the patch files of a folder by name, files that are none by their names).

    Names that are numbers alone go by number, as `git format-patch --numbered-files` counts.
    """
    files = sorted((path for path in folder.iterdir() if path.is_file()), key=lambda path: (int(path.name) if path.name.isdecimal() else -1, path.name))
    return [Entry(path.name) for path in files if is_patch(path)], [f"{path.name}: its name is no patch's ({KNOWN})" for path in files if not is_patch(path)]


def quilt_order(folder: Path) -> list[Entry]:
    """The lines of a quilt series."""
    found: list[Entry] = []
    lines: dict[str, int] = {}
    for number, line in enumerate((folder / "series").read_bytes().decode("utf-8", "surrogateescape").split("\n"), 1):
        words = [word for word in re.split(r"[ \t\r]+", re.sub(r"(^|[ \t])#.*", "", line, flags=re.DOTALL)) if word]
        if not words:
            continue
        if lines.setdefault(words[0], number) != number:
            raise BadInput(f"{folder / 'series'}:{number}: {words[0]} stands at line {lines[words[0]]} already",
                           "delete one of the two lines; quilt applies no patch twice")
        options = OPTIONS.fullmatch(" ".join([*words[1:], ""]))
        if options is None:
            raise BadInput(f"{folder / 'series'}:{number}: cannot take {' '.join(words)}", "only -pN and -R may follow a file's name")
        level = options[1] or "1"
        found.append(Entry(words[0], 1 if level == "ab" else int(level), reverse=re.search(r"-R|--reverse", options[0]) is not None))
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
    data = path.read_bytes().removeprefix(MARK)
    if path.suffix not in UNPACKED:
        if packer := next((each for begin, each in PACKED if data.startswith(begin)), ""):
            raise BadInput(f"{path} is packed by {packer}", "unpack it; a file that ends in .gz, .bz2, .xz or .lzma is unpacked here")
        if BUNDLE.match(data):
            raise BadInput(f"{path} is a git bundle, which holds commits and no patches",
                           f"`git fetch {path} REF` in a clone of its base, then `git format-patch -o DIR BASE..FETCH_HEAD`")
        return data
    try:
        with UNPACKED[path.suffix](io.BytesIO(data)) as file:
            found = read_within(file, MOST_BYTES)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise BadInput(f"{path} cannot be unpacked: {error}", f"`file {path}` says what it is; unpack it by hand and name that in the series") from None
    if found is None:
        raise BadInput(f"{path} unpacks to more than {MOST_BYTES >> 20} MiB", "look at what it holds; no patch is as large")
    return found.removeprefix(MARK)


def is_description(data: bytes) -> bool:
    """Whether a file without a diff is words alone: no control bytes, and no line of something else."""
    return re.search(rb"[\x00-\x08\x0e-\x1f]", data) is None and SUSPECT.search(data) is None


def read(name: str, file: str, data: bytes) -> Foreign:
    """One mail, or a diff with a description before it, as git am reads it."""
    words = letters.read(name, file, data)
    found = section.read(file, words.diff, first=words.line or 1)
    return Foreign(name, file, words.author, words.date, words.message, found.changes, False, [*words.notes, *found.notes])
