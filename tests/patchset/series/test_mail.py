"""tunefork/patchset/series/mail.py: a canonical file gives its commit back, and what git's mailinfo would cut or rewrite is refused."""

from __future__ import annotations

import base64
import dataclasses
import os
import re
import subprocess
from pathlib import Path

import pytest
from budgets import examples
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from trees import run

from tunefork.base.errors import BadInput
from tunefork.patchset.git import Git
from tunefork.patchset.series import canonical, mail
from tunefork.patchset.series.materialise import materialise

DIFF = b"diff --git a/f b/f\nnew file mode 100644\nindex 0000000..d95f3ad\n--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+x\n"


def patch(body: bytes = b"Why.\n", subject: bytes = b"[Up] Do it", **headers: bytes) -> bytes:
    """A patch file's bytes."""
    lines = {"From": b"A. User <user@example.org>", "Date": b"Mon, 2 Mar 2026 12:30:00 +0530", "Subject": subject, **headers}
    head = b"".join(key.replace("_", "-").encode() + b": " + value + b"\n" for key, value in lines.items() if value)
    return b"From 0000000 Mon Sep 17 00:00:00 2001\n" + head + b"\n" + body + b"---\n\n" + DIFF + b"-- \n2.39.5\n\n"


def test_the_parts_of_a_patch() -> None:
    read = mail.read("p", patch(b"Why.\n\nScope: python\nDepends-On: a, b\ndepends-on: c\n"))
    assert read.author == b"A. User <user@example.org>" and read.date == b"1772434800 +0530"
    assert read.subject == "[Up] Do it"
    assert read.message == b"[Up] Do it\n\nWhy.\n\nScope: python\nDepends-On: a, b\ndepends-on: c\n"
    assert read.diff.startswith(b"diff --git ") and read.data == patch(b"Why.\n\nScope: python\nDepends-On: a, b\ndepends-on: c\n")
    assert read.trailers("Depends-On") == ["a, b", "c"] and read.trailers("Scope") == ["python"] and read.trailers("Why") == []


def test_only_the_last_paragraph_holds_trailers() -> None:
    assert mail.read("p", patch(b"Scope: not this\n\nScope: python\n")).trailers("Scope") == ["python"]


@pytest.mark.parametrize(
    ("value", "author"),
    [
        (b"Jane Doe <jane@x.org>", "Jane Doe <jane@x.org>"),
        (b'"Doe, J. (AMD) \\"Q\\" \\\\" <j@x>', 'Doe, J. (AMD) "Q" \\ <j@x>'),
        ("Jürgen Müller <j@x>".encode(), "Jürgen Müller <j@x>"),
        (b"=?UTF-8?q?J=C3=BCrgen?= <j@x>", "Jürgen <j@x>"),
        (b"<bare@x>", "bare@x <bare@x>"),
        (b"Long\n  Folded Name <l@x>", "Long Folded Name <l@x>"),
    ],
)
def test_authors(value: bytes, author: str) -> None:
    assert mail.read("p", patch(From=value)).author.decode() == author


@pytest.mark.parametrize(
    ("value", "subject"),
    [
        (b"[ROCm][MoE] Keep the tags", "[ROCm][MoE] Keep the tags"),
        (b"one two\n three\n\tfour", "one two three four"),
        ("Größe".encode(), "Größe"),
        (b"=?UTF-8?q?Gr=C3=B6=C3=9Fe?=", "Größe"),
        (b"Parse =?charset?= and =?x-none?q?=41?=", "Parse =?charset?= and =?x-none?q?=41?="),
        (b"a: b: c", "a: b: c"),
    ],
)
def test_subjects(value: bytes, subject: str) -> None:
    assert mail.read("p", patch(subject=value)).subject == subject


@pytest.mark.parametrize(
    ("data", "why", "remedy"),
    [
        (DIFF, "not in mail format: no From, Date, Subject", "git checkout -- patches/"),
        (patch(subject=b""), "no Subject header", "git checkout -- patches/"),
        (patch(From=b"nobody"), "`From:` must be", "git checkout -- patches/"),
        (patch(Date=b"yesterday"), "`Date:` an RFC 2822 date", "git checkout -- patches/"),
        (patch().partition(b"\n\n")[0], "ends in its headers", "git checkout -- patches/"),
        (patch().partition(b"diff --git")[0], "no `diff --git`", "git checkout -- patches/"),
        (patch().replace(b"\n", b"\r\n"), "CRLF line ends", "autocrlf=false"),
        (patch(Content_Transfer_Encoding=b"quoted-printable"), "quoted-printable encoding", "git am"),
        (patch(Content_Transfer_Encoding=b"base64"), "base64 encoding", "git am"),
        (patch(b"Why.\n---\nMore words.\n"), "`---` line ends the message early; after it comes 'More words.'", "indent"),
        (patch(b"From: Some One <s@x>\n\nWhy.\n"), "body begins with a mail header", "indent"),
        (patch(b"\nsubject:\tother\n"), "body begins with a mail header", "indent"),
        (patch(b"Index: f\nWhy.\n"), "ends the message early", "indent"),
    ],
)
def test_what_cannot_be_read(data: bytes, why: str, remedy: str) -> None:
    with pytest.raises(BadInput, match=re.escape(why)) as caught:
        mail.read("p", data)
    assert caught.value.message.startswith("p.patch") and remedy in caught.value.remedy


def test_a_diffstat_and_a_signature_are_passed_over() -> None:
    data = patch().replace(b"---\n\n", b"---\n f | 1 +\n 1 file changed, 1 insertion(+)\n create mode 100644 f\n\n")
    assert mail.read("p", data).message == b"[Up] Do it\n\nWhy.\n"


# -- against git ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("messages")
    run(folder, "init", "--quiet", ".")
    return folder


words = st.sampled_from(["word", "Größe", "[ROCm]", "a.b", "x:", "longer-than-most", "=?q?", "#1", "--", ">8", "From", "tab\there", "   ", "cr\r", "*"])
sentence = st.lists(words, min_size=1, max_size=25).map(" ".join)
message = st.lists(st.one_of(sentence, st.sampled_from(["", "", "  indented", "Scope: python", "-- >8 --", "-- ", "From me", "---x"])), min_size=1, max_size=10)
names = st.text(st.sampled_from("ab Zé.,()\"'\\@:;[]-"), min_size=1, max_size=30)
dates = st.tuples(st.integers(100_000, 4_000_000_000), st.sampled_from(["+0000", "-0000", "+0530", "-0930", "+1400"]))


@settings(
    max_examples=examples(50),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(lines=message, name=names, date=dates)
def test_the_canonical_file_of_what_was_read_is_the_same_file(repository: Path, lines: list[str], name: str, date: tuple[int, str]) -> None:
    """Whatever a user's commit says: after one export, export and apply give the same bytes and the same commit for ever."""
    assume(name.strip(" .,:;<>\"\\'()@[]-") and "\n".join(lines).strip())
    people = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER")
              for part, value in (("NAME", name), ("EMAIL", "x@y"), ("DATE", f"@{date[0]} {date[1]}"))}  # fmt: skip
    tree = run(repository, "mktree").decode().strip()
    git = Git(repository)
    base = git.text("commit-tree", tree, "-m", "base")
    blob = run(repository, "hash-object", "-w", "--stdin", stdin=b"x\n").decode().strip()
    tree = run(repository, "mktree", stdin=f"100644 blob {blob}\tf\n".encode()).decode().strip()
    done = subprocess.run(
        ["git", "commit-tree", tree, "-p", base], cwd=repository, input="\n".join(lines).encode(), capture_output=True, check=True,
        env={**os.environ, **people},
    )  # fmt: skip
    try:
        once = canonical.files(git, base, done.stdout.decode().strip())[0][1]
    except BadInput as refused:
        assert refused.remedy
        return
    made = materialise(git, base, [mail.read("p", once)])[0]
    assert canonical.files(git, base, made.commit)[0][1] == once
    assert git.text("log", "-1", "--format=%an|%ae|%at", made.commit) == git.text("log", "-1", "--format=%an|%ae|%at", done.stdout.decode().strip())
    assert git("log", "-1", "--format=%B", made.commit).split() == git("log", "-1", "--format=%B", done.stdout.decode().strip()).split()


INJECTED = "N <a@b> 0 +0000\ncommitter N <a@b> 0 +0000\ndata 3\nhi\nM 100644 inline hidden.py\ndata 4\nbad\n\ncommit refs/tunefork/import\nauthor N"


@pytest.mark.parametrize("name", [f'"{INJECTED}"', "A\nB", "A\0B", "A\x1b[2JB", '"A <b"', '"A > b"'])
def test_an_author_is_one_line(name: str) -> None:
    """A commit is made by a stream of lines: a name that held one would be a command in it."""
    encoded = b"=?utf-8?b?" + base64.b64encode(name.encode()) + b"?= <u@example.org>"
    with pytest.raises(BadInput, match=r"`From:`"):
        mail.read("p", patch(From=encoded))


@pytest.mark.parametrize(("author", "date"), [(INJECTED.encode(), b"0 +0000"), (b"N <a@b>", b"0 +0000\nreset refs/heads/x"), (b"N", b"0 +0000"), (b"N <a@b> <c>", b"0 +0000")])
def test_no_commit_is_made_by_an_author_that_is_none(repository: Path, author: bytes, date: bytes) -> None:
    """Whoever read the patch: foreign ones are read by another reader."""
    git = Git(repository)
    base = git.text("commit-tree", git.text("hash-object", "-w", "-t", "tree", "/dev/null"), "-m", "base")
    read = dataclasses.replace(mail.read("p", patch()), author=author, date=date)
    with pytest.raises(BadInput, match="no author and date"):
        materialise(git, base, [read], trust_index=False)
