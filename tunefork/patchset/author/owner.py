"""Whose lines a change touches: by blame of the checkout's commits, which are the patches of the series."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tunefork.patchset.author.stack import Stack
from tunefork.patchset.rebase import history
from tunefork.patchset.series import diff
from tunefork.patchset.series.materialise import ABSENT, GITLINK, Tree
from tunefork.patchset.series.replay import LINK, Entry

BLAMED = re.compile(rb"^([0-9a-f]{40}) \d+ (\d+)(?: \d+)?$")
NEAR = 3  # lines: git's own context


@dataclass(frozen=True)
class Part:
    """One hunk of a change, or a whole file. first, last: lines of the checkout's commit (0 for a whole file).

    owner: the patch that it belongs to, "" where that is not certain; likely: patches it may belong to, nearest first.
    old, new: the entries of a whole file; lines: (start, count) before and after, of a hunk.
    """

    path: bytes
    first: int
    last: int
    owner: str
    likely: tuple[str, ...]
    lines: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def shown(self) -> str:
        where = diff.shown(self.path)
        if not self.first:
            return where
        return f"{where}:{self.first}" + (f"-{self.last}" if self.last > self.first else "")


def parts(stack: Stack, tree: Tree, changed: dict[bytes, tuple[Entry, Entry]]) -> list[Part]:
    """The parts of a change against the checkout's commit, each with its owner. tree: of that commit; changed: entries before and after."""
    found = []
    for path, (old, new) in sorted(changed.items()):
        touching = tuple(each.name for each in reversed(stack.made) if any(touch.path == path for touch in each.touches))
        if ABSENT in (old, new) or old[0] != new[0] or {LINK, GITLINK} & {old[0], new[0]} or binary(tree, old[1], new[1]):
            found.append(Part(path, 0, 0, touching[0] if len(touching) == 1 else "", touching))
            continue
        owners = blame(stack, path)
        for lines in history.ranges(stack.git, old[1], new[1]):
            found.append(hunk(path, lines, owners, touching))
    return found


def binary(tree: Tree, *blobs: str) -> bool:
    return any(b"\0" in (tree.content(blob) or b"\0") for blob in blobs)


def blame(stack: Stack, path: bytes) -> list[str]:
    """The patch that each line of a file of the checkout's commit comes from; "" for upstream's lines."""
    names = {each.commit: each.name for each in stack.made}
    out = stack.git("blame", "--porcelain", "--no-textconv", "--ignore-revs-file=", f"{stack.state.base}..HEAD", "--", os.fsdecode(path))
    return [names.get(match[1].decode(), "") for line in out.split(b"\n") if (match := BLAMED.match(line))]


def hunk(path: bytes, lines: tuple[int, int, int, int], owners: Sequence[str], touching: tuple[str, ...]) -> Part:
    """A hunk with its owner: who wrote the lines that it replaces; of lines that are only added, who wrote those around them."""
    start, count = lines[0], lines[1]
    begin = start - 1 if count else start  # counted from 0: the first line it replaces, or the one it goes before
    replaced = owners[begin : begin + count]
    around = [*owners[max(begin - 1, 0) : begin], *owners[begin + count : begin + count + 1]]
    near = owners[max(begin - NEAR, 0) : begin + count + NEAR]
    for lot in (replaced, around):
        if len(wrote := set(lot) - {""}) == 1:
            return Part(path, begin + 1, begin + max(count, 1), wrote.pop(), (), lines)
        if wrote:
            return Part(path, begin + 1, begin + max(count, 1), "", tuple(dict.fromkeys(each for each in reversed(lot) if each)), lines)
    likely = dict.fromkeys([*(each for each in reversed(near) if each), *touching])
    return Part(path, begin + 1, begin + max(count, 1), "", tuple(likely), lines)


def taken(tree: Tree, parts: Sequence[Part], changed: dict[bytes, tuple[Entry, Entry]]) -> dict[bytes, Entry]:
    """The entries that some parts of a change make, without the others."""
    puts: dict[bytes, Entry] = {}
    for path in dict.fromkeys(each.path for each in parts):
        old, new = changed[path]
        mine = [each for each in parts if each.path == path]
        if not mine[0].first:
            puts[path] = new
            continue
        before, after = (diff.split_lines(tree.content(side[1]) or b"") for side in (old, new))
        out: list[bytes] = []
        at = 0
        for each in mine:
            start, count, there, now = each.lines
            begin = start - 1 if count else start
            out += before[at:begin]
            out += after[(there - 1 if now else there) : (there - 1 if now else there) + now]
            at = begin + count
        data = b"".join([*out, *before[at:]])
        blob = diff.blob_id(data)
        tree.contents[blob] = data
        puts[path] = (new[0], blob)
    return puts
