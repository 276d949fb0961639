"""tunefork/patchset/author/ledger.py: a reader with a hole in it, of whatever kind, refuses the file that falls through it.

Each hole is made on purpose; without the count the file is read, and lines of it are gone.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from kinds import BASE, KINDS, MAIL, edit, packed
from mails import MAILS

from tunefork.base.errors import BadInput
from tunefork.patchset.author import contexts, foreign, ledger, letter, section
from tunefork.patchset.series import diff, mail

G = b"diff --git a/g b/g\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-only\n+more\n"
CONTEXT = b"*** a/f\n--- b/f\n***************\n*** 2,4 ****\n  line 2\n! line 3\n  line 4\n--- 2,4 ----\n  line 2\n! three\n  line 4\n"
SECOND = b"@@ -20,3 +20,3 @@\n line 20\n-line 21\n+twenty-one\n line 22\n"
BLOB = b"diff --git a/blob b/blob\nindex c86626638e0bc8cf47ca49bb1525b40e9737ee64.." + b"0" * 40 + b"\nGIT binary patch\n" + packed(b"x") + packed(BASE["blob"][1])


def further(function: Callable[..., tuple[object, int]]) -> Callable[..., tuple[object, int]]:
    """A reader of a hunk that takes one line more than it looks at."""

    def holed(*args: object) -> tuple[object, int]:
        found, at = function(*args)
        return found, at + 1

    return holed


def passing(self: section.Reader, change: section.Section) -> None:
    """The hunks of a file, whatever stands between them passed over: the fault that this began with."""
    while self.at < len(self.lines) and not self.starts(0, b"diff --git "):
        if not self.starts(0, b"@@ -"):
            self.at += 1
            continue
        hunk, self.at = diff.parse_hunk(self.file, self.lines, self.at)
        change.hunks.append(hunk)
        self.found.parts["hunks"] += hunk.size


def greedy(self: section.Reader, change: section.Section, line: bytes) -> bool:
    return not line.startswith((b"@@ -", b"diff --git ")) and (header_line(self, change, line) or True)


header_line, parse_binary, ended, divided, tidy = section.Reader.header_line, diff.parse_binary, letter.ended, letter.divided, mail.tidy
HOLES: dict[str, tuple[object, str, object, bytes]] = {
    "lines between hunks": (section.Reader, "hunks", passing, MAIL % (b"x", b"diff --git a/f b/f\n" + edit(b"f") + b"lost\n" + SECOND)),
    "lines of a header": (section.Reader, "header_line", greedy, MAIL % (b"x", G.replace(b"--- a/g", b"lost\n--- a/g"))),
    "a line behind a hunk": (diff, "parse_hunk", further(diff.parse_hunk), MAIL % (b"x", G)),
    "a line behind a hunk of a context diff": (contexts, "hunk", further(contexts.hunk), CONTEXT + b"lost\n"),
    "a line behind binary data": (diff, "parse_binary", lambda *args, both: parse_binary(*args, both=both) + 1, MAIL % (b"x", BLOB + b"lost\n")),
    "a line before the diff": (letter, "ended", lambda body: (ended(body)[0], ended(body)[1].partition(b"\n")[2]), MAIL % (b"x", G)),
    "a line of the message": (letter, "ended", lambda body: (ended(body)[0].partition(b"\n")[2], ended(body)[1]), MAIL % (b"x", G)),
    "a line of a description": (letter, "divided", lambda body: (divided(body)[0], b"", divided(body)[2]), b"text\n---\nremark\n" + G),
    "a word of the message": (mail, "tidy", lambda body: tidy(body).replace(b"Why", b""), MAIL % (b"x", G)),
}


def taken(data: bytes) -> list[foreign.Foreign]:
    return [foreign.quilted(foreign.Entry("x.diff"), data)] if data.startswith((b"***", b"text")) else foreign.mails("0001-x.patch", data)


@pytest.mark.parametrize("name", HOLES)
def test_what_falls_through_a_hole_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, function, holed, data = HOLES[name]
    monkeypatch.setattr(owner, function, holed)
    with pytest.raises(ledger.Unaccounted) as refused:
        taken(data)
    assert refused.value.remedy
    if name != "a word of the message":
        monkeypatch.setattr(ledger, "balance", lambda *args: None)
        assert taken(data)[0].changes  # silence, without the count


@pytest.mark.parametrize("data", [next(iter(kind.files.values())) for kind in KINDS if kind.expect == "tree" and kind.files.get("series", b"x.diff\n") == b"x.diff\n"])
def test_the_parts_of_every_kind_come_to_its_length(data: bytes) -> None:
    data = data.removeprefix(foreign.MARK)
    text = re.split(rb"^(?=---\n|diff )", data, maxsplit=1, flags=re.MULTILINE)[-1].replace(b"\r\n", b"\n")
    assert section.read("x", text, quilt=b"From " not in data).parts.total() == len(text)


@pytest.mark.parametrize("kind", MAILS)
def test_the_parts_of_every_mail_come_to_its_length(kind: str) -> None:
    words = letter.read("p", "p.patch", MAILS[kind] + b"\n---\n" + G)
    assert words.parts.total() + (0 if words.coded else len(words.diff)) == len(MAILS[kind] + b"\n---\n" + G)


def test_both_fields_of_a_description_are_kept() -> None:
    read = letter.read("p", "p.diff", b"Subject: short\nDescription: long\n and more\nAuthor: A B <a@x>\n\n" + G)
    assert read.message == b"short\n\nlong\nand more\n"


OUTSIDE = b'From: A B <a@x.y>\nDate: Tue, 2 Jan 2024 00:00:00 +0100\nSubject: [PATCH] s\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b"\n\n%b--b\nContent-Type: text/plain\n\nWhy.\n---\n%b\n--b--\n%b'


@pytest.mark.parametrize("parts", [(G, b"", b""), (b"", G, G)], ids=["before", "behind"])
def test_a_diff_outside_of_a_mails_parts_is_refused(parts: tuple[bytes, bytes, bytes]) -> None:
    with pytest.raises(BadInput, match="leaves out"):
        foreign.read("p", "p.patch", OUTSIDE % parts)
    assert foreign.read("p", "p.patch", OUTSIDE % (b"This is a multi-part message in MIME format.\n", G, b"")).changes
