"""tunefork/patchset/series/diff.py and materialise.py against git itself: random edits, told by `git diff`, must become git's very blobs and trees."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from budgets import examples
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from trees import Tree, commit, edits, run

from tunefork.base.errors import BadInput
from tunefork.patchset.git import Git
from tunefork.patchset.series import diff, mail
from tunefork.patchset.series.diff import HunkMismatch
from tunefork.patchset.series.materialise import Mismatch, materialise

EXAMPLES = settings(
    max_examples=examples(100),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
HEAD = b"From 0 Mon Sep 17 00:00:00 2001\nFrom: A <a@b>\nDate: Sat, 1 Jan 2000 00:00:00 +0000\nSubject: s\n\nb\n---\n\n"
FORMS = [
    ("--no-renames",),
    ("-M", "-C", "--find-copies-harder"),
    ("-M10%", "-C10%"),
    ("-B", "-M"),
    ("--no-renames", "--diff-algorithm=patience", "-U0"),
]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("random")
    run(folder, "init", "--quiet", ".")
    return folder


@EXAMPLES
@given(pair=edits(), form=st.sampled_from(FORMS))
def test_what_git_tells_becomes_what_git_has(repository: Path, pair: tuple[Tree, Tree], form: tuple[str, ...]) -> None:
    before, after = pair
    base, tip = commit(repository, before, after)
    told = run(repository, "diff-tree", "-p", "--binary", "--full-index", *form, base, tip)
    changes = diff.parse("random", told)
    for change in changes:
        if change.kind != "delete":
            old = b"" if change.kind == "add" else before[change.old_path][1]
            assert change.apply(old) == after[change.new_path][1]
            assert change.new_mode in (None, after[change.new_path][0])
    named = {change.old_path for change in changes if change.kind != "copy"} | {change.new_path for change in changes}
    assert named == {path for path in {*before, *after} if before.get(path) != after.get(path)}
    patch = mail.read("random", HEAD + told + b"-- \n2.39.5\n\n")
    try:
        made = materialise(Git(repository), base, [patch])
    except Mismatch:  # -B -M renames onto a path of another type whose end it does not tell: git refuses its own patch
        run(repository, "read-tree", base)
        assert "-B" in form and subprocess.run(["git", "apply", "--cached", "--check", "-"], cwd=repository, input=told, capture_output=True, check=False).returncode
        return
    assert made[0].tree == run(repository, "rev-parse", f"{tip}^{{tree}}").decode().strip()
    for touch in made[0].touches:
        assert touch.old_mode == before.get(touch.path, ("000000",))[0] and touch.new_mode == after.get(touch.path, ("000000",))[0]


@settings(EXAMPLES, max_examples=examples(25))
@given(pair=edits(), more=st.binary(min_size=1, max_size=3))
def test_a_file_that_changed_since_is_refused(pair: tuple[Tree, Tree], more: bytes, repository: Path) -> None:
    """Whatever the edit: when a path it changes holds anything else than it was made from, nothing is applied."""
    before, after = pair
    changed = [path for path, (_, data) in before.items() if data != after.get(path, ("", b""))[1] and before[path][0] != "120000"]
    assume(changed)  # a change of mode alone names no blob: the lock is what guards it
    mode, data = before[changed[0]]
    moved = {**before, changed[0]: (mode, more + data)}
    base, tip, other = commit(repository, before, after, moved)
    told = run(repository, "diff-tree", "-p", "--binary", "--full-index", "--no-renames", base, tip)
    with pytest.raises(Mismatch, match=r"is blob [0-9a-f]{12} in the tree, the patch was made from"):
        materialise(Git(repository), other, [mail.read("random", HEAD + told)])


# -- what is refused --------------------------------------------------------------------------------------------

TEXT = b"""diff --git a/f b/f
index 1111111111111111111111111111111111111111..2222222222222222222222222222222222222222 100644
--- a/f
+++ b/f
@@ -1,2 +1,2 @@
 one
-two
+TWO
"""


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (TEXT.replace(b"a/f", b"f").replace(b"b/f", b"f"), "names no path with a/ and b/ before it"),
        (TEXT.replace(b"-1,2", b"-1,3"), "cut short"),
        (TEXT.replace(b"+TWO\n", b"junk\n"), "is cut short or holds"),
        (TEXT.replace(b" one\n-two\n", b" one\n"), "cut short"),
        (TEXT + b"stray line\n", "stands between two files"),
        (TEXT.replace(b"@@ -1,2", b"@@ -x,2"), "cannot read hunk header"),
        (b"diff --git a/f b/f\nindex 1..2\nGIT binary patch\nliteral 3\nz!!!\n\n", "cannot be unpacked"),
        (b"diff --git a/f b/f\nindex 1..2\nGIT binary patch\nliteral x\nKcmWFv00aU7Im7^\n\n", "cannot be unpacked"),
        (b"diff --git a/f b/f\nindex 1..2\nGIT binary patch\n\n", "without data"),
        (b"diff --git a/f b/f\nindex 1..2 100644\nBinary files a/f and b/f differ\n", "f is binary, .* without its data"),
        (b"diff --git a/f b/f\nnew file mode 100644\nindex 0..2\nBinary files /dev/null and b/f differ\n", "without its data"),
    ],
)
def test_a_diff_that_cannot_be_understood(told: bytes, why: str) -> None:
    with pytest.raises(BadInput, match=why) as caught:
        diff.parse("p", told)
    assert caught.value.message.startswith("p.patch") and "git checkout -- patches/" in caught.value.remedy


def test_a_hunk_is_applied_at_its_line_or_nowhere() -> None:
    change = diff.parse("p", TEXT)[0]
    assert change.apply(b"one\ntwo\n") == b"one\nTWO\n"
    for old in (b"zero\none\ntwo\n", b"one\r\ntwo\r\n", b"one\ntwo", b""):
        with pytest.raises(HunkMismatch, match="hunk 1 does not match at line 1"):
            change.apply(old)


def test_a_delta_of_another_file_is_refused() -> None:
    delta = bytes([4, 2, 0x90, 2])  # made from 4 bytes; copies the first 2
    assert diff.apply_delta(b"abcd", delta) == b"ab"
    whole = b"xy" * 0x8000  # a copy whose length bytes are all absent is of 64 KiB
    assert diff.apply_delta(whole, bytes([0x80, 0x80, 4, 0x80, 0x80, 4, 0x80])) == whole
    with pytest.raises(HunkMismatch, match="another size"):
        diff.apply_delta(b"abc", delta)
    with pytest.raises(HunkMismatch, match="size it promises"):
        diff.apply_delta(b"abcd", bytes([4, 9, 0x90, 2]))
    cut = diff.FileChange(b"f", b"f", binary=("delta", bytes([4, 2, 0x91])))
    with pytest.raises(HunkMismatch, match="cut short"):
        cut.apply(b"abcd")


@pytest.mark.parametrize("path", [b"plain", b'"', b"\\", b"\n\t\r", b"caf\xe9", b'a"b\\c', "ü".encode(), b"\x01", b"\\101"])
def test_paths_are_quoted_and_read_back(path: bytes) -> None:
    assert diff.unquote(diff.quote(path)) == path
