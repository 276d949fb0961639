"""The message of a patch: subject, body, trailers; put together, joined, and with trailers that follow a rename."""

from __future__ import annotations

import re

from tunefork.base.errors import BadInput
from tunefork.patchset.series.mail import TRAILER
from tunefork.patchset.series.series import SUFFIX

DEPENDS = re.compile(rb"(?i)^(Depends-On: *)(.+)$")


def canonical(message: bytes) -> bytes:
    """A message in the form that a patch file gives back: one subject line, a blank line, the body without blank lines around it.

    As git commit does, it takes off blanks at the ends of lines and all but one of the empty lines between paragraphs.
    """
    if b"\0" in message:
        raise BadInput("the message holds a NUL byte, which no commit can", "write it as text")
    lines = (line.rstrip() for line in re.sub(rb"\r\n?", b"\n", message).split(b"\n"))
    subject, _, body = re.sub(rb"\n{3,}", b"\n\n", b"\n".join(lines)).strip(b"\n").partition(b"\n")
    subject, body = re.sub(rb"\s+", b" ", subject).strip(), body.strip(b"\n")
    if not subject:
        raise BadInput("the message is empty: a patch needs a subject and a body that says why", 'give it with -m "Subject" -m "Why ..."')
    return subject + (b"\n\n" + body if body else b"") + b"\n"


def parts(message: bytes) -> tuple[bytes, bytes, list[bytes]]:
    """(subject, body, trailer lines)."""
    subject, _, rest = message.rstrip(b"\n").partition(b"\n")
    paragraphs = rest.strip(b"\n").split(b"\n\n") if rest.strip() else []
    if paragraphs and all(TRAILER.match(line) for line in paragraphs[-1].strip(b"\n").split(b"\n")):
        return subject, b"\n\n".join(paragraphs[:-1]), paragraphs[-1].strip(b"\n").split(b"\n")
    return subject, b"\n\n".join(paragraphs), []


def joined(first: bytes, *others: bytes, names: set[str]) -> bytes:
    """One message of several: the first one's subject, every body in order, each trailer once, none on what was joined (names)."""
    subject, body, trailers = parts(first)
    bodies = [body] if body else []
    for other in others:
        title, text, more = parts(other)
        bodies.append(title + (b"\n\n" + text if text else b""))
        single = {line.partition(b":")[0].lower() for line in trailers} - {b"depends-on", b"signed-off-by", b"co-authored-by", b"verified-by"}
        trailers += [line for line in more if line not in trailers and line.partition(b":")[0].lower() not in single]
    trailers = [line for line in (depending(each, dict.fromkeys(names, "")) for each in trailers) if line]
    paragraphs = [*bodies, b"\n".join(trailers)] if trailers else bodies
    return canonical(subject + b"\n\n" + b"\n\n".join(paragraphs))


def depending(line: bytes, names: dict[str, str]) -> bytes:
    """A line of a message with the patches of its ``Depends-On`` renamed (old -> new; "" takes it out); b"" where none is left."""
    match = DEPENDS.match(line)
    if match is None:
        return line
    words = match[2].decode("utf-8", "surrogateescape").replace(",", " ").split()
    plain = [word.removesuffix(SUFFIX) for word in words]
    if not set(plain) & set(names):
        return line
    left = [each for each in dict.fromkeys(names.get(word, word) for word in plain) if each]
    return match[1] + ", ".join(left).encode("utf-8", "surrogateescape") if left else b""


def renamed(message: bytes, old: str, new: str) -> bytes:
    """A message whose ``Depends-On`` follows a rename."""
    return b"\n".join(depending(line, {old: new}) for line in message.split(b"\n"))
