"""What the commits between two pins say of a patch: who touched its lines, and whether one of them is the patch itself (by patch-id)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tunefork.patchset.git import Git
from tunefork.patchset.series.materialise import ABSENT
from tunefork.patchset.series.replay import Change, Entries, places

RANGE = re.compile(rb"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@", re.MULTILINE)
NEAR = 3  # lines of context: what changed within them can make a hunk conflict


@dataclass(frozen=True)
class UpstreamCommit:
    """A commit of the upstream between the two pins. same: it is this very patch (equal patch-id)."""

    commit: str
    subject: str
    same: bool = False


def ranges(git: Git, old: str, new: str) -> list[tuple[int, int, int, int]]:
    """What differs between two blobs: (first line, lines) before and after, per hunk without context."""
    out = git("diff", "-U0", "--no-color", "--no-ext-diff", "--text", old, new)
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
    """Our commit -> the upstream's commit with the same patch-id, for commits that touch one of the paths."""
    names = [f":(top,literal){path.decode('utf-8', 'surrogateescape')}" for path in sorted(set(paths))]
    if not commits or not names:
        return {}
    theirs = patch_ids(git, git("log", "-p", "--full-diff", "--no-merges", "--no-ext-diff", "--no-color", *since, "--", *names))
    ours = patch_ids(git, b"".join(git("diff-tree", "-p", "--no-ext-diff", "--no-color", commit) for commit in commits))
    by_id = {patch: commit for commit, patch in theirs.items()}
    return {commit: UpstreamCommit(by_id[patch], git.text("log", "-1", "--format=%s", by_id[patch]), same=True)
            for commit, patch in ours.items() if patch in by_id}  # fmt: skip


def patch_ids(git: Git, log: bytes) -> dict[str, str]:
    """commit -> patch-id of a log with patches."""
    pairs = (line.split() for line in git("patch-id", "--stable", stdin=log).decode().splitlines())
    return {commit: patch for patch, commit in pairs}
