"""Where a foreign patch's hunks go: the place that its `@@` line names, where the file holds exactly its lines there; else the only place that does.

No fuzz. What git am, or patch for a quilt series, would put elsewhere is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tunefork.base.errors import BadInput
from tunefork.patchset.author.section import Section, without_crs
from tunefork.patchset.series import diff
from tunefork.patchset.series.diff import FileChange, Hunk, HunkMismatch, blob_id, shown
from tunefork.patchset.series.lock import Touch
from tunefork.patchset.series.materialise import ABSENT, GITLINK, Tree, change_tree

SHORT = 7  # digits of an abbreviated hash; fewer prove nothing
MORE = "it deletes the file, which holds more than the patch removes"
SUBPROJECT = re.compile(rb"^Subproject commit ([0-9a-f]{40})")


def apply(tree: Tree, file: str, changes: Sequence[Section], notes: list[str], *, quilt: bool) -> tuple[Touch, ...]:
    """Do a patch's changes in the tree. HunkMismatch says what does not fit, BadInput what the patch does not bring."""
    before: dict[bytes, tuple[str, str]] = {}
    if quilt:
        refuse_taken(tree, changes)
    for turn in turns(changes):
        placed = [place(tree, file, change, notes, quilt=quilt) for change in turn]
        for each in change_tree(tree, placed, None, trust_index=False):
            before.setdefault(each.path, (each.old_mode, each.old_blob))
    after = {path: tree.entries.get(path, ABSENT) for path in before}
    return tuple(Touch(before[path][0], after[path][0], before[path][1], after[path][1], path) for path in sorted(before) if before[path] != after[path])


def refuse_taken(tree: Tree, changes: Sequence[Section]) -> None:
    """patch does one change after the other: of a rename onto a file that is there, or of two that swap names, it makes something else than git."""
    gone = Counter(path for change in changes for path in {change.old_path, change.new_path})
    for change in changes:
        if change.kind in ("rename", "copy") and (change.new_path in tree.entries or (change.kind == "rename" and gone[change.old_path] > 1)):
            raise HunkMismatch(f"it makes {shown(change.new_path)} of {shown(change.old_path)}, and another change of it names one of the two")


def turns(changes: Sequence[Section]) -> list[list[Section]]:
    """The changes in lots, one after the other, none of which names a path twice; renames that swap names stay together."""
    lots: list[list[Section]] = [[]]
    made: set[bytes] = set()
    moves = {path for change in changes if change.kind in ("rename", "copy") for path in (change.old_path, change.new_path)}
    for change in changes:
        if change.new_path in made or (change.old_path in made and change.kind in ("modify", "delete")):
            if {change.old_path, change.new_path} & moves:
                raise HunkMismatch(f"it changes {shown(change.new_path)} twice, and renames or copies it")
            lots.append([])
            made = set()
        lots[-1].append(change)
        made.add(change.new_path)
    return lots


def place(tree: Tree, file: str, change: Section, notes: list[str], *, quilt: bool) -> FileChange:
    """The change with its hunks where the tree's file holds their lines."""
    if quilt and GITLINK in (change.new_mode, change.old_mode):
        raise HunkMismatch(f"{shown(change.new_path)} is a submodule, which patch and quilt do not know: they make a file of it")
    have = tree.entries.get(change.old_path, ABSENT)
    if have == ABSENT and change.other in tree.entries:
        have = tree.entries[change.other]
        change = replace(change, old_path=change.other, new_path=change.other)
    if change.kind == "add" and have != ABSENT and change.new_mode is None and (change.perhaps or not tree.content(have[1])):
        change = replace(change, kind="modify")  # a plain diff cannot tell a new file from an empty one
    if change.unseen:
        change = seen(tree, file, change)
    if GITLINK in (have[0], change.new_mode, change.old_mode):
        return submodule(change, have)
    if change.kind == "add":
        if quilt and not change.hunks and change.binary is None:
            notes.append(f"{shown(change.new_path)} is a new empty file, which dpkg-source does not keep (it runs patch -E)")
        return without_crs(change) if change.crs and quilt else change
    return change if have == ABSENT else changed(tree, change, have, notes, quilt=quilt)


def changed(tree: Tree, change: Section, have: tuple[str, str], notes: list[str], *, quilt: bool) -> FileChange:
    """The change of a file that is there."""
    check_type(change, have)
    if change.binary is not None:
        return checked_binary(tree, change, have)
    if not change.hunks:
        if change.kind == "delete" and not names(change.old_blob, have[1]) and tree.content(have[1]):
            raise HunkMismatch(f"{shown(change.old_path)}: {MORE}")
        return replace(change, old_blob=None, new_blob=None, old_mode=None)
    data = tree.content(have[1])
    if data is None:
        raise HunkMismatch(f"{shown(change.old_path)}: blob {have[1][:12]} is missing from the repository")
    if not change.crs:
        return fitted(change, data, have, notes, quilt=quilt)
    either = (without_crs(change), change) if quilt else (change, without_crs(change))  # git am keeps the CRs of a file's lines
    try:
        return fitted(either[0], data, have, notes, quilt=quilt)
    except HunkMismatch:
        return fitted(either[1], data, have, notes, quilt=quilt)


def check_type(change: Section, have: tuple[str, str]) -> None:
    """A file does not become a link by a change of its lines; another permission is the tree's own affair."""
    if change.old_mode and change.old_mode[:3] != have[0][:3]:
        raise HunkMismatch(f"{shown(change.old_path)} has mode {have[0]} in the tree, the patch was made from {change.old_mode}")


def seen(tree: Tree, file: str, change: Section) -> Section:
    """A change of a binary file that the diff only mentions: from the repository, where its index line names what that has."""
    data = tree.content(change.new_blob) if change.new_blob and len(change.new_blob) == len(diff.NO_BLOB) else None
    if change.kind == "delete":
        return change
    if data is None:
        path = shown(change.new_path)
        raise BadInput(f"{file}:{change.line}: {path} is binary and its content is not in the patch",
                       f"have it written with --binary: `git format-patch --binary` (or `git diff --binary`) puts {path} in")  # fmt: skip
    return replace(change, binary=("literal", data), hunks=[])


def submodule(change: Section, have: tuple[str, str]) -> FileChange:
    """A submodule's commit: its hunk names the whole of it, whatever the index line abbreviates."""
    if change.kind == "delete" or not change.hunks:
        return replace(change, old_blob=None) if change.kind == "delete" and change.hunks and named(change.hunks[0].old) == have[1] else change
    old, new = named(change.hunks[0].old), named(change.hunks[0].new)
    if len(change.hunks) != 1 or not new or (change.kind != "add" and have[0] != GITLINK):
        raise HunkMismatch(f"{shown(change.new_path)} is a submodule, and its hunk does not name a whole commit")
    if change.kind != "add" and old != have[1]:
        raise HunkMismatch(f"{shown(change.new_path)} is submodule commit {have[1][:12]} in the tree, the patch was made from {old[:12]}")
    return replace(change, old_blob=None, new_blob=new, old_mode=None)


def names(blob: str | None, whole: str) -> bool:
    """Whether an index line's hash, abbreviated or not, is this blob's."""
    return blob is not None and len(blob) >= SHORT and whole.startswith(blob)


def named(lines: tuple[bytes, ...]) -> str:
    match = SUBPROJECT.match(lines[0]) if len(lines) == 1 else None
    return match[1].decode() if match else ""


def checked_binary(tree: Tree, change: Section, have: tuple[str, str]) -> FileChange:
    """A binary change, which must make what its index line says; its mode is the tree's."""
    if change.kind != "delete" and change.old_blob and have[1].startswith(change.old_blob) and change.new_blob:
        data = change.apply(tree.content(have[1]) or b"")
        if not blob_id(data).startswith(change.new_blob):
            raise HunkMismatch(f"{shown(change.new_path)}: its binary data makes blob {blob_id(data)[:12]}, its index line says {change.new_blob[:12]}")
    return replace(change, old_mode=None)


def fitted(change: Section, data: bytes, have: tuple[str, str], notes: list[str], *, quilt: bool) -> FileChange:
    """The change of a text with every hunk where its lines are."""
    lines = diff.lines_of(data)
    exact = names(change.old_blob, have[1])
    if exact and not all(hunk.old for hunk in change.hunks) and proved(change, data):  # git am would add the lines at the file's end
        return replace(change, old_blob=None, new_blob=None, old_mode=None)
    hunks: list[Hunk] = []
    said: list[str] = []
    at = shift = grown = 0
    for number, hunk in enumerate(change.hunks, 1):
        begin = place_of(lines, hunk, at, shift if quilt else 0, exact=exact, quilt=quilt, certain=quilt or one_place(hunk, grown))
        grown += len(hunk.new) - len(hunk.old)
        if isinstance(begin, str):
            raise HunkMismatch(f"{shown(change.old_path)}: hunk {number} (at line {hunk.start}) {begin}")
        if hunk.new and not hunk.new[-1].endswith(b"\n") and begin + len(hunk.old) < len(lines):
            raise HunkMismatch(f"{shown(change.old_path)}: hunk {number} makes a line without an end, and the file goes on behind it")
        stated = hunk.start - 1 if hunk.old else hunk.start
        shift = begin - stated
        if shift:
            said.append(f"{shown(change.old_path)}: hunk {number} is {abs(shift)} lines {'lower' if shift > 0 else 'higher'}")
        hunks.append(replace(hunk, start=begin + 1 if hunk.old else begin))
        at = begin + len(hunk.old)
    found = replace(change, hunks=hunks, old_blob=None, new_blob=None, old_mode=None)
    if change.kind == "delete" and found.apply(data):
        raise HunkMismatch(f"{shown(change.old_path)}: {MORE}")
    if quilt and change.kind == "modify" and sum(len(each.old) for each in hunks) == len(lines) and not any(each.new for each in hunks):
        notes.append(f"{shown(change.new_path)} is left empty, and dpkg-source would delete it (it runs patch -E)")
    notes += said
    return found


def proved(change: Section, data: bytes) -> bool:
    """Whether the hunks at their stated lines make what the index line says."""
    try:
        return names(change.new_blob, blob_id(change.apply(data)))
    except HunkMismatch:
        return False


def one_place(hunk: Hunk, grown: int) -> bool:
    """Whether both line numbers of a hunk's header mean the same place: git am looks at the second, patch at the first.

    grown: lines that the hunks before it add to the file.
    """
    first, new_first = (start if lines else start + 1 for start, lines in ((hunk.start, hunk.old), (hunk.new_start or 0, hunk.new)))
    return hunk.new_start is None or new_first == first + grown


def place_of(lines: list[bytes], hunk: Hunk, at: int, shift: int, *, exact: bool, quilt: bool, certain: bool) -> int | str:
    """Where a hunk's lines are, counted from 0, or why it has no place.

    at: the first line that no hunk before it has taken.  shift: how far patch looks first, as the hunk before was found there.
    exact: the file is the one that the patch was made from.  certain: its header names one place, not two.
    """
    stated = hunk.start - 1 if hunk.old else hunk.start
    if not hunk.old:
        return of_added_lines(lines, stated, at, shift, exact=exact, quilt=quilt, certain=certain)
    count = len(hunk.old)
    if exact and certain and stated >= at and tuple(lines[stated : stated + count]) == hunk.old:
        return stated
    there = places(lines, hunk.old)
    free = [begin for begin in there if begin >= at]
    if not free:
        return f"does not match: its {count} lines are nowhere in the file" if not there else "fits only before or within another hunk"
    shifted = stated + shift
    if len(there) == 1 or (certain and stated in free and (not shift or shifted not in there)):
        chosen = free[0] if len(there) == 1 else stated
        return chosen if len(there) == 1 or not anchored_elsewhere(lines, hunk, chosen, there) else several(there)
    return several(there)


def of_added_lines(lines: list[bytes], stated: int, at: int, shift: int, *, exact: bool, quilt: bool, certain: bool) -> int | str:
    """The same of a hunk that has no line to be found by: patch adds at the stated line, git am at the end of the file."""
    if stated < at or stated > len(lines):
        return "stands before another hunk" if stated < at else f"is behind the end of the file, line {len(lines)}"
    if lines and not quilt and stated < len(lines):
        return "adds lines without any around them, which git am adds at the end of the file"
    if lines and not certain:
        return "adds lines without any around them, and its two line numbers name two places"
    return stated if exact or not lines or not shift else "adds lines without any around them, and the file is not the one that it was made from"


def places(lines: list[bytes], wanted: tuple[bytes, ...]) -> list[int]:
    """Every place where a file holds these lines."""
    first, count, last = wanted[0], len(wanted), len(lines) - len(wanted)
    found: list[int] = []
    at = -1
    while True:
        try:
            at = lines.index(first, at + 1, max(last + 1, 0))
        except ValueError:
            return found
        if tuple(lines[at : at + count]) == wanted:
            found.append(at)


def anchored_elsewhere(lines: list[bytes], hunk: Hunk, chosen: int, there: list[int]) -> bool:
    """Whether git or patch take the hunk's lack of context for the beginning or the end of the file, where it would fit as well."""
    before = next((n for n, (old, new) in enumerate(zip(hunk.old, hunk.new, strict=False)) if old != new), min(len(hunk.old), len(hunk.new)))
    after = next((n for n, (old, new) in enumerate(zip(hunk.old[::-1], hunk.new[::-1], strict=False)) if old != new), min(len(hunk.old), len(hunk.new)))
    end = len(lines) - len(hunk.old)
    if after < before or not after:
        return chosen != end and end in there
    return (before < after or hunk.start <= 1) and chosen != 0 and 0 in there


def several(there: list[int]) -> str:
    shown_lines = ", ".join(str(each + 1) for each in there[:4])
    return f"fits at {len(there)} places (lines {shown_lines}), and nothing says which is meant"
