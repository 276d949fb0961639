"""Patches that others wrote: a folder of git format-patch mail, or a quilt series; read as git and quilt read them, and placed exactly.

A hunk goes where it says, or to the one place in the file that holds its lines; where several do, or none, it is refused. No fuzz.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from email.utils import mktime_tz, parsedate_tz
from pathlib import Path

from tunefork.base.errors import BadInput
from tunefork.patchset.git import EMAIL, EPOCH, NAME
from tunefork.patchset.series import diff, mail
from tunefork.patchset.series.diff import FileChange, Hunk, HunkMismatch, shown
from tunefork.patchset.series.materialise import ABSENT, GITLINK, Tree
from tunefork.patchset.series.series import NAME as PATCH_NAME

ENDINGS = (".patch", ".diff", ".eml", ".mbox")
HEADER = re.compile(rb"^([A-Za-z][A-Za-z0-9-]*):[ \t]*(.*)$")
BRACKETS = re.compile(r"^\s*((Re:|re:)\s*|\[[^\]]*(?<![\w-])PATCH(?![\w-])[^\]]*\]\s*)+")
MAIL_BEGINS = re.compile(rb"(?:\A|\n)From [^\n]*\d{4}[^\n]*\n(?=[A-Za-z-]+:[ \t])")  # as git mailsplit finds them
MAIL_HEADER = re.compile(rb"(?i)^(From|Date|Subject):\s")
DIFF_BEGINS = re.compile(rb"^(diff --git |diff -|Index: |--- [^\n]*\n\+\+\+ )", re.MULTILINE)
ENDS = re.compile(rb"^---[ \t]*$", re.MULTILINE)
DEP3 = {b"description", b"subject", b"author", b"from", b"origin", b"bug", b"forwarded", b"last-update", b"reviewed-by", b"applied-upstream"}
OLD_NAME, NEW_NAME = re.compile(rb"^--- (.*)$"), re.compile(rb"^\+\+\+ (.*)$")


@dataclass
class Foreign:
    """A patch of somebody else's. file: its name in the folder.  author, date, message: as commits hold them.  notes: on how it was read."""

    name: str
    file: str
    author: bytes
    date: bytes
    message: bytes
    changes: list[FileChange]
    notes: list[str] = field(default_factory=list)


def read_folder(folder: Path) -> tuple[list[Foreign], list[str]]:
    """(the patches of a folder, in order; files that were passed over and why). The order is that of ``series``, else of the names."""
    if not folder.is_dir():
        raise BadInput(f"{folder} is no folder", "name the folder that holds the patches, or the one with their `series` file")
    entries = quilt_order(folder) if (folder / "series").is_file() else [(path.name, 1) for path in sorted(folder.iterdir()) if is_patch(path)]
    if not entries:
        raise BadInput(f"{folder} holds no patch", "it should hold *.patch or *.diff files, as `git format-patch -o` writes them, or a quilt `series`")
    found: list[Foreign] = []
    passed: list[str] = []
    for file, strip in entries:
        path = folder / file
        if not path.is_file():
            raise BadInput(f"{folder / 'series'} names {file}, and there is no such file", "delete its line, or bring the file back")
        patch = read(fresh_name(file, {each.name for each in found}), file, path.read_bytes(), strip)
        if patch.changes:
            found.append(patch)
        else:
            passed.append(f"{file}: no diff in it")
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
    for ending in ENDINGS:
        stem = stem.removesuffix(ending)
    stem = re.sub(r"\.+", ".", re.sub(r"[^A-Za-z0-9_+.-]+", "-", stem)).strip("-._+") or "patch"
    if not PATCH_NAME.fullmatch(stem):
        stem = stem.replace(".", "-")
    numbered = (f"{stem}-{number}" for number in range(2, 10_000))
    return stem if stem not in taken else next(name for name in numbered if name not in taken)


def read(name: str, file: str, data: bytes, strip: int) -> Foreign:
    """One file, as mail or as a diff with a description before it."""
    first = data.partition(b"\n")[0]
    if first.endswith(b"\r"):
        data = data.replace(b"\r\n", b"\n")
    if is_mail(data) and (mails := len(MAIL_BEGINS.findall(data))) > 1:
        raise BadInput(f"{file} holds {mails} mails, and a patch is one", f"`git mailsplit -oDIR {file}` makes a file of each in DIR; import that")
    author, date, message, rest = read_mail(name, data) if is_mail(data) else read_plain(name, data)
    return Foreign(name, file, author, date, message, parse(file, rest, strip))


def is_mail(data: bytes) -> bool:
    """Whether a file begins as mail does, and not with the fields of DEP-3 that look like it."""
    if data.startswith(b"From "):
        return True
    head = [line for line in data.partition(b"\n\n")[0].split(b"\n") if line[:1] not in (b" ", b"\t")]
    keys = {match[1].lower() if match else b"" for match in map(HEADER.match, head)}
    return b"" not in keys and b"subject" in keys and bool(keys & {b"from", b"date"}) and not keys & (DEP3 - {b"from", b"subject"})


def read_mail(name: str, data: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """(author, date, message, diff) of a mail, as git mailinfo takes them."""
    head, _, body = data.partition(b"\n\n")
    letter = message_from_bytes(head.partition(b"\n")[2] + b"\n\n" + body if head.startswith(b"From ") else data)
    if str(letter.get("Content-Transfer-Encoding", "8bit")).lower() in ("base64", "quoted-printable") and not letter.is_multipart():
        payload = letter.get_payload(decode=True)
        body = (payload if isinstance(payload, bytes) else b"").replace(b"\r\n", b"\n")
    fields = {key: value for key in (b"from", b"date", b"subject") if (value := header(head, key)) is not None}
    text, rest = divided(body)
    lines = text.strip(b"\n").split(b"\n")
    while lines and (match := HEADER.match(lines[0])) and match[1].lower() in (b"from", b"date", b"subject"):  # in-body headers
        fields[match[1].lower()] = mail.decoded(match[2])
        lines.pop(0)
    charset = letter.get_content_charset("utf-8")
    return (*person(fields.get(b"from", ""), fields.get(b"date", "")), worded(name, fields.get(b"subject", ""), lines, charset), rest)


def header(head: bytes, key: bytes) -> str | None:
    """A header's text, unfolded and decoded."""
    found = re.search(rb"(?im)^" + key + rb":[ \t]*(.*(?:\n[ \t].*)*)", head)
    return mail.decoded(re.sub(rb"\n[ \t]+", b" ", found[1]).strip()) if found else None


def read_plain(name: str, data: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """(author, date, message, diff) of a quilt patch: its description is free text, or the fields of Debian's DEP-3."""
    text, rest = divided(data)
    fields: dict[bytes, str] = {}
    lines = []
    top = True  # fields stand in the first paragraph, and only where it begins with one
    for line in text.strip(b"\n").split(b"\n"):
        match = HEADER.match(line) if top else None
        key = match[1].lower() if match else b""
        if match and key in DEP3 and key not in fields:
            fields[key] = mail.decoded(match[2])
            if key not in (b"description", b"subject", b"from", b"author"):
                lines.append(line)
        else:
            top = top and bool(fields) and bool(line.strip())
            lines.append(b"" if line == b" ." else line.removeprefix(b" ") if fields else line)
    subject = fields.get(b"subject") or fields.get(b"description") or ""
    if not subject and lines and lines[0].strip():
        subject = lines.pop(0).decode("utf-8", "surrogateescape").lstrip("# ")
    return (*person(fields.get(b"from") or fields.get(b"author") or "", fields.get(b"last-update", "")), worded(name, subject, lines, "utf-8"), rest)


def divided(body: bytes) -> tuple[bytes, bytes]:
    """(message, diff): the message ends at ``---`` or where the diff begins."""
    begins = DIFF_BEGINS.search(body)
    at = begins.start() if begins else len(body)
    ends = ENDS.search(body, 0, at)
    return body[: ends.start() if ends else at], body[at:]


def worded(name: str, subject: str, lines: list[bytes], charset: str) -> bytes:
    """A message in canonical form, in UTF-8 where its bytes can be read; a line that git am would take for a header or an end is indented."""
    title = re.sub(r"\s+", " ", BRACKETS.sub("", subject)).strip() or name
    text = [line.rstrip() for line in lines]
    while text and not text[0]:
        text.pop(0)
    text = [b" " + line if mail.ENDS_MESSAGE.match(line) or (not at and MAIL_HEADER.match(line)) else line for at, line in enumerate(text)]
    body = b"\n".join(text).rstrip(b"\n")
    try:
        body = body.decode(charset).encode()
    except (UnicodeDecodeError, LookupError):
        body = body.decode("utf-8", "replace").encode()
    return title.encode("utf-8", "replace") + (b"\n\n" + body if body else b"") + b"\n"


def person(called: str, when: str) -> tuple[bytes, bytes]:
    """(``Name <mail>``, ``<seconds> <+hhmm>``); ours and a fixed date where nobody is named."""
    match = mail.PERSON.match(re.sub(r"\s+", " ", called).strip().encode("utf-8", "surrogateescape").decode("utf-8", "replace"))
    moment = parsedate_tz(when) if when else None
    if match:
        name = re.sub(r"\\(.)", r"\1", match[1]) if match[1] is not None else match[2].strip()
        author = f"{re.sub('[<>]', '', name) or match[3]} <{match[3]}>"
    else:
        address = re.fullmatch(r"[^<>\s]+@[^<>\s]+", called.strip())
        author = f"{called.strip()} <{called.strip()}>" if address else f"{NAME} <{EMAIL}>"
    date = mail.commit_date(moment) if moment and mktime_tz(moment) >= 0 else EPOCH.encode()
    return author.encode(), date


# -- the diff ---------------------------------------------------------------------------------------------------


def parse(file: str, text: bytes, strip: int) -> list[FileChange]:
    """Every file change of a git diff or a plain one; what stands between them is passed over, as git apply does."""
    lines = diff.split_lines(text)
    changes: list[FileChange] = []
    at = 0
    while at < len(lines):
        if lines[at].startswith(b"diff --git "):
            change, at = diff.parse_file(file.removesuffix(".patch"), lines, at)
            changes.append(change)
        elif OLD_NAME.match(lines[at]) and at + 1 < len(lines) and NEW_NAME.match(lines[at + 1]):
            change, at = parse_plain(file, lines, at, strip)
            changes.append(change)
        else:
            at += 1
    return changes


def parse_plain(file: str, lines: list[bytes], at: int, strip: int) -> tuple[FileChange, int]:
    """One file of a diff without git's header."""
    names = [plain_path(line[4:], strip) for line in (lines[at], lines[at + 1])]
    old, new = names[0] or names[1], names[1] or names[0]
    if not old or not new:
        raise BadInput(f"{file}: {shown(lines[at].strip())} names no path with {strip} parts before it", "give the series line another -pN")
    change = FileChange(old if not names[1] else new, new)
    at += 2
    while at < len(lines) and lines[at].startswith(b"@@ "):
        hunk, at = diff.parse_hunk(file, lines, at)
        change.hunks.append(hunk)
    if names[0] is None or (len(change.hunks) == 1 and change.hunks[0].start == 0 and not change.hunks[0].old):
        change.kind = "add"
    elif names[1] is None:
        change.kind = "delete"
    diff.check_paths(file.removesuffix(".patch"), change)
    return change, at


def plain_path(text: bytes, strip: int) -> bytes | None:
    """A path without its first parts; None for /dev/null."""
    path = diff.unquote(text.rstrip(b"\r\n").split(b"\t")[0])
    if path == b"/dev/null":
        return None
    parts = path.split(b"/")
    return b"/".join(parts[strip:])


def placed(tree: Tree, change: FileChange, notes: list[str]) -> FileChange:
    """The change with its hunks where the tree's file holds their lines. HunkMismatch says what is nowhere, or in several places."""
    have = tree.entries.get(change.old_path, ABSENT)
    if change.kind == "add" and have != ABSENT and change.new_mode is None and not tree.content(have[1]):
        change = replace(change, kind="modify")  # a plain diff cannot tell a new file from an empty one
    if change.kind == "add" or have == ABSENT or GITLINK in (have[0], change.old_mode):
        return change
    made_from = bool(change.old_blob) and have[1].startswith(change.old_blob or "")
    if change.binary is not None or made_from or not change.hunks:
        return change
    lines = diff.split_lines(tree.content(have[1]) or b"")
    hunks: list[Hunk] = []
    at = 0
    for number, hunk in enumerate(change.hunks, 1):
        begin = place_of(lines, hunk, at, stated=change.old_blob is None)
        if isinstance(begin, str):
            raise HunkMismatch(f"{shown(change.old_path)}: hunk {number} (at line {hunk.start}) {begin}")
        stated = hunk.start - 1 if hunk.old else hunk.start
        if begin != stated:
            notes.append(f"{shown(change.old_path)}: hunk {number} is {abs(begin - stated)} lines {'lower' if begin > stated else 'higher'}")
        hunks.append(replace(hunk, start=begin + 1 if hunk.old else begin))
        at = begin + len(hunk.old)
    found = replace(change, hunks=hunks, old_blob=None, new_blob=None, old_mode=None)
    if change.kind == "delete" and found.apply(b"".join(lines)):
        raise HunkMismatch(f"{shown(change.old_path)}: it deletes the file, which holds more than the patch removes")
    return found


def place_of(lines: list[bytes], hunk: Hunk, at: int, *, stated: bool) -> int | str:
    """Where a hunk's lines are, counted from 0, or why it has no place. stated: its own line decides between equal places."""
    if not hunk.old:
        return hunk.start if not lines or hunk.start >= at else "stands before another hunk"
    count, first = len(hunk.old), hunk.old[0]
    there = [begin for begin in range(at, len(lines) - count + 1) if lines[begin] == first and tuple(lines[begin : begin + count]) == hunk.old]
    if len(there) == 1:
        return there[0]
    if stated and hunk.start - 1 in there:
        return hunk.start - 1
    if there:
        return f"fits at {len(there)} places (lines {', '.join(str(each + 1) for each in there[:4])}), and nothing says which is meant"
    return f"does not match: its {count} lines are nowhere in the file"
