"""Who wrote a patch and when, in the spellings that mail, Debian's DEP-3, hg and people use."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_tz

from tunefork.patchset.git import EPOCH
from tunefork.patchset.series.mail import BLANKS

ADDRESS = r"[^\s<>()\",;:@]+@[^\s<>()\",;:@]+"
HIDDEN = re.compile(r"\s*[\[({]?\s*\b(at|AT)\b\s*[\])}]?\s*")
LAST = 253402300799  # seconds of the end of the year 9999
LONGEST_NAME = 60  # git am takes the address in place of a longer name
# RFC 5322 and ctime, whole: what is left of such a date when it is damaged, each program reads in its own way.
MAILED = re.compile(r"([A-Za-z]{3,9},? +)?(\d{1,2} [A-Za-z]{3} \d{4}|[A-Za-z]{3} +\d{1,2}) +\d\d:\d\d(:\d\d)?( \d{4})?"
                    r" ([-+]\d\d[0-5]\d|UTC|GMT)( *\([^()]*\))?")  # fmt: skip
ISO = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?)?\s*(Z|UTC|GMT|[-+]\d\d:?[0-5]\d)?")


def split(text: str) -> list[tuple[str, str]]:
    """(name, address) of every person in a header's text; "" for what it does not say."""
    people: list[tuple[str, str]] = []
    for part in parts(text):
        name, address = one(part)
        if people and not address and not people[-1][1]:  # "Doe, Jane": a comma within a name
            people[-1] = (f"{people[-1][0]}, {name}", "")
        elif people and address and not people[-1][1] and name and not re.search(r"\s", people[-1][0]):  # "Doe, Jane <a@b>"
            people[-1] = (f"{people[-1][0]}, {name}", address)
        else:
            people.append((name, address))
    return [each for each in people if any(each)]


def parts(text: str) -> list[str]:
    """A list of people taken apart at commas, semicolons and the word "and" behind an address, outside quotes and brackets."""
    found, depth, quoted, begin = [], 0, False, 0
    for at, sign in enumerate(text):
        if sign == '"' and (not at or text[at - 1] != "\\"):
            quoted = not quoted
        elif not quoted:
            depth += (sign in "<(") - (sign in ">)" and depth > 0)
            if depth == 0 and sign in ",;":
                found.append(text[begin:at])
                begin = at + 1
    found.append(text[begin:])
    return [each.strip() for part in found for each in re.split(r"(?<=>)\s+(?:and\s+|&\s+)?(?=\S[^<>]*<|\S*@)", part.strip()) if each.strip()]


def one(text: str) -> tuple[str, str]:
    """(name, address) of one person."""
    text = re.sub(r"\s+", " ", text, flags=re.ASCII).strip(BLANKS)
    if match := re.fullmatch(r"([^\s@<>()]+) at ([^\s@<>()]+\.[^\s@<>()]+) \((.*)\)", text):  # as Pipermail's archives hide addresses
        text = f"{match[3]} <{match[1]}@{match[2]}>"
    if match := re.search(r"<([^<>]*)>", text):
        name, address = (text[: match.start()] + " " + text[match.end() :]).strip(BLANKS), match[1].strip()
        if "@" not in address:
            address = HIDDEN.sub("@", address, count=1).replace(" dot ", ".")
        address = re.sub(r"\s+", "", address.removeprefix("mailto:"))
    elif match := re.search(ADDRESS, text):
        name, address = (text[: match.start()] + " " + text[match.end() :]).strip(BLANKS), match[0]
    else:
        name, address = text, ""
    name = name.strip(BLANKS)
    if len(name) > 1 and name[0] == '"' and name[-1] == '"':
        name = re.sub(r"\\(.)", r"\1", name[1:-1])
    elif len(name) > 1 and name[0] == "(" and name[-1] == ")":
        name = name[1:-1]
    return tidy(name), tidy(address).replace(" ", "").strip(".")


def tidy(text: str) -> str:
    """What git 2.47 leaves of a name in a commit: no sign that ends a field, no control characters. A stop at an end stays ("Jr.", ".NET"),
    which git 2.39 takes off; one that stands alone behind a name is a sentence's."""
    text = re.sub(r"\s+", " ", re.sub(r"[<>\x00-\x1f\x7f]", " ", text), flags=re.ASCII).strip(" ,;:\"'\\")
    return re.sub(r"(?<=\S)( \.+)+$", "", text)


def when(text: str) -> bytes | None:
    """``<seconds> <+hhmm>`` of a date as RFC 2822 or ISO 8601 writes it, or in seconds; None where it is none or no commit can hold it."""
    text = text.strip()
    if match := re.fullmatch(r"@?(\d{9,}|\d+(?= [-+]))(?: ([-+]\d\d[0-5]\d))?", text):
        return moment(int(match[1]), zone(match[2]))
    if match := ISO.fullmatch(text):
        year, month, day, hour, minute, second = (int(each or 0) for each in match.groups()[:6])
        offset = zone(match[7])
        try:
            return moment(int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp()) - offset, offset)
        except ValueError:
            return None
    try:
        parsed = parsedate_tz(text) if MAILED.fullmatch(text) else None
        if parsed is None:
            return None
        offset = parsed[9] or 0
        return moment(int(datetime(*parsed[:6], tzinfo=UTC).timestamp()) - offset, offset)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def zone(text: str | None) -> int:
    """Seconds east of UTC."""
    match = re.fullmatch(r"([-+])(\d\d):?(\d\d)", text or "")
    return (-1 if match[1] == "-" else 1) * (int(match[2]) * 3600 + int(match[3]) * 60) if match else 0


def moment(seconds: int, offset: int) -> bytes | None:
    if not 0 <= seconds <= LAST or abs(offset) > 14 * 3600:
        return None
    minutes = abs(offset) // 60
    return f"{seconds} {'-' if offset < 0 else '+'}{minutes // 60:02}{minutes % 60:02}".encode()


UNKNOWN = EPOCH.encode()
