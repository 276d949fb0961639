"""A patch's words: author, date, message; of mail as ``git mailinfo`` reads it, of hg's and StGit's exports, and of Debian's DEP-3 fields.

What cannot be kept (a second author, a name that git am does not take, bytes that are no text) is said in notes.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tunefork.base.errors import BadInput
from tunefork.patchset.author import ledger, mime, people
from tunefork.patchset.git import EMAIL, NAME, Git
from tunefork.patchset.series import mail
from tunefork.patchset.series.diff import shown

HEADER = re.compile(rb"^([A-Za-z][A-Za-z0-9-]*):[ \t]*(.*)$")
FIELD = re.compile(rb"[!-9;-~]+:")  # a line of a mail's header, to git am
USUAL_PREFIX = re.compile(r"((Re|RE|re):\s*)*(\[[^\]]*(?<![\w-])PATCH(?![\w-])[^\]]*\])?")  # what nobody misses in a subject
USUAL_DATE = re.compile(rb"[A-Z][a-z]{2}, [ \d]?\d [A-Z][a-z]{2} (19[7-9]|20)\d\d [0-2]\d:[0-5]\d:[0-5]\d [-+][01]\d[0-5]\d")
DIFF_BEGINS = re.compile(rb"^(diff --git |diff -|Index: |--- [^\n]*\n\+\+\+ |\*\*\* [^\n]*\n--- [^\n]*\n\*{15}|@@ -\d|(Binary f|F)iles .* differ$)",
                         re.MULTILINE)  # fmt: skip
NESTED = re.compile(rb"^From [0-9a-f]{40} Mon Sep 17 00:00:00 2001\n(?=(?:From|Subject|Date): )", re.MULTILINE)
ENDS = re.compile(rb"^---[ \t]*$", re.MULTILINE)
DEP3 = {b"description", b"subject", b"author", b"from", b"origin", b"bug", b"forwarded", b"last-update", b"reviewed-by", b"acked-by",
        b"applied-upstream"}  # fmt: skip
CODED = re.compile(rb"(?im)^Content-(Transfer-Encoding:(?![ \t]*(7bit|8bit|binary)[ \t]*$)|"
                   rb"Type:(?![ \t]*text/plain[ \t]*(;[ \t]*charset=\"?(us-ascii|utf-8)\"?[ \t]*)?$))")
PLAIN_FROM = re.compile(rb"(\"[A-Za-z0-9][\w -]{0,50}[.]?[\w -]{0,20}\"|[A-Za-z0-9][\w .'\x80-\xff-]{0,50}) <[^\s<>()\",;:@]+@[^\s<>()\",;:@]+>")


@dataclass
class Letter:
    """A patch's words, as commits hold them, and its diff.

    line: the number of the diff's first line in the file (0: not known).  notes: what was lost.
    others: trailers for the authors after the first.
    parts: the file's bytes by what they are, but for those of the diff.  coded: the diff is not in the file as it stands here.
    """

    author: bytes = f"{NAME} <{EMAIL}>".encode()
    date: bytes = people.UNKNOWN
    message: bytes = b""
    diff: bytes = b""
    line: int = 0
    notes: list[str] = field(default_factory=list)
    others: list[bytes] = field(default_factory=list)
    parts: ledger.Parts = field(default_factory=Counter)
    coded: bool = False


def read(name: str, file: str, data: bytes, *, several: bool = False) -> Letter:
    """A patch file's words and diff. name: the subject where it has none.  several: mails after the first are text around diffs, as patch reads."""
    returns = data.count(b"\r\n") if data.partition(b"\n")[0].endswith(b"\r") else 0
    letter = read_lines(name, file, data.replace(b"\r\n", b"\n") if returns else data, several)
    letter.parts["carriage returns"] += returns
    if letter.date == people.UNKNOWN and not several and not any("date" in each for each in letter.notes):
        letter.notes.append("it has no date: 2000-01-01 stands for it")
    ledger.balance(file, len(data) - (0 if letter.coded else len(letter.diff)), letter.parts)
    return letter


def read_lines(name: str, file: str, data: bytes, several: bool) -> Letter:
    """The same of a file whose lines end in LF."""
    if data.startswith(b"# HG changeset patch\n"):
        return read_hg(name, data)
    if not several and (written := stgit_mail(data)):
        letter = read_mail(name, file, written)
        letter.coded = letter.coded or not data.endswith(letter.diff)
        letter.line = 0 if letter.coded else first_line(data, letter.diff)
        letter.parts = Counter({"mail header": len(data) - (0 if letter.coded else len(letter.diff))})
        return letter
    if is_mail(data, quilt=several):
        mails = len(mail.begins(data))
        if mails > 1 and data.startswith(b"From ") and not several:
            raise BadInput(f"{file} holds {mails} mails, and a patch is one", f"`git mailsplit -oDIR {file}` makes a file of each in DIR; import that")
        return read_mail(name, file, data)
    return read_plain(name, file, data, quilt=several)


def is_mail(data: bytes, *, quilt: bool) -> bool:
    """Whether a file begins as mail does, by the rule of git am, and not with the fields of DEP-3, which have no date.

    quilt: it is an entry of a quilt series, which seldom is mail; then two of a mail's own fields must be there.
    """
    begin = data if quilt else data.lstrip()
    if begin.startswith(b"From "):
        return True
    head = [line for line in begin.partition(b"\n\n")[0].split(b"\n") if line[:1] not in (b" ", b"\t")] or [b""]
    keys = {line.partition(b":")[0].lower() for line in head}
    named = keys & {b"from", b"date", b"subject", b"mime-version", b"message-id"}
    if (keys & (DEP3 - {b"from", b"subject"}) or any(key.startswith(b"bug-") for key in keys)) and b"date" not in keys:
        return False
    if quilt:
        return all(map(FIELD.match, head)) and (len(named) > 1 or head[0].startswith(b"From:"))
    return begin.startswith(b"From: ") or (bool(named) and (all(map(FIELD.match, head)) or data[:1] == b"\n"))


# -- mail -------------------------------------------------------------------------------------------------------


def read_mail(name: str, file: str, data: bytes) -> Letter:
    """A mail, as git am reads it."""
    head, blank, body = data.partition(b"\n\n")
    if simple(head, body):
        fields = {key: text_of(header(head, key), []) for key in (b"from", b"date", b"subject")}
        text, rest = ended(body)
        lines = text.split(b"\n")
        letter = Letter(diff=rest, line=first_line(data, rest), parts=Counter({"mail header": len(head + blank), "message": len(text)}))
        subject = fields[b"subject"]
        addresses = fields[b"from"]
    else:
        letter, *decoded, lines = by_mailinfo(file, data, head)
        subject, addresses, sent = (raw_text(each, letter.notes) for each in decoded)
        fields = {b"date": sent}
    letter.author = author(letter, addresses)
    letter.date = date(letter, fields[b"date"])
    letter.message = worded(letter, name, subject, lines)
    if letter.message.split(b"\n")[0] == name.encode() and not mail.without_patch(subject):
        letter.notes.append("it has no subject, and a patch needs one: its name stands for it")
    return letter


def simple(head: bytes, body: bytes) -> bool:
    """Whether a mail is as git format-patch writes it, without anything that is encoded or that mailinfo looks into."""
    if CODED.search(head) or b"=?" in head or not PLAIN_FROM.fullmatch(header(head, b"from")) or not header(head, b"subject"):
        return False
    lines = head.split(b"\n")[head.startswith(b"From ") :]
    keys = [line.partition(b":")[0].lower() for line in lines if FIELD.match(line)]
    if not USUAL_DATE.fullmatch(header(head, b"date")) or any(keys.count(key) != 1 for key in (b"from", b"date", b"subject")):
        return False
    if len(keys) + sum(line[:1] in (b" ", b"\t") for line in lines) != len(lines):
        return False
    text, _ = ended(body)
    try:
        (head + text).decode()
    except UnicodeDecodeError:
        return False
    first = next((line for line in text.split(b"\n") if line.strip()), b"")
    return b"\0" not in text and b"\r" not in text and not mail.IN_BODY.match(first) and re.match(rb"\s", body[:1] or b"x") is None


def header(head: bytes, key: bytes) -> bytes:
    """A header's bytes, unfolded; empty where there is none."""
    found = re.search(rb"(?im)^" + key + rb":[ \t]*(.*(?:\n[ \t].*)*)", head)
    return re.sub(rb"\s+", b" ", found[1]).strip() if found else b""


def by_mailinfo(file: str, data: bytes, head: bytes) -> tuple[Letter, bytes, bytes, bytes, list[bytes]]:
    """(letter without author and message, subject, authors, date, message lines) as ``git mailinfo`` finds them: MIME, charsets, in-body headers."""
    with tempfile.TemporaryDirectory(prefix="tunefork-mail-") as folder:
        place = Path(folder)
        run = Git(place)
        done = run.run("mailinfo", "-b", "-u", "--no-scissors", "--quoted-cr=nowarn", "msg", "patch", stdin=data)
        if done.code:
            raise BadInput(f"{file}: git mailinfo cannot read this mail: {done.err.strip().removeprefix('error: ')}",
                           "have the patch written again: `git format-patch` writes what can be read")  # fmt: skip
        words, diff = (place / "msg").read_bytes(), (place / "patch").read_bytes()
    fields = dict(line.split(b": ", 1) for line in done.out.split(b"\n") if b": " in line)
    at = data.find(diff) if diff else -1
    letter = Letter(diff=diff, line=data.count(b"\n", 0, at) + 1 if at >= 0 else 0, parts=Counter({"mail that mailinfo takes apart": len(data)}), coded=True)
    mime.refuse_left_out(file, data, words, diff)
    inside = mail.IN_BODY.match(mime.first_line(data)) is not None
    raw = text_of(header(head, b"from"), [])
    called, address = fields.get(b"Author", b"").strip(), fields.get(b"Email", b"").strip()
    several = sum(bool(address) for _, address in people.split(mail.decoded(raw.encode()))) > 1
    if inside and not (called and address):
        letter.notes.append("a header in its body names no author that git am takes: the mail's own stands for it")
    if inside and called and address:
        addresses = b'"' + re.sub(rb'(["\\])', rb"\\\1", called) + b'" <' + address + b">"
    elif several or not called or not closed(raw):  # mailinfo gives up on the name of several, and on one without an address
        addresses = mail.decoded(raw.encode()).encode("utf-8", "surrogateescape")
    else:
        addresses = b'"' + re.sub(rb'(["\\])', rb"\\\1", called) + b'" <' + address + b">"
        before = people.split(mail.decoded(raw.encode()))
        if len(before) == 1 and before[0][0] != called.decode("utf-8", "replace") and called == address and before[0][0]:
            letter.notes.append(f"git am does not take the author's name {before[0][0]!r}: the address stands for it")
    named = [raw, called.decode("utf-8", "replace"), *(text_of(each, []) for each in re.findall(rb"(?im)^From:(.*)$", head))]
    if not all(map(closed, named)):
        letter.notes.append(f"a bracket or a quote of the author's header does not end, which programs read in different ways: {raw[:60]!r}")
    subject, whole = fields.get(b"Subject", b""), text_of(header(head, b"subject"), [])
    if not inside and mail.without_patch(whole) == subject.decode("utf-8", "surrogateescape"):  # mailinfo took brackets off, and worded says which
        subject = whole.encode()
    return letter, subject, addresses, fields.get(b"Date", b""), words.split(b"\n")


def closed(text: str) -> bool:
    """Whether every bracket and quote of a header ends; mailinfo reads on behind one that does not."""
    bare = re.sub(r'\\.|"(?:[^"\\]|\\.)*"', "", text)
    return '"' not in bare and bare.count("(") == bare.count(")")


def read_hg(name: str, data: bytes) -> Letter:
    """What ``hg export`` writes: `# User`, `# Date <seconds> <seconds west>`, the message, the diff."""
    letter = Letter()
    lines = data.split(b"\n")
    while lines and lines[0].startswith(b"# "):
        line = lines.pop(0)
        letter.parts["mail header"] += len(line) + bool(lines)
        if line.startswith(b"# User "):
            if not closed(text_of(line, [])):
                letter.notes.append("a bracket or a quote of the author does not end, which programs read in different ways")
            letter.author = author(letter, text_of(line[7:], letter.notes))
        elif match := re.fullmatch(rb"# Date (\d+) ([-+]?\d+)", line.rstrip()):
            letter.date = people.moment(int(match[1]), -int(match[2])) or letter.date
    body = b"\n".join(lines)
    text, remarks, letter.diff = divided(body)
    letter.line = first_line(data, letter.diff)
    if mail.IN_BODY.match(text.lstrip(b"\n")):
        letter.notes.append("git am takes the beginning of its message for a mail's header")
    letter.parts.update({"message": len(text), "remarks before the diff": len(remarks)})
    subject, _, rest = text.strip(b"\n").partition(b"\n")
    letter.message = worded(letter, name, raw_text(subject, letter.notes), rest.split(b"\n"), brackets=False)
    return letter


# -- descriptions -----------------------------------------------------------------------------------------------


def read_plain(name: str, file: str, data: bytes, *, quilt: bool) -> Letter:
    """A quilt patch: its description is free text, the fields of Debian's DEP-3, or either above a mail; or StGit's export."""
    text, remarks, rest = divided(data)
    parts = Counter({"message": len(text), "remarks before the diff": len(remarks)})
    line = first_line(data, rest)
    if nested := NESTED.search(data[: len(data) - len(rest)]):
        inner = read(name, file, data[nested.start() :])
        inner.line += data.count(b"\n", 0, nested.start()) if inner.line else 0
        inner.parts["message"] += nested.start()
        above = [each.rstrip() for each in data[: nested.start()].split(b"\n")]
        while above and not above[-1]:
            above.pop()
        if any(above):
            subject, _, body = inner.message.partition(b"\n\n")
            lines = [*body.rstrip(b"\n").split(b"\n"), b"", *above] if body else above
            inner.message = worded(inner, name, subject.rstrip().decode("utf-8", "replace"), lines, brackets=False)
        return inner
    if stgit := re.match(rb"\A\n*([^\n]+)\n\n((?:(?:From|Author|Date):[^\n]*\n)+)\n?", text):
        head = dict((key.lower(), value) for key, value in (match.groups() for match in map(HEADER.match, stgit[2].strip().split(b"\n")) if match))
        who = head.get(b"from", head.get(b"author", b""))
        if (b"@" in who or not quilt) and len(head) == stgit[2].count(b"\n") and not {b"from", b"author"} <= head.keys():
            letter = Letter(diff=rest, line=line, parts=parts)
            letter.author = author(letter, text_of(who, letter.notes))
            letter.date = date(letter, text_of(head.get(b"date", b""), letter.notes))
            letter.message = worded(letter, name, text_of(stgit[1].removeprefix(b"Subject: "), letter.notes), text[stgit.end() :].split(b"\n"))
            return letter
    letter = described(name, text, Letter(diff=rest, line=line, parts=parts))
    if not quilt and FIELD.match(text.lstrip()):
        letter.notes.append("the fields above its diff are read as Debian's (DEP-3), and kept in the message; git am reads them as mail, if at all")
    return letter


def stgit_mail(data: bytes) -> bytes:
    """StGit's export as the mail that git am makes of it; empty for what it does not take for one: a line, an empty one, and one of the fields."""
    lines = data.lstrip(b"\n").split(b"\n")
    fielded = lines[1:2] == [b""] and lines[2:3] != [] and lines[2].startswith((b"From:", b"Author:", b"Date:"))
    if not lines[0] or not fielded or lines[0].startswith((b"From ", b"From: ")):
        return b""
    head, subject, at = [], b"", 0
    for at, line in enumerate(lines):  # noqa: B007 - where it ended is wanted
        if line.startswith((b"From", b"Date", b"Author:")):
            head.append(re.sub(rb"^Author:", b"From:", line))
        elif line.strip() and subject:
            break
        elif line.strip():
            subject = line
    return b"\n".join([*head, b"Subject: " + subject, b"", *lines[at:]])


def described(name: str, text: bytes, letter: Letter) -> Letter:
    """Free text, or the fields of DEP-3 in its first paragraphs."""
    fields: dict[bytes, bytes] = {}
    lines: list[bytes] = []
    people_named: list[bytes] = []
    top = True  # fields stand in the first paragraph, and only where it begins with one
    last = b""
    paragraph = [each for each in text.strip(b"\n").partition(b"\n\n")[0].split(b"\n") if each[:1] not in (b" ", b"\t")]
    keys = {match[1].lower() if match else b"" for match in map(HEADER.match, paragraph)}
    fielded = b"" not in keys and bool(keys & {b"description", b"subject"})  # fields have no order, and vendors have their own
    for each in text.strip(b"\n").split(b"\n"):
        match = HEADER.match(each) if top else None
        key = match[1].lower() if match else b""
        if match and (key in DEP3 or fielded):
            last = key
            if key in (b"author", b"from"):
                people_named.append(match[2])
            elif key not in (b"description", b"subject", b"date") or key in fields:
                lines.append(each)
            fields.setdefault(key, match[2])
            continue
        top = top and bool(fields) and bool(each.strip())
        if top and last in (b"author", b"from") and each[:1] in (b" ", b"\t"):
            people_named.append(each.strip())
            continue
        lines.append(b"" if each == b" ." else each.removeprefix(b" ") if fields else each)
    subject = fields.get(b"subject") or fields.get(b"description") or b""
    if not subject and lines and lines[0].strip():
        subject = lines.pop(0).lstrip(b"# ")
    if fields.get(b"subject") and (longer := fields.get(b"description")):
        lines.insert(0, longer)
    letter.author = author(letter, ", ".join(text_of(each, letter.notes).strip(" ,") for each in people_named))
    if sent := fields.get(b"date") or fields.get(b"last-update"):
        letter.date = date(letter, text_of(sent, letter.notes).strip(" <>"))
    letter.message = worded(letter, name, text_of(subject, letter.notes), lines)
    return letter


# -- the parts --------------------------------------------------------------------------------------------------


def ended(body: bytes) -> tuple[bytes, bytes]:
    """(message, the rest) of a mail's body, at the line at which mailinfo ends the message."""
    ends = re.search(rb"^(---\s*$|--- \S|diff -|Index: )", body, re.MULTILINE)
    return (body[: ends.start()], body[ends.start() :]) if ends else (body, b"")


def first_line(data: bytes, rest: bytes) -> int:
    """The number of the line at which the last bytes of a file begin; of the one after its last where there are none."""
    at = len(data) - len(rest)
    return data.count(b"\n", 0, at) + 1 + (at > 0 and data[at - 1 : at] != b"\n")


def divided(body: bytes) -> tuple[bytes, bytes, bytes]:
    """(message, what stands between, diff): the message ends at ``---`` or where the diff begins."""
    begins = DIFF_BEGINS.search(body)
    ends = ENDS.search(body)
    if begins and ends and ends.start() > begins.start() and body.startswith(b"@@", begins.start()):  # a hunk that is quoted in the message
        begins = DIFF_BEGINS.search(body, ends.start())
    at = begins.start() if begins else len(body)
    end = min(ends.start(), at) if ends else at
    return body[:end], body[end:at], body[at:]


def text_of(value: bytes, notes: list[str]) -> str:
    """Bytes as text, encoded words decoded: UTF-8, or Latin-1 where they are not that."""
    return mail.decoded(raw_text(value, notes).encode("utf-8", "replace")).encode("utf-8", "replace").decode()


def raw_text(value: bytes, notes: list[str]) -> str:
    """The same without decoding: of what mailinfo has decoded."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        notes.append("a header that is not UTF-8 is read as Latin-1")
        return value.decode("latin-1")


def author(letter: Letter, text: str) -> bytes:
    """The first person of a header, as a commit holds it; the others go into the message by ``worded``."""
    named = people.split(text)
    if not named:
        if text.strip():
            letter.notes.append(f"author {text.strip()[:60]!r} names nobody")
        return f"{NAME} <{EMAIL}>".encode()
    (name, address), *others = named
    if re.search(r"[\x00-\x08\x0e-\x1f\x7f]", text):
        letter.notes.append("a control character is taken off the author's name")
    if not address:
        letter.notes.append(f"author {name!r} has no address")
    for other in others:
        letter.notes.append(f"a commit has one author: {other[0] or other[1]} is named in the message (Co-authored-by)")
        letter.others.append(f"Co-authored-by: {other[0] or other[1]} <{other[1]}>".encode())
    if not mail.survives(name, address):
        letter.notes.append(f"git am does not take the author's name {name!r}: the address stands for it")
        name = address or name[: people.LONGEST_NAME].replace("@", " at ")
    return f"{name or address} <{address}>".encode()


def date(letter: Letter, text: str) -> bytes:
    """A date as a commit holds it; a fixed one where there is none that it could."""
    found = people.when(text) or (by_git(text.strip()) if text.strip() else None)
    if found is None and text.strip():
        letter.notes.append(f"date {text.strip()[:40]!r} cannot be kept: 2000-01-01 stands for it")
    return found or people.UNKNOWN


def by_git(text: str) -> bytes | None:
    """A date as git am reads it, in seconds and zone; None where git refuses it, or no commit of ours can hold it."""
    if "\0" in text:
        return None
    done = Git(Path("/")).run("var", "GIT_AUTHOR_IDENT", env={"GIT_AUTHOR_DATE": text})
    return people.when(" ".join(done.out.decode("utf-8", "replace").split()[-2:])) if not done.code else None


def worded(letter: Letter, name: str, subject: str, lines: list[bytes], *, brackets: bool = True) -> bytes:
    """A message in canonical form, in UTF-8; a line that git am would take for a header or an end is indented, and that is noted."""
    title = re.sub(r"\s+", " ", subject, flags=re.ASCII).strip(mail.BLANKS)
    plain, words = mail.taken_off(title)
    plain = plain if brackets else title
    if not plain:
        lines = [line.rstrip() for line in lines]
        while lines and not lines[0]:
            lines.pop(0)
        plain = utf8(lines.pop(0), letter.notes).decode().strip() if lines and not mail.IN_BODY.match(lines[0]) else ""
    if brackets and (unusual := USUAL_PREFIX.sub("", words, count=1).strip()):
        letter.notes.append(f"git am takes {unusual!r} off the subject")
    if not brackets and mail.without_patch(title) != title:
        letter.notes.append(f"git am would take {words!r} off the subject")
        plain = mail.without_patch(title)
    body = text_body(letter, name, utf8(b"\n".join(lines), letter.notes))
    if "\0" in plain:
        raise BadInput(f"{name}: its subject holds a NUL byte, which no commit can", "delete that byte")
    return (plain or name).encode("utf-8", "replace") + (b"\n\n" + body if body else b"") + b"\n"


def text_body(letter: Letter, name: str, body: bytes) -> bytes:
    """A message's body in canonical form, with the trailers of further authors; a line that git am would not read as text is indented."""
    if b"\0" in body:
        raise BadInput(f"{name}: its message holds a NUL byte, which no commit can", "delete that byte")
    wanted = ledger.squeezed(body + b"".join(letter.others))
    text = [line.rstrip() for line in body.split(b"\n")]
    while text and not text[0]:
        text.pop(0)
    if letter.others:
        while text and not text[-1]:
            text.pop()
        trailers = bool(text) and HEADER.match(text[-1]) is not None
        text += letter.others if trailers else [b"", *letter.others]
        letter.others = []
        while text and not text[0]:
            text.pop(0)
    for at, line in enumerate(text):
        if mail.ENDS_MESSAGE.match(line) or (not at and mail.IN_BODY.match(line)) or mail.begins_mail(line):
            letter.notes.append(f"a line of its message is indented: in a patch file git am would not read it as text: {shown(line)[:50]!r}")
            text[at] = b" " + line
    tidied = mail.tidy(b"\n".join(text))
    if ledger.squeezed(tidied) != wanted:
        raise ledger.Unaccounted(f"{name}: lines of its message would be lost", "report this, with the file: nothing of it was taken")
    return tidied


def utf8(text: bytes, notes: list[str]) -> bytes:
    """Text in UTF-8; what is not is Latin-1, as git guesses."""
    try:
        text.decode()
    except UnicodeDecodeError:
        notes.append("a message that is not UTF-8 is read as Latin-1")
        return text.decode("latin-1").encode()
    return text
