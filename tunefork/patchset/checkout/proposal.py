"""What a parked patch proposes for each file: the patched content, a merge with conflict markers, or two sides to choose from."""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tunefork.patchset.checkout import switch
from tunefork.patchset.git import Git
from tunefork.patchset.series import diff
from tunefork.patchset.series.diff import FileChange, HunkMismatch
from tunefork.patchset.series.materialise import ABSENT, GITLINK, Tree

MARKER = b"<<<<<<< "


@dataclass(frozen=True)
class Proposal:
    """One file as a parked patch would have it. data: None to delete it.  removed: where a rename takes it from.

    stages: index lines of the two sides, for a conflict that no markers can show (binary files, links).
    """

    path: bytes
    mode: str
    data: bytes | None
    removed: bytes | None = None
    stages: bytes = b""


def propose(tree: Tree, change: FileChange, name: str) -> Proposal:
    """What one file becomes where patch ``name`` is parked."""
    have = tree.entries.get(change.new_path if change.kind == "add" else change.old_path, ABSENT)
    removed = change.old_path if change.kind == "rename" else None
    mode = change.new_mode or (have[0] if have != ABSENT else "100644")
    same = have != ABSENT and have[1].startswith(change.old_blob or have[1])
    if change.kind == "delete" and (same or have == ABSENT):
        return Proposal(change.old_path, have[0], None)
    if GITLINK in (mode, have[0]):
        return Proposal(change.new_path, GITLINK, (change.new_blob or have[1]).encode(), removed)
    ours = (tree.content(have[1]) or b"") if have != ABSENT else b""
    if change.kind == "delete":
        return Proposal(change.old_path, have[0], marked(ours, b"", name))
    base = b"" if change.kind == "add" else tree.content(change.old_blob or "")
    theirs = wanted(change, base)
    if change.kind == "add":
        simple = theirs if have == ABSENT or ours == theirs else None
    elif change.hunks or change.binary is not None:
        simple = patched(change, ours, name) if same else None
    else:
        simple = ours
    if simple is not None:
        return Proposal(change.new_path, mode, simple, removed)
    if change.binary is not None or b"\0" in ours or "120000" in (mode, have[0]):
        return two_sides(tree, change, have, mode, ours, theirs, removed)
    return Proposal(change.new_path, mode, conflicted(tree.git, change, base, ours, theirs, name), removed)


def wanted(change: FileChange, base: bytes | None) -> bytes | None:
    """What the patch makes of its own preimage; None without that, or where its hunks do not fit even there."""
    try:
        return None if base is None else change.apply(base)
    except HunkMismatch:
        return None


def conflicted(git: Git, change: FileChange, base: bytes | None, ours: bytes, theirs: bytes | None, name: str) -> bytes:
    """Text with markers: merged where the preimage is known, else hunk by hunk."""
    if base is None or theirs is None:
        return hunks_with_markers(change, ours, name, trusted=False)
    return marked(ours, theirs, name) if change.kind == "add" else merge_with_markers(git, base, ours, theirs, name)


def patched(change: FileChange, ours: bytes, name: str) -> bytes:
    """The change of the very blob it was made from; hunks that a hand edit broke are marked."""
    try:
        return change.apply(ours)
    except HunkMismatch:
        return hunks_with_markers(change, ours, name, trusted=True)


def two_sides(
    tree: Tree, change: FileChange, have: tuple[str, str], mode: str, ours: bytes, theirs: bytes | None, removed: bytes | None
) -> Proposal:
    """A conflict that markers cannot show: the tree's side in the file, both in the index, for the user to choose."""
    sides = [(have, b"2")] if have != ABSENT else []
    if theirs is not None:
        blob = tree.git("hash-object", "-w", "--stdin", stdin=theirs).decode().strip()
        sides.append(((mode, blob), b"3"))
    lines = (b"%s %s %s\t%s\0" % (side[0].encode(), side[1].encode(), stage, change.new_path) for side, stage in sides)
    return Proposal(change.new_path, have[0] if have != ABSENT else mode, ours if have != ABSENT else theirs or b"", removed, b"".join(lines))


def put(root: Path, file: Proposal, name: str) -> None:
    """Write a file of the parked worktree; where a folder or a file is in its way, under ``<path>~<patch>`` as git does."""
    if file.removed is not None:
        switch.remove(root, file.removed)
    if file.data is None:
        switch.remove(root, file.path)
        return
    git = Git(root)
    whole = place(root, file.path, name)
    if file.mode == GITLINK:
        whole.mkdir(exist_ok=True)  # an unpopulated submodule, which `git add --all` leaves alone
        git("update-index", "-z", "--index-info", stdin=b"%s %s\t%s\0" % (GITLINK.encode(), file.data, file.path))
    elif file.mode == "120000":
        if file.data:  # a link to nowhere cannot be made
            whole.symlink_to(os.fsdecode(file.data))
    else:
        whole.write_bytes(file.data)
        whole.chmod(0o755 if file.mode == "100755" else 0o644)
    if file.stages:
        git("update-index", "-z", "--index-info", stdin=b"0 %s\t%s\0" % (diff.NO_BLOB.encode(), file.path) + file.stages)


def place(root: Path, path: bytes, name: str) -> Path:
    """An empty place for a file, its folders made: its own, or one beside it where a folder, a file or a link is in the way."""
    whole = root / os.fsdecode(path)
    reached = switch.reached(root, path)
    with contextlib.suppress(OSError):
        if reached:
            whole.parent.mkdir(parents=True, exist_ok=True)
            whole.unlink(missing_ok=True)
            return whole
    other = whole.with_name(f"{whole.name}~{name}") if reached and whole.is_dir() else root / f"{os.fsdecode(path).replace('/', '-')}~{name}"
    while os.path.lexists(other):  # what another change of the patch put there, a link perhaps
        other = other.with_name(f"{other.name}~")
    return other


def merge_with_markers(git: Git, base: bytes, ours: bytes, theirs: bytes, name: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="tunefork-park-") as folder:
        paths = [Path(folder) / side for side in ("ours", "base", "theirs")]
        for path, data in zip(paths, (ours, base, theirs), strict=True):
            path.write_bytes(data)
        labels = ["-L", "tree", "-L", "what the patch was made from", "-L", f"{name}.patch"]
        return git.run("merge-file", "-p", "--diff3", *labels, *map(str, paths)).out


def hunks_with_markers(change: FileChange, ours: bytes, name: str, *, trusted: bool) -> bytes:
    """Without the preimage: each hunk is marked at its line, the tree's lines there against the patch's.

    trusted: the tree holds the very blob the patch names, so that a hunk whose lines are there needs no marker.
    """
    lines = diff.split_lines(ours)
    out: list[bytes] = []
    at = 0
    for hunk in change.hunks:
        begin = min(max(hunk.start - 1 if hunk.old else hunk.start, at), len(lines))
        end = min(begin + len(hunk.old), len(lines))
        out += lines[at:begin]
        if trusted and tuple(lines[begin:end]) == hunk.old:
            out += hunk.new
        else:
            out.append(marked(b"".join(lines[begin:end]), b"".join(hunk.new), name))
        at = end
    return b"".join([*out, *lines[at:]])


def marked(ours: bytes, theirs: bytes, name: str) -> bytes:
    """A conflict block of two sides."""
    ends = [side if not side or side.endswith(b"\n") else side + b"\n" for side in (ours, theirs)]
    return MARKER + b"tree\n" + ends[0] + b"=======\n" + ends[1] + b">>>>>>> " + name.encode() + b".patch\n"
