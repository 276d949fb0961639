"""A mail's parts, decoded by Python's email package: a second opinion on what ``git mailinfo`` makes of them. Format: RFC 2045 and 2046."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message

from tunefork.base.errors import BadInput
from tunefork.patchset.author.ledger import squeezed

OTHERS = bytes(code for code in range(256) if not 33 <= code <= 126)


def refuse_left_out(file: str, data: bytes, words: bytes, diff: bytes) -> None:
    """BadInput where mailinfo's message and diff are not all that the mail's parts hold."""
    whole = message_from_bytes(data)
    leaves = [part for part in whole.walk() if not part.is_multipart()]
    held = [payload(part) for part in leaves]
    ending, tail = squeezed(b"".join(held)), squeezed(diff)
    if not ending.endswith(tail):
        raise left_out(file, "lines of its diff")
    front = plain(b"".join(text(part) for part in leaves))
    if not front.removesuffix(plain(tail)).endswith(plain(words)):
        raise left_out(file, "lines of its message")
    for part in whole.walk():
        for outside in (part.preamble, part.epilogue):
            if outside and any(line.startswith(("diff --git ", "@@ -", "--- a/")) for line in outside.splitlines()):
                raise left_out(file, "a diff outside of its MIME parts")


def first_line(data: bytes) -> bytes:
    """The first line of a mail's text that is not empty."""
    first = next((part for part in message_from_bytes(data).walk() if not part.is_multipart()), None)
    return next((line for line in payload(first).split(b"\n") if line.strip()), b"") if first is not None else b""


def payload(part: Message) -> bytes:
    found = part.get_payload(decode=True)
    return found if isinstance(found, bytes) else b""


def text(part: Message) -> bytes:
    """A part's text in UTF-8."""
    data, charset = payload(part), part.get_content_charset() or "utf-8"
    try:
        return data if charset in ("utf-8", "us-ascii") else data.decode(charset).encode()
    except (LookupError, UnicodeError):
        return data.decode("latin-1").encode()


def plain(of: bytes) -> bytes:
    """The letters that every charset has, without blanks."""
    return of.translate(None, OTHERS)


def left_out(file: str, what: str) -> BadInput:
    return BadInput(f"{file}: git mailinfo, and so git am, leaves out {what}", "save the patch by itself, as `git format-patch` writes it, and import that")
