"""What export writes, ``git am`` and our import read back to the same author, date, message and tree; or export refuses before it writes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import oracles
import pytest
from budgets import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tunefork.base.errors import BadInput
from tunefork.patchset.git import Git
from tunefork.patchset.series import canonical

FIRST = "From 0123456789012345678901234567890123456789 Mon Sep 17 00:00:00 2001"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    return oracles.base(tmp_path_factory.mktemp("round"), {"g": (0o644, b"only\n")})


def committed(base: tuple[Path, str], message: str, name: str = "A B", date: str = "@1700000000 +0530") -> str:
    """A commit with this message exactly."""
    repository, commit = base
    blob = oracles.must(["git", "hash-object", "-w", "--stdin"], repository, stdin=b"more\n")
    tree = oracles.must(["git", "mktree"], repository, stdin=f"100644 blob {blob}\tg\n".encode())
    people = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in (("NAME", name), ("EMAIL", "a@x.y"), ("DATE", date))}
    done = subprocess.run(["git", "commit-tree", tree, "-p", commit], cwd=repository, input=message.encode("utf-8", "surrogateescape"), capture_output=True,
                          check=True, env={**os.environ, **people})  # fmt: skip
    return done.stdout.decode().strip()


def reads(base: tuple[Path, str], made: str, folder: Path) -> tuple[oracles.Outcome, oracles.Outcome, str]:
    """(import, git am, the commit's own words) of the exported file. BadInput where export refuses."""
    repository, commit = base
    (folder / "0001.patch").write_bytes(canonical.files(Git(repository), commit, made)[0][1])
    log = oracles.must(["git", "log", "-1", "--format=%an|%ae|%ad|%B", made], repository)
    return oracles.ours(repository, commit, folder), oracles.git_am(repository, commit, folder), log


REFUSED = {
    "a mail's first line": f"Subject\n\nWhy:\n{FIRST}\nFrom: X <x@y>\n",
    "a mail's first line, of anybody": "Subject\n\nFrom me Tue Jan  2 10:00:00 2024\n",
    "subject [PATCH]": "[PATCH] Subject\n\nWhy.\n",
    "subject [PATCH v2 1/3] behind a tag": "[ROCm] [PATCH v2 1/3] Subject\n\nWhy.\n",
    "subject Re:": "Re: Subject\n\nWhy.\n",
    "body [PATCH]": "Subject\n\n[PATCH] other\n",
    "body [PATCH] alone": "Subject\n\n[PATCH]\n",
    "body From: without a blank": "Subject\n\nFrom:X <x@y>\n",
    "body From:": "Subject\n\nFrom: X <x@y>\n",
    "body >From": f"Subject\n\n>{FIRST}\n\nx\n",
    "subject =?": "Take =?q? for text\n\nWhy.\n",
    "body ---": "Subject\n\nx\n---\ny\n",
}
KEPT = {
    "From the": "Subject\n\nFrom the 2019 talk\nnote: it holds\n",
    "[PATCH within": "Subject [PATCH] within\n\nWhy.\n",
    "tags": "[ROCm][MoE] Subject\n\nWhy.\n",
    "many blank lines": "Subject\n\nx   \n\n\n\ny\n",
    "DEP-3 in the body": "Subject\n\nOrigin: upstream\nForwarded: no\n\nx\n",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_message_that_mail_would_change_is_refused_before_it_is_written(kind: str, base: tuple[Path, str]) -> None:
    with pytest.raises(BadInput, match="would not survive as mail") as refused:
        canonical.files(Git(base[0]), base[1], committed(base, REFUSED[kind]))
    assert "git commit --amend" in refused.value.remedy


@pytest.mark.parametrize("name", ["Abcdef " * 9 + "G", "at@home Doe", "(a)"])
def test_a_name_that_git_am_does_not_take_is_refused(name: str, base: tuple[Path, str]) -> None:
    with pytest.raises(BadInput, match="does not take the author's name"):
        canonical.files(Git(base[0]), base[1], committed(base, "Subject\n\nx\n", name))


@pytest.mark.parametrize("kind", KEPT)
def test_a_message_that_survives(kind: str, base: tuple[Path, str], tmp_path: Path) -> None:
    mine, theirs, log = reads(base, committed(base, KEPT[kind]), tmp_path)
    assert mine.tree is not None and (mine.tree, mine.log) == (theirs.tree, theirs.log) and mine.log.split() == oracles.unstopped(log).split()


words = st.sampled_from(["word", "Größe", "[ROCm]", "[PATCH]", "[RFC PATCH 2/3]", "Re:", "x:", "note: y", "=?q?", "--", ">8", "From", "tab\there", "a@b", "#", FIRST,
                         "From:", "Subject:", "Date: x", "---", "--- a/x", "diff -u", "Index: x", "@@ -1 +1 @@", "Content-Type: text/html", ">From"])  # fmt: skip
line = st.lists(words, max_size=4).map(" ".join)
messages = st.tuples(line.filter(str.strip), st.lists(line, max_size=6)).map(lambda both: f"{both[0]}\n\n" + "\n".join(both[1]) + "\n")
names = st.text(st.sampled_from("ab Zé.,()\"'\\@:;[]-"), min_size=1, max_size=70).filter(lambda name: name.strip(" .,:;<>\"\\'()@[]-"))


@settings(max_examples=examples(200), deadline=None, derandomize=examples(200) <= 200, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(message=messages, name=names)
def test_any_message_survives_or_is_refused(message: str, name: str, base: tuple[Path, str], tmp_path: Path) -> None:
    try:
        mine, theirs, log = reads(base, committed(base, message, name), tmp_path)
    except BadInput as refused:
        assert refused.remedy
        return
    assert mine.tree is not None and (mine.tree, mine.log) == (theirs.tree, theirs.log), (mine, theirs)
    assert mine.log.split() == oracles.unstopped(log).split()
