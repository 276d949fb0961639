"""Three-way merge that takes changes of neighbouring lines, which git calls a conflict: for where the result is checked afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from tunefork.patchset.git import Git
from tunefork.patchset.rebase import history
from tunefork.patchset.series import diff
from tunefork.patchset.series.materialise import Merge, merge_file

Range = tuple[int, int, int, int]  # (first line, lines) before and after, as `git diff -U0` counts them


def merge_close(git: Git) -> Merge:
    """git's merge, and where that conflicts, one that asks only that no line of the base is changed on both sides."""
    plain = merge_file(git)

    def merge(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
        made = plain(base, ours, theirs)
        return by_lines(git, base, ours, theirs) if made is None else made

    return merge


def by_lines(git: Git, base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """Both sides' hunks done to the base, None where two overlap or begin at the same place."""
    lines = [diff.split_lines(side) for side in (base, ours, theirs)]
    hunks = sorted((begin(each), each, side) for side in (1, 2) for each in ranges(git, base, (base, ours, theirs)[side]))
    out: list[bytes] = []
    at, last = 0, -1
    for start, (_, count, there, now), side in hunks:
        if start < at or start == last:
            return None
        first = there - 1 if now else there
        out += lines[0][at:start] + lines[side][first : first + now]
        at, last = start + count, start
    return b"".join([*out, *lines[0][at:]])


def begin(each: Range) -> int:
    """The first line that a hunk replaces, or the one that it goes before; counted from 0."""
    return each[0] - 1 if each[1] else each[0]


def ranges(git: Git, old: bytes, new: bytes) -> Sequence[Range]:
    with tempfile.TemporaryDirectory(prefix="tunefork-close-") as folder:
        paths = [Path(folder) / side for side in ("old", "new")]
        for path, data in zip(paths, (old, new), strict=True):
            path.write_bytes(data)
        out = git.run("diff", "--no-index", "-U0", "--no-color", "--no-ext-diff", "--no-textconv", "--text", *map(str, paths)).out
    return [(int(m[1]), int(m[2] or 1), int(m[3]), int(m[4] or 1)) for m in history.RANGE.finditer(out)]
