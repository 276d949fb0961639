"""Git diffs, read and applied exactly: a hunk goes where it says or nowhere.

``git apply`` and ``git am`` look for a hunk's context at other offsets, and can patch the wrong one of two equal functions with exit
code 0. Here a change is applied to the very blob it was made from (its ``index`` line names it), and the result's hash is checked.
Format: git's documentation of ``git diff --patch --binary --full-index`` ("generating patch text with -p").
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass, field
from functools import lru_cache

from tunefork.base.errors import BadInput

HUNK = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")
INDEX = re.compile(rb"^index ([0-9a-f]+)\.\.([0-9a-f]+)(?: ([0-7]{6}))?$")
UNHOLDABLE = re.compile(rb"(|\.|\.\.|(\.git|git~1)[ .]*([\\:].*)?)", re.IGNORECASE | re.DOTALL)  # parts of a path that git checks out nowhere
LINK = "120000"
ESCAPES = {b"a": b"\a", b"b": b"\b", b"t": b"\t", b"n": b"\n", b"v": b"\v", b"f": b"\f", b"r": b"\r"}
BINARY = re.compile(rb"^Binary files .* differ$")  # what git writes of a binary file without --binary
NO_BLOB = "0" * 40
AGAIN = ("`git checkout -- patches/` brings the file back as it was committed; where it never was: `git format-patch -k -1 --stdout COMMIT` "
         "in the checkout writes it, and `python3 build.py patch lock` takes it in")  # fmt: skip
WITH_DATA = f"{AGAIN}; of somebody else's, ask for one made by `git format-patch --binary` (or `git diff --binary`)"


class HunkMismatch(Exception):
    """A hunk's context is not at its line, or the result is not the recorded blob."""


@dataclass(frozen=True)
class Hunk:
    """One hunk. start: first line it covers, counted from 1 (0 for an empty side); old, new: its lines, endings included.

    new_start: the same in the file after it, where the diff says so.  size: bytes of the diff that were read into it.
    """

    start: int
    old: tuple[bytes, ...]
    new: tuple[bytes, ...]
    new_start: int | None = field(default=None, compare=False)
    size: int = field(default=0, compare=False)


@dataclass
class FileChange:
    """What a diff does to one path. Modes are octal text ("100644"); a mode or blob of None is not stated by the diff.

    kind: "modify", "add", "delete", "rename" or "copy"; old_path is where the content comes from.
    """

    old_path: bytes
    new_path: bytes
    kind: str = "modify"
    old_mode: str | None = None
    new_mode: str | None = None
    old_blob: str | None = None
    new_blob: str | None = None
    hunks: list[Hunk] = field(default_factory=list)
    binary: tuple[str, bytes] | None = None  # ("literal" | "delta", data)

    def apply(self, old: bytes) -> bytes:
        """The new content made from the old; HunkMismatch when a hunk does not fit exactly where it says."""
        if self.binary is not None:
            form, data = self.binary
            if form == "literal":
                return data
            try:
                return apply_delta(old, data)
            except IndexError:
                raise HunkMismatch("the binary change is cut short") from None
        lines = lines_of(old)
        out: list[bytes] = []
        at = 0
        for number, hunk in enumerate(self.hunks, 1):
            begin = hunk.start - 1 if hunk.old else hunk.start
            if begin < at or tuple(lines[begin : begin + len(hunk.old)]) != hunk.old:
                raise HunkMismatch(f"hunk {number} does not match at line {hunk.start}")
            out += lines[at:begin]
            out += hunk.new
            at = begin + len(hunk.old)
        out += lines[at:]
        return b"".join(out)


def blob_id(data: bytes) -> str:
    """The hash under which git stores this content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def split_lines(data: bytes) -> list[bytes]:
    """Lines with their endings, split at LF only (bytes.splitlines also splits at a lone CR)."""
    lines = data.split(b"\n")
    last = lines.pop()
    return [line + b"\n" for line in lines] + ([last] if last else [])


@lru_cache(maxsize=2)
def lines_of(data: bytes) -> list[bytes]:
    """The same of a file whose hunks are first found and then applied; not to be changed."""
    return split_lines(data)


def parse(name: str, diff: bytes) -> list[FileChange]:
    """Every file change of a patch's diff; BadInput names the patch and the line that cannot be understood."""
    lines = split_lines(diff)
    changes: list[FileChange] = []
    at = 0
    while at < len(lines):
        if lines[at].startswith(b"diff --git "):
            change, at = parse_file(name, lines, at)
            changes.append(change)
        elif lines[at].rstrip() in (b"", b"--") or not changes or lines[at - 1].rstrip() == b"--":
            at += 1  # the mail signature, and blank lines around it
        else:
            shown = lines[at].decode("utf-8", "replace").rstrip()
            raise BadInput(f"{name}.patch: line {shown!r} stands between two files of the diff",
                           AGAIN)
    return changes


def parse_file(name: str, lines: list[bytes], at: int) -> tuple[FileChange, int]:
    """One ``diff --git`` section: its extended header, then hunks or binary data. Returns the change and the next line."""
    old_path, new_path = header_paths(lines[at])
    change = FileChange(old_path, new_path)
    at += 1
    while at < len(lines) and not lines[at].startswith((b"diff --git ", b"@@ ", b"GIT binary patch")):
        if not header_line(change, lines[at].rstrip(b"\n")):
            break
        at += 1
    if at < len(lines) and BINARY.match(lines[at]):
        path = shown(new_path or change.new_path)
        raise BadInput(f"{name}.patch: {path} is binary, and the patch says only that it differs, without its data", WITH_DATA)
    if at < len(lines) and lines[at].startswith(b"GIT binary patch"):
        at = parse_binary(name, change, lines, at + 1)
    while at < len(lines) and lines[at].startswith(b"@@ "):
        hunk, at = parse_hunk(name, lines, at)
        change.hunks.append(hunk)
    if not change.new_path or not change.old_path:
        raise BadInput(f"{name}.patch: a `diff --git` line names no path with a/ and b/ before it", AGAIN)
    check_paths(name, change)
    return change, at


def check_paths(name: str, change: FileChange) -> None:
    """Refuse a path that no tree can hold, before anybody makes a file or a folder of it: such a one can lie outside the checkout."""
    for path in (change.old_path, change.new_path):
        if not holdable(path) or (change.new_mode == LINK and path.rpartition(b"/")[2].lower() == b".gitmodules"):
            raise BadInput(f"{name}.patch names {shown(path)!r}, a path that git does not check out",
                           f"correct the path, or delete the line of {name}.patch from the series file")


def holdable(path: bytes) -> bool:
    """Whether git checks out such a path: relative, no empty part, no ``.``, ``..`` or ``.git`` in it."""
    return b"\0" not in path and not any(UNHOLDABLE.fullmatch(part) for part in path.split(b"/"))


def header_line(change: FileChange, line: bytes) -> bool:
    """Take one extended header line into the change; False when it is none."""
    word, _, value = line.partition(b" ")
    if match := INDEX.match(line):
        change.old_blob, change.new_blob = match[1].decode(), match[2].decode()
        if match[3]:
            change.old_mode = match[3].decode()  # what it was: only a mode line changes one
    elif line.startswith(b"old mode "):
        change.old_mode = line[9:].decode()
    elif line.startswith(b"new mode "):
        change.new_mode = line[9:].decode()
    elif line.startswith(b"new file mode "):
        change.kind, change.new_mode = "add", line[14:].decode()
    elif line.startswith(b"deleted file mode "):
        change.kind, change.old_mode = "delete", line[18:].decode()
    elif word in (b"rename", b"copy"):
        change.kind = word.decode()
        side, _, path = value.partition(b" ")
        if side == b"from":
            change.old_path = unquote(path)
        else:
            change.new_path = unquote(path)
    elif word in (b"---", b"+++"):
        if (path := unquote(value.split(b"\t")[0])) != b"/dev/null":  # git ends a name with a blank in it by a tab
            attribute, prefix = ("old_path", b"a/") if word == b"---" else ("new_path", b"b/")
            setattr(change, attribute, path[2:] if path.startswith(prefix) else b"")
    else:
        return word in (b"similarity", b"dissimilarity")
    return True


def header_paths(line: bytes) -> tuple[bytes, bytes]:
    """Both paths of ``diff --git a/x b/x``; when they cannot be told apart here, later header lines name them."""
    rest = line[len(b"diff --git ") :].rstrip(b"\n")
    if rest.startswith(b'"'):
        end = re.match(rb'"(?:[^"\\]|\\.)*"', rest)
        first = end[0] if end else rest
        old, new = unquote(first), unquote(rest[len(first) + 1 :])
    elif rest.endswith(b'"'):
        first, _, second = rest.partition(b' "')
        old, new = first, unquote(b'"' + second)
    else:
        half = (len(rest) - 1) // 2  # equal names: "a/" + n + " b/" + n
        old, new = rest[:half], rest[half + 1 :]
        if old[2:] != new[2:]:
            return b"", b""
    return (old[2:], new[2:]) if old.startswith(b"a/") and new.startswith(b"b/") else (b"", b"")


def unquote(path: bytes) -> bytes:
    """A path as git prints it, without its C-style quotes."""
    if not (path.startswith(b'"') and path.endswith(b'"')):
        return path

    def plain(match: re.Match[bytes]) -> bytes:
        code = match[1]
        return bytes([int(code, 8)]) if code.isdigit() else ESCAPES.get(code, code)

    return re.sub(rb"\\([0-7]{3}|.)", plain, path[1:-1])


def shown(path: bytes) -> str:
    """A path for a message: on one line, whatever its bytes are."""
    text = path.decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def quote(path: bytes) -> bytes:
    """A path in C-style quotes, every byte that is not plain ASCII escaped: what fast-import reads back exactly."""
    return b'"' + b"".join(bytes([c]) if 32 <= c < 127 and c not in b'"\\' else b"\\%03o" % c for c in path) + b'"'


def parse_hunk(name: str, lines: list[bytes], at: int) -> tuple[Hunk, int]:
    """One hunk, its length taken from its header, so that no content can be mistaken for structure."""
    match = HUNK.match(lines[at])
    if match is None:
        raise BadInput(f"{name}.patch: cannot read hunk header {lines[at]!r}", AGAIN)
    want_old, want_new = int(match[2] or 1), int(match[4] or 1)
    old: list[bytes] = []
    new: list[bytes] = []
    size = len(lines[at])
    at += 1
    while len(old) < want_old or len(new) < want_new or (at < len(lines) and lines[at].startswith(b"\\")):
        line = lines[at] if at < len(lines) else b""
        tag, text = line[:1], line[1:]
        if text[-1:] != b"\n" and tag in (b" ", b"+", b"-"):
            raise BadInput(f"{name}.patch: it ends in the middle of a line, {line[:40]!r}: it was cut short", AGAIN)
        if tag == b" ":
            old.append(text)
            new.append(text)
        elif tag == b"+":
            new.append(text)
        elif tag == b"-":
            old.append(text)
        elif tag == b"\n":
            old.append(line)
            new.append(line)
        elif tag == b"\\":  # "\ No newline at end of file" speaks of the line before it
            for side in (old, new):
                if side and lines[at - 1][:1] in ((b" ", b"-") if side is old else (b" ", b"+")):
                    side[-1] = side[-1].removesuffix(b"\n")
        else:
            lacking = max(want_old - len(old), want_new - len(new))
            what = f"is cut short or holds {line[:40]!r}" if line else f"is cut short by {lacking} lines (where they are empty, an editor took them off)"
            raise BadInput(f"{name}.patch: hunk {match[0].decode()} {what}", AGAIN)
        size += len(line)
        at += 1
    if len(old) != want_old or len(new) != want_new:
        raise BadInput(f"{name}.patch: hunk {match[0].decode()} has {len(old)} old and {len(new)} new lines",
                       AGAIN)
    return Hunk(int(match[1]), tuple(old), tuple(new), int(match[3]), size), at


def parse_binary(name: str, change: FileChange, lines: list[bytes], at: int, *, both: bool = False) -> int:
    """A ``GIT binary patch``: the forward data is kept, the reverse data passed over. Returns the next line.

    both: the reverse data must be whole, too; where it is not, git drops the file's change with exit code 0.
    """
    for forward in (True, False):
        if at >= len(lines):
            break
        form, _, size = lines[at].rstrip().partition(b" ")
        if form not in (b"literal", b"delta"):
            break
        if not size.isdigit():
            raise BadInput(f"{name}.patch: its binary data cannot be unpacked: its size is {size[:20]!r}", AGAIN)
        at += 1
        begin = at
        while at < len(lines) and lines[at].strip():
            at += 1
        if both and (at >= len(lines) or lines[at] != b"\n"):
            raise BadInput(f"{name}.patch: its binary data ends in a line that is not empty", AGAIN)
        if both and not forward:
            unpacked(name, lines[begin:at], size)
        if forward:
            change.binary = (form.decode(), unpacked(name, lines[begin:at], size))
        at += 1
    if change.binary is None:
        raise BadInput(f"{name}.patch: a binary change without data", WITH_DATA)
    return at


def unpacked(name: str, lines: list[bytes], size: bytes) -> bytes:
    """The data of one binary block: base 85 under a length letter per line, then deflated."""
    packed = bytearray()
    try:
        for line in lines:
            count = line[0] - 64 if line[0] <= 90 else line[0] - 96 + 26  # A-Z: 1..26, a-z: 27..52
            if not line[:1].isalpha() or len(line.rstrip(b"\n")) != 1 + -(-count // 4) * 5:
                raise ValueError(f"a line of {len(line) - 1} bytes")
            packed += base64.b85decode(line[1:].rstrip(b"\n"))[:count]
        data = zlib.decompress(bytes(packed))
        promised = int(size)
    except (ValueError, zlib.error) as error:
        raise BadInput(f"{name}.patch: its binary data cannot be unpacked ({error})", AGAIN) from None
    if len(data) != promised:
        raise BadInput(f"{name}.patch: binary data of {len(data)} bytes, its header says {promised}", AGAIN)
    return data


def apply_delta(old: bytes, delta: bytes) -> bytes:
    """Apply a git pack delta (copy and insert operations) to old content."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = delta[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value

    if varint() != len(old):
        raise HunkMismatch("the binary change was made from a file of another size")
    size = varint()
    out = bytearray()
    while at < len(delta):
        op = delta[at]
        at += 1
        if op & 0x80:
            fields = []
            for bit in range(7):
                fields.append(delta[at] if op >> bit & 1 else 0)
                at += op >> bit & 1
            offset = int.from_bytes(bytes(fields[:4]), "little")
            length = int.from_bytes(bytes(fields[4:]), "little") or 0x10000
            out += old[offset : offset + length]
        else:
            out += delta[at : at + op]
            at += op
    if len(out) != size:
        raise HunkMismatch("the binary change does not make the size it promises")
    return bytes(out)
