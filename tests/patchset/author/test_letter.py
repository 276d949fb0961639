"""tunefork/patchset/author/letter.py and people.py against ``git am``: name, address, date and message are the same, or a note says what is lost."""

from __future__ import annotations

from pathlib import Path

import oracles
import pytest
from mails import DATE, MAILS, ME

from tunefork.base.errors import BadInput
from tunefork.patchset.author import letter, people

DIFF = b"\n---\ndiff --git a/g b/g\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-only\n+more\n-- \n2.39\n"
@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return oracles.base(tmp_path_factory.mktemp("letters"), {"g": (0o644, b"only\n")})


ATTACHED = (
    ME + DATE + b'Subject: [PATCH] attached\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="--b"\n\n----b\nContent-Type: text/plain; charset=UTF-8\n\nWhy.\n'
    b'----b\nContent-Type: text/x-patch; name="x.patch"\nContent-Transfer-Encoding: base64\n\n'
)  # fmt: skip
@pytest.mark.slow
@pytest.mark.parametrize("kind", MAILS)
def test_mail_is_read_as_git_am_reads_it(kind: str, base: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "0001.patch").write_bytes(MAILS[kind] + (DIFF.removeprefix(b"\n---") if kind in ("hg",) else DIFF))
    mine, theirs = oracles.ours(*base, tmp_path), oracles.git_am(*base, tmp_path)
    assert mine.tree is not None and theirs.tree == mine.tree, (mine.said, theirs.said)
    heads, words = zip(*(log.partition("\nWarning")[0].rsplit("|", 1) for log in (mine.log, theirs.log)), strict=True)
    assert heads[0] == heads[1] and (words[0] == words[1] or kind == "no subject"), (mine, theirs)
    assert words[0].split() == words[1].split()  # git am makes a subject of two lines, of which no patch file can be made


def test_a_patch_in_an_attachment(base: tuple[Path, str], tmp_path: Path) -> None:
    import base64

    (tmp_path / "0001.patch").write_bytes(ATTACHED + base64.encodebytes(DIFF.removeprefix(b"\n---\n")) + b"\n----b--\n")
    mine, theirs = oracles.ours(*base, tmp_path), oracles.git_am(*base, tmp_path)
    assert mine.tree is not None and (mine.tree, mine.log) == (theirs.tree, theirs.log)


@pytest.mark.parametrize(
    ("head", "author", "note"),
    [
        (b"From: John Doe\n", "John Doe <>", "has no address"),
        (b"From: A B <a@x>, C D <c@x>\n", "A B <a@x>", "a commit has one author: C D is named in the message"),
        (b"From: A B <a at x.org>\n", "A B <a@x.org>", ""),
        (b"From: caf\xe9@x.org\n", "café@x.org <café@x.org>", "Latin-1"),
        (b"From: \x00\n", "Tunefork <tunefork@localhost>", ""),
    ],
)
def test_what_git_am_refuses_or_mangles_is_kept_or_said(head: bytes, author: str, note: str) -> None:
    read = letter.read("p", "p.patch", head + DATE + b"Subject: s\n\nb\n" + DIFF)
    assert read.author.decode() == author and (note in "; ".join(read.notes)) and read.date == b"1704150000 +0100"
    assert (b"Co-authored-by: C D <c@x>" in read.message) == (b"C D" in head)


def test_a_missing_subject_is_said() -> None:
    read = letter.read("p", "p.patch", ME + DATE + b"Subject: [PATCH] \n\n" + DIFF)
    assert read.message == b"p\n" and "no subject" in "; ".join(read.notes)


@pytest.mark.parametrize("date", [b"Tue, 2 Jan 12024 00:00:00 +0100", b"yesterday", b"99999999999999999999 +0000", b"2024-13-01"])
def test_a_date_that_no_commit_holds_is_said(date: bytes) -> None:
    read = letter.read("p", "p.patch", ME + b"Date: " + date + b"\nSubject: s\n\nb\n" + DIFF)
    assert read.date == people.UNKNOWN and "cannot be kept" in "; ".join(read.notes)


@pytest.mark.parametrize("text", [b"Subject: =?utf-8?q?a=00b?=\n\nb\n", b"Subject: s\n\nb\0b\n"])
def test_a_nul_is_refused_in_one_line(text: bytes) -> None:
    with pytest.raises(BadInput, match="NUL"):
        letter.read("p", "p.patch", ME + DATE + text + DIFF)


def test_a_charset_that_nobody_knows_is_refused() -> None:
    with pytest.raises(BadInput, match="cannot convert from foo"):
        letter.read("p", "p.patch", ME + DATE + b"Subject: s\nContent-Type: text/plain; charset=foo\n\ncaf\xe9\n" + DIFF)


MAILED = b"From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001\n" + ME + DATE + b"Subject: [PATCH] s\n\nb\n" + DIFF


def test_dep3_fields_above_a_mail() -> None:
    read = letter.read("p", "p.patch", b"Description: other\nOrigin: upstream, v2\nForwarded: no\n\n" + MAILED)
    assert (read.author, read.date) == (b"A B <a@x.y>", b"1704150000 +0100")
    assert read.message == b"s\n\nb\n\nDescription: other\nOrigin: upstream, v2\nForwarded: no\n"


@pytest.mark.parametrize(
    ("text", "author", "message"),
    [
        (b"Description: Do it\n Long.\nAuthor: A B <a@x>\n", "A B <a@x>", "Do it\n\nLong.\n"),
        (b"Description: Do it\nAuthor: A B <a@x>, C D <c@x>\n", "A B <a@x>", "Do it\n\nCo-authored-by: C D <c@x>\n"),
        (b"Description: Do it\nAuthor: A B <a@x>\nAuthor: C D <c@x>\n", "A B <a@x>", "Do it\n\nCo-authored-by: C D <c@x>\n"),
        (b"Description: Do it\nAuthor: A B <a@x>\n C D <c@x>\n", "A B <a@x>", "Do it\n\nCo-authored-by: C D <c@x>\n"),
        ("Description: Größe\nAuthor: J. Doe <j@x>\n".encode("latin-1"), "J. Doe <j@x>", "Größe\n"),
    ],
)
def test_dep3(text: bytes, author: str, message: str) -> None:
    read = letter.read("p", "p.diff", text + b"\n" + DIFF.removeprefix(b"\n---"))
    assert (read.author.decode(), read.message.decode()) == (author, message)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A <a@b>, C <c@d>", [("A", "a@b"), ("C", "c@d")]),
        ('"Doe, J." <a@b>', [("Doe, J.", "a@b")]),
        ("Doe, J. <a@b>", [("Doe, J.", "a@b")]),
        ('"Sammy Davis, Jr." <a@b>', [("Sammy Davis, Jr.", "a@b")]),
        (".NET Foundation <a@b>, a@c.d.", [(".NET Foundation", "a@b"), ("", "a@c.d")]),
        ("A B <a@b>.", [("A B", "a@b")]),
        ("a@b (A B)", [("A B", "a@b")]),
        ("A <a@b> and C <c@d>", [("A", "a@b"), ("C", "c@d")]),
        ("A B (C D) <a@b>", [("A B (C D)", "a@b")]),
        ("A [at] home", [("A [at] home", "")]),
        ("", []),
    ],
)
def test_people(text: str, found: list[tuple[str, str]]) -> None:
    assert people.split(text) == found
