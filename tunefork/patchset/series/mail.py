"""A patch file: a commit as mail, read as bytes. Written by ``git format-patch`` only (export.py), so only reading is here.

The reader takes what git's own mailinfo takes from a canonical file, and refuses what mailinfo would silently cut or rewrite.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from tunefork.base.errors import BadInput

# `Name <mail>` with the name bare or in quotes, as format-patch writes it.
PERSON = re.compile(r'^(?:"((?:[^"\\]|\\.)*)"|([^"<>]*?))\s*<([^<>\s]*)>$')
STEERS = re.compile(r"[\x00-\x1f\x7f<>]")
TRAILER = re.compile(rb"^([A-Za-z][A-Za-z0-9-]*): +(\S.*)$")
_Moment = tuple[int, int, int, int, int, int, int, int, int, int | None]
# A body line at which mailinfo ends the message, whatever follows.
ENDS_MESSAGE = re.compile(rb"^(---\s*|--- \S.*|diff -.*|Index: .*)$")
# A first line of a body that mailinfo takes for a header, or drops.
IN_BODY = re.compile(rb"(?i:From|Date|Subject):|\[PATCH\](?:\s|$)|>From\s+[0-9a-f]{40}\s")
BLANKS = " \t\n\r\f\v"  # git's; those of other scripts are letters of a name or a subject
LONGEST_NAME = 60  # bytes of an author's name; mailinfo takes the address in place of a longer one


@dataclass(frozen=True)
class PatchFile:
    """One patch as it lies in patches/<upstream>/.

    name: file name without ``.patch``.  data: the file's bytes.
    author: ``Name <mail>``.  date: ``<seconds> <+hhmm>``, as commits hold it.
    message: subject, blank line, body, as the commit's message.  diff: from the first ``diff --git`` on.
    picked: it is an upstream's commit (picks.py), made on another tree than the one it goes onto.
    """

    name: str
    data: bytes
    author: bytes
    date: bytes
    message: bytes
    diff: bytes
    picked: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def subject(self) -> str:
        return self.message.split(b"\n", 1)[0].decode("utf-8", "replace")

    def trailers(self, key: str) -> list[str]:
        """The values of a trailer, in order; only the message's last paragraph holds trailers."""
        wanted = key.lower().encode()
        found = (TRAILER.match(line) for line in self.message.rstrip().split(b"\n\n")[-1].split(b"\n"))
        return [match[2].decode("utf-8", "replace").strip() for match in found if match and match[1].lower() == wanted]


def read(name: str, data: bytes) -> PatchFile:
    """Read a patch file's bytes; BadInput says what is missing or ambiguous in it."""
    from email.utils import parsedate_tz  # here and below: what only hashes a patch's bytes does not pay for it

    if data.partition(b"\n")[0].endswith(b"\r"):
        raise BadInput(f"{name}.patch has CRLF line ends: a tool or git's core.autocrlf rewrote it",
                       "`git checkout -- patches/` with core.autocrlf=false brings it back")
    head, separator, rest = data.partition(b"\n\n")
    headers = read_headers(name, head)
    if not separator:
        raise BadInput(f"{name}.patch ends in its headers: expected a message and a diff", export_remedy(name))
    body, diff = split_body(name, rest)
    person = PERSON.match(decoded(headers[b"from"]))
    moment = parsedate_tz(headers[b"date"].decode("ascii", "replace"))
    date = commit_date(moment) if moment else None
    if person is None or date is None:
        raise BadInput(f"{name}.patch: `From:` must be `Name <mail>` and `Date:` an RFC 2822 date", export_remedy(name))
    subject = re.sub(rb"\s+", b" ", decoded(headers[b"subject"]).encode("utf-8", "surrogateescape"))  # folding keeps no runs of blanks
    message = subject + (b"\n\n" + text if (text := tidy(body)) else b"") + b"\n"
    called = re.sub(r"\\(.)", r"\1", person[1]) if person[1] is not None else person[2].strip()
    if STEERS.search(called + person[3]):  # a line of its own in a commit, and a command in what makes one
        raise BadInput(f"{name}.patch: the name in `From:` holds control characters or one of < and >, which no commit's author has", export_remedy(name))
    author = f"{called or person[3]} <{person[3]}>".encode("utf-8", "surrogateescape")
    return PatchFile(name, data, author, date, message, diff)


def read_headers(name: str, head: bytes) -> dict[bytes, bytes]:
    """The mail headers with folded lines joined; From, Date and Subject must be there."""
    unfolded = re.sub(rb"\n[ \t]+", b" ", head)
    headers: dict[bytes, bytes] = {}
    for line in unfolded.split(b"\n"):
        key, colon, value = line.partition(b": ")
        if colon and b" " not in key:
            headers.setdefault(key.lower(), value.strip())
    missing = [key.decode().title() for key in (b"from", b"date", b"subject") if not headers.get(key)]
    if missing:
        raise BadInput(f"{name}.patch is not in mail format: no {', '.join(missing)} header", export_remedy(name))
    if (coding := headers.get(b"content-transfer-encoding", b"8bit").lower()) not in (b"7bit", b"8bit", b"binary"):
        raise BadInput(f"{name}.patch is mail in {coding.decode('ascii', 'replace')} encoding, not plain bytes",
                       "`git am` it in the checkout, then `python3 build.py patch export`")
    return headers


def split_body(name: str, rest: bytes) -> tuple[bytes, bytes]:
    """The message's body and the diff; refuses a body that git's tools would read differently than a person does."""
    start = 0 if rest.startswith(b"diff --git ") else rest.find(b"\ndiff --git ") + 1
    if not start and not rest.startswith(b"diff --git "):
        raise BadInput(f"{name}.patch holds no `diff --git`: an empty patch says nothing", export_remedy(name))
    lines = rest[:start].split(b"\n")
    ends = [index for index, line in enumerate(lines) if ENDS_MESSAGE.match(line)]
    body = lines[: ends[0]] if ends else lines
    if IN_BODY.match(next((line for line in body if line.strip()), b"")):
        raise BadInput(f"{name}.patch: the body begins with a mail header, which git am takes for the author's",
                       "indent that line or put a sentence before it")
    after = [line for line in (lines[ends[0] + 1 :] if ends else []) if line.strip() and not line.startswith(b" ")]
    if after:
        shown = after[0][:60].decode("utf-8", "replace")
        raise BadInput(f"{name}.patch: a `---` line ends the message early; after it comes {shown!r}",
                       "indent that `---` line in the message, or delete it")
    return b"\n".join(body), rest[start:]


def tidy(body: bytes) -> bytes:
    """A body as git am and git commit keep it: no blanks at the ends of lines, one empty line between paragraphs, none around."""
    lines = b"\n".join(line.rstrip() for line in body.split(b"\n"))
    return re.sub(rb"\n{3,}", b"\n\n", lines).strip(b"\n")


def begins_mail(line: bytes) -> bool:
    """Whether git mailsplit takes a line for the first of a mail: "From ", a time of day, and a year after 1990."""
    if len(line) < 19 or not line.startswith(b"From "):
        return False
    colon = line.rfind(b":", 5, len(line) - 1)
    if colon < 9 or not (line[colon - 4 : colon - 3].isdigit() and line[colon - 2 : colon].isdigit() and line[colon + 1 : colon + 3].isdigit()):
        return False
    year = re.match(rb"\s*\d+", line[colon + 3 :])
    return year is not None and int(year[0]) > 90


def begins(data: bytes) -> list[int]:
    """Where git mailsplit begins the mails of a file, as numbers of lines from 0; the first line is one."""
    found, at, line = [0], 0, 0
    for match in re.finditer(rb"\nFrom [^\n]*", data):
        line += data.count(b"\n", at, match.start() + 1)
        at = match.start() + 1
        if begins_mail(match[0][1:]):
            found.append(line)
    return found


def without_patch(subject: str) -> str:
    """A subject without what ``git am --keep-non-patch`` takes off its beginning: "Re:" and brackets that say PATCH."""
    return taken_off(subject)[0]


def taken_off(subject: str) -> tuple[str, str]:
    """(a subject as git am keeps it, the words that it takes off)."""
    kept, rest, words = "", subject.lstrip(BLANKS), []
    while rest:
        if re.match(r"[Rr][Ee]:", rest):
            words.append(rest[:3])
            rest = rest[3:].lstrip(BLANKS)
        elif rest[0] in " \t:":
            words += [":"] * (rest[0] == ":")
            rest = rest[1:]
        elif rest[0] == "[" and "]" in rest:
            end = rest.index("]") + 1
            if "PATCH" not in rest[:end]:
                kept += rest[:end] + (" " if rest[end : end + 1] in tuple(BLANKS) else "")
            else:
                words.append(rest[:end])
            rest = rest[end:].lstrip(BLANKS) if rest[end : end + 1] in tuple(BLANKS) or "PATCH" in rest[:end] else rest[end:]
        else:
            break
    return (kept + rest).strip(BLANKS), " ".join(words)


def survives(name: str, address: str) -> bool:
    """Whether git am keeps an author's name: one that is long, or holds an address, it replaces by the address; of one in brackets it takes them off."""
    return name == address or not (len(name.encode("utf-8", "replace")) > LONGEST_NAME or re.search(r"[@<>]|^\(.*\)$", name))


def decoded(value: bytes) -> str:
    """A header's text, with RFC 2047 words decoded; raw UTF-8 (what export writes) passes through."""
    text = value.decode("utf-8", "surrogateescape")
    if "=?" not in text:
        return text
    from email.errors import HeaderParseError
    from email.header import decode_header

    try:
        return "".join(part.decode(charset or "raw-unicode-escape", "replace") if isinstance(part, bytes) else part
                       for part, charset in decode_header(text))  # fmt: skip
    except (HeaderParseError, LookupError):  # not an encoded word after all
        return text


def commit_date(moment: _Moment) -> bytes | None:
    """A parsed RFC 2822 date as ``<seconds since the epoch> <+hhmm>``; None for a year or a day that there is not."""
    from email.utils import mktime_tz

    offset = moment[9] or 0
    sign = "-" if offset < 0 else "+"
    minutes = abs(offset) // 60
    try:
        return f"{mktime_tz(moment)} {sign}{minutes // 60:02}{minutes % 60:02}".encode()
    except (ValueError, OverflowError):
        return None


def export_remedy(name: str) -> str:
    """What to do about a file that is no patch; export, which reads every file of the series, would stop at it again."""
    return (f"`git checkout -- patches/` brings {name}.patch back as it was committed; where it never was: "
            "`git format-patch -k -1 --stdout COMMIT` in the checkout writes it, and `python3 build.py patch lock` takes it in")  # fmt: skip
