"""What the commits between two pins say of a patch: who touched its lines, and whether one of them is the patch itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tunefork.patchset.git import Git
from tunefork.patchset.series.materialise import ABSENT
from tunefork.patchset.series.replay import Change, Entries, places

PLACE = re.compile(rb"^(?:index .*|@@ -[\d,]+ \+[\d,]+ @@.*)\n", re.MULTILINE)  # of a diff: what differs where one change is made in two places
RANGE = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)
NEAR = 3  # lines of context: what changed within them can make a hunk conflict


@dataclass(frozen=True)
class UpstreamCommit:
    """A commit of the upstream between the two pins. same: it is this very patch (the same diff, but for its place)."""

    commit: str
    subject: str
    same: bool = False


def ranges(git: Git, old: str, new: str) -> list[tuple[int, int, int, int]]:
    """What differs between two blobs: (first line, lines) before and after, per hunk without context."""
    out = git("diff", "-U0", "--no-color", "--no-ext-diff", "--no-textconv", "--text", old, new)
    return [(int(m[1]), int(m[2] or 1), int(m[3]), int(m[4] or 1)) for m in RANGE.finditer(out)]


def touching(git: Git, since: Sequence[str], changes: Iterable[Change], base: Entries, moved: dict[bytes, bytes]) -> list[UpstreamCommit]:
    """The commits that changed lines within NEAR of a patch's, newest first. base: the new base's entries; since: for git log."""
    found: dict[str, UpstreamCommit] = {}
    for change in changes:
        path = places(base, change, moved)[0]
        here = base.get(path, ABSENT)
        name = path.decode("utf-8", "surrogateescape")
        if here in (change.before, ABSENT if change.kind == "add" else None):
            continue
        if ABSENT in (change.before, change.after, here):  # a whole file is at stake, not lines of it
            listed = git("log", "--format=%H %s", *since, "--", f":(top,literal){name}")
        else:
            spans = near(ranges(git, change.before[1], change.after[1]), ranges(git, change.before[1], here[1]))
            if not spans:
                continue
            asked = [f"-L{first},{last}:{name}" for first, last in spans]
            listed = git.run("log", "--no-patch", "--format=%H %s", *asked, *since).out
        for line in listed.decode("utf-8", "replace").splitlines():
            commit, _, subject = line.partition(" ")
            found.setdefault(commit, UpstreamCommit(commit, subject))
    return list(found.values())


def near(ours: Iterable[tuple[int, int, int, int]], theirs: Iterable[tuple[int, int, int, int]]) -> list[tuple[int, int]]:
    """The lines (first, last) of the new base's file that changed close to a hunk of ours."""
    theirs = list(theirs)
    spans = []
    for first, count, _, _ in ours:
        for start, lines, after, now in theirs:
            if start <= first + count + NEAR and first <= start + lines + NEAR:
                spans.append((max(after, 1), max(after + now - 1, after, 1)))
    return sorted(set(spans))


def same_patches(git: Git, since: Sequence[str], commits: Sequence[str], paths: Iterable[bytes]) -> dict[str, UpstreamCommit]:
    """Our commit -> the upstream's commit with the same change, for commits that touch one of the paths.

    An equal patch-id only finds them: it leaves white space out, so a line that stands under another `if` has the same one.
    """
    names = [f":(top,literal){path.decode('utf-8', 'surrogateescape')}" for path in sorted(set(paths))]
    if not commits or not names:
        return {}
    theirs = patch_ids(git, git("log", "-p", "--full-diff", "--no-merges", "--no-ext-diff", "--no-textconv", "--no-color", *since, "--", *names))
    ours = patch_ids(git, b"".join(git("diff-tree", "-p", "--no-ext-diff", "--no-textconv", "--no-color", commit) for commit in commits))
    by_id: dict[str, list[str]] = {}
    for commit, patch in theirs.items():
        by_id.setdefault(patch, []).insert(0, commit)  # a log begins with the newest; the oldest is where it came in
    found = {}
    for commit, patch in ours.items():
        text = change(git, commit) if patch in by_id else b""
        same = next((each for each in by_id.get(patch, ()) if change(git, each) == text), None)
        if same:
            found[commit] = UpstreamCommit(same, git.text("log", "-1", "--format=%s", same), same=True)
    return found


def change(git: Git, commit: str) -> bytes:
    """A commit's diff without what says where in the file it stands."""
    return PLACE.sub(b"", git("diff-tree", "-p", "--no-commit-id", "--no-ext-diff", "--no-textconv", "--no-color", commit))


def patch_ids(git: Git, log: bytes) -> dict[str, str]:
    """commit -> patch-id of a log with patches."""
    pairs = (line.split() for line in git("patch-id", "--stable", stdin=log).decode().splitlines())
    return {commit: patch for patch, commit in pairs}
