"""Commits from patches, made in the object database alone: no work tree, no index, no configuration of anybody's.

A pure function of (base commit, patches): every commit has the patch's author and date, our fixed committer and the author's date, and
the exact content the patch names. One ``git fast-import`` writes all of them.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tunefork.base.errors import BadInput, PatchConflict, TuneforkError
from tunefork.patchset.git import EMAIL, NAME, Git
from tunefork.patchset.series import diff
from tunefork.patchset.series.diff import FileChange, HunkMismatch, blob_id, quote, shown
from tunefork.patchset.series.lock import Touch
from tunefork.patchset.series.mail import PatchFile

IMPORT_REF = "refs/tunefork/import"
ABSENT = ("000000", diff.NO_BLOB)
GITLINK = "160000"
PERSON = re.compile(rb"[^\x00-\x1f\x7f<>]*<[^\x00-\x1f\x7f<>]*>")
MOMENT = re.compile(rb"-?\d+ [-+]\d{4}")
Merge = Callable[[bytes, bytes, bytes], bytes | None]
"""Three-way merge of one file: (base, ours, theirs) -> merged, or None on conflict."""


@dataclass(frozen=True)
class Made:
    """A patch as a commit: its name, commit and tree hashes, and what it did to each path."""

    name: str
    commit: str
    tree: str
    touches: tuple[Touch, ...]


class Mismatch(PatchConflict):
    """A patch that does not match the tree before it. ``made``: the patches before it, which are in the object database."""

    def __init__(self, patch: PatchFile, why: str, made: Sequence[Made]) -> None:
        super().__init__(f"{patch.name}.patch does not match: {why}")
        self.patch = patch
        self.made = tuple(made)


@dataclass
class Tree:
    """A tree being changed: path -> (mode, blob), with new contents held until they are written."""

    git: Git
    entries: dict[bytes, tuple[str, str]]
    contents: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def read(cls, git: Git, commit: str) -> Tree:
        entries = {}
        for line in git("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0")[:-1]:
            meta, _, path = line.partition(b"\t")
            mode, _, blob = meta.decode().split(" ")
            entries[path] = (mode, blob)
        return cls(git, entries)

    def prefetch(self, blobs: set[str]) -> None:
        """Read the blobs that exist in one git process."""
        wanted = sorted(blobs - self.contents.keys() - {diff.NO_BLOB})
        if not wanted:
            return
        out = self.git("cat-file", "--batch", stdin="\n".join(wanted).encode() + b"\n")
        at = 0
        while at < len(out):
            end = out.index(b"\n", at)
            head = out[at:end].split(b" ")
            at = end + 1
            if head[1] == b"missing":
                continue
            size = int(head[2])
            if head[1] == b"blob":
                self.contents[head[0].decode()] = out[at : at + size]
            at += size + 1

    def content(self, blob: str) -> bytes | None:
        """A blob's content; None when neither this run nor the repository has it."""
        if blob not in self.contents:
            self.prefetch({blob})
        return self.contents.get(blob)


def parsed(patch: PatchFile) -> list[FileChange]:
    return diff.parse(patch.name, patch.diff)


def materialise(
    git: Git, base: str, patches: Sequence[PatchFile], merge: Merge | None = None, *, trust_index: bool = True
) -> list[Made]:
    """Make one commit per patch on ``base`` and return them in order.

    Without ``merge`` every path must hold exactly the blob that the patch was made from (except a pick's); with it, a path that differs is merged
    three-way from the recorded blobs. ``trust_index=False`` takes in a patch whose hunks were edited by hand: what they make is then
    accepted whatever its index line promises. Raises Mismatch at the first patch that does not fit.
    """
    if not patches:
        return []
    tree = Tree.read(git, base)
    changes = {patch.name: parsed(patch) for patch in patches}
    first = {change.old_path for each in changes.values() for change in each}
    tree.prefetch({tree.entries[path][1] for path in first if path in tree.entries and tree.entries[path][0] != GITLINK})
    stream = bytearray()
    done: list[tuple[PatchFile, tuple[Touch, ...]]] = []
    try:
        for patch in patches:
            how = merge or (merge_file(git) if patch.picked else None)
            touches = change_tree(tree, changes[patch.name], how, trust_index)
            if not touches:
                raise HunkMismatch("it changes nothing")
            stream += commit_command(tree, patch, touches, len(done) + 1, base if not done else f":{len(done)}")
            done.append((patch, tuple(touches)))
    except HunkMismatch as mismatch:
        raise Mismatch(patch, str(mismatch), write(git, bytes(stream), done)) from None
    return write(git, bytes(stream), done)


def outcome(bare: Tree, patches: Sequence[PatchFile], changes: dict[str, list[FileChange]], merge: Merge | None) -> list[tuple[Touch, ...]]:
    """What patches do to a tree, by the rules of ``materialise`` and without making commits. Mismatch at the first that does not fit.

    bare: the tree before, which stays as it is.  changes: what the patches' diffs say, by name.
    """
    tree = Tree(bare.git, dict(bare.entries), bare.contents)
    done = []
    for patch in patches:
        try:
            touches = change_tree(tree, changes[patch.name], merge or (merge_file(tree.git) if patch.picked else None), True)
            if not touches:
                raise HunkMismatch("it changes nothing")
        except HunkMismatch as mismatch:
            raise Mismatch(patch, str(mismatch), ()) from None
        done.append(tuple(touches))
    return done


def change_tree(tree: Tree, changes: Sequence[FileChange], merge: Merge | None, trust_index: bool) -> list[Touch]:
    """Do one patch's changes in the tree, all read before any is written; HunkMismatch says what does not fit."""
    removed: dict[bytes, tuple[str, str]] = {}
    placed: dict[bytes, tuple[str, str]] = {}
    for change in changes:
        have = tree.entries.get(change.old_path, ABSENT)
        if change.new_path in placed and change.kind != "delete":
            raise HunkMismatch(f"it changes {shown(change.new_path)} twice")
        if change.kind == "add":
            placed[change.new_path] = (change.new_mode or "100644", added_blob(tree, change, trust_index))
            continue
        if have == ABSENT:
            raise HunkMismatch(f"{shown(change.old_path)} is not in the tree")
        if change.kind == "delete":
            check_preimage(change, have)
            removed[change.old_path] = have
            continue
        placed[change.new_path] = (change.new_mode or have[0], new_blob(tree, change, have, merge, trust_index))
        if change.kind == "rename":
            removed[change.old_path] = have
    before = {path: tree.entries.get(path, ABSENT) for path in {*removed, *placed}}
    for path in removed:
        del tree.entries[path]
    in_place = {change.new_path for change in changes if change.kind == "modify"}
    for path, entry in placed.items():
        if path not in in_place:
            check_free(tree, path)
        tree.entries[path] = entry
    after = {path: tree.entries.get(path, ABSENT) for path in before}
    return [
        Touch(before[path][0], after[path][0], before[path][1], after[path][1], path)
        for path in sorted(before)
        if before[path] != after[path]
    ]


def check_free(tree: Tree, path: bytes) -> None:
    """A new file must not replace a file, nor stand where a folder or a file's child would be; and git must be able to hold it."""
    parts = path.split(b"/")
    if not diff.holdable(path):  # a merge or a rename upstream can make one that no patch names
        raise HunkMismatch(f"it adds {shown(path)}, a path that git does not check out")
    taken = [b"/".join(parts[:end]) for end in range(1, len(parts) + 1) if b"/".join(parts[:end]) in tree.entries]
    if not taken and b"\0" + path + b"/" in b"\0" + b"\0".join(tree.entries):
        taken = [path]
    if taken:
        raise HunkMismatch(f"it adds {shown(path)}, but {shown(taken[0])} is already there")


def check_preimage(change: FileChange, have: tuple[str, str]) -> None:
    """The path must hold exactly what the patch was made from."""
    if change.old_blob and not have[1].startswith(change.old_blob):
        raise HunkMismatch(
            f"{shown(change.old_path)} is blob {have[1][:12]} in the tree, the patch was made from {change.old_blob[:12]}"
        )
    if change.old_mode and change.old_mode != have[0]:
        raise HunkMismatch(
            f"{shown(change.old_path)} has mode {have[0]} in the tree, the patch was made from {change.old_mode}"
        )


def new_blob(tree: Tree, change: FileChange, have: tuple[str, str], merge: Merge | None, trust_index: bool) -> str:
    """The blob that a changed file becomes."""
    try:
        check_preimage(change, have)
    except HunkMismatch:
        if merge is None or have[0] == GITLINK or change.old_mode not in (None, have[0]):
            raise
        return merged_blob(tree, change, have[1], merge)
    if GITLINK in (change.old_mode, have[0]):
        return submodule_commit(change) if change.hunks else have[1]
    if not change.hunks and change.binary is None:
        return have[1]
    old = tree.content(have[1])
    if old is None:
        raise HunkMismatch(f"{shown(change.old_path)}: blob {have[1][:12]} is missing from the repository")
    return store(tree, made_content(change, old, trust_index))


def added_blob(tree: Tree, change: FileChange, trust_index: bool) -> str:
    """The blob of a new file; of a new submodule, its commit."""
    if change.new_mode == GITLINK:
        return submodule_commit(change)
    return store(tree, made_content(change, b"", trust_index))


def submodule_commit(change: FileChange) -> str:
    """A submodule's "blob" is a commit of another repository: only the index line names it."""
    if not change.new_blob or len(change.new_blob) != len(diff.NO_BLOB):
        raise HunkMismatch(f"{shown(change.new_path)} is a submodule, and its index line does not name a whole commit")
    return change.new_blob


def made_content(change: FileChange, old: bytes, trust_index: bool) -> bytes:
    """Apply a change; its result must be the blob that its index line promises (unless a hand edit is being taken in)."""
    try:
        data = change.apply(old)
    except HunkMismatch as mismatch:
        raise HunkMismatch(f"{shown(change.new_path)}: {mismatch}") from None
    if trust_index and change.new_blob and not blob_id(data).startswith(change.new_blob):
        raise HunkMismatch(
            f"{shown(change.new_path)}: its hunks make blob {blob_id(data)[:12]}, its index line says {change.new_blob[:12]}: "
            "it was edited by hand"
        )
    return data


def merged_blob(tree: Tree, change: FileChange, ours: str, merge: Merge) -> str:
    """Three-way: what the patch made of its own preimage, brought onto what the tree holds instead."""
    base, mine = tree.content(change.old_blob or ""), tree.content(ours)
    if base is None or mine is None:
        wanted = (change.old_blob or "?")[:12]
        raise HunkMismatch(f"{shown(change.new_path)}: the blob it was made from ({wanted}) is not in the repository")
    merged = merge(base, mine, change.apply(base))
    if merged is None:
        raise HunkMismatch(f"{shown(change.new_path)} conflicts with what the tree holds there")
    return store(tree, merged)


def store(tree: Tree, data: bytes) -> str:
    blob = blob_id(data)
    tree.contents[blob] = data
    return blob


def commit_command(tree: Tree, patch: PatchFile, touches: Sequence[Touch], mark: int, parent: str) -> bytes:
    """One commit in fast-import's language. Lines of the stream are made of nothing that could end one."""
    if not PERSON.fullmatch(patch.author) or not MOMENT.fullmatch(patch.date):
        raise BadInput(f"{patch.name}.patch: {patch.author!r}, {patch.date!r} are no author and date of a commit",
                       "make it again: `git format-patch -k -1 --stdout COMMIT`")
    committer = f"{NAME} <{EMAIL}> ".encode() + patch.date
    out = bytearray(b"commit %s\nmark :%d\n" % (IMPORT_REF.encode(), mark))
    out += b"author %s %s\ncommitter %s\n" % (patch.author, patch.date, committer)
    out += b"data %d\n%s\nfrom %s\n" % (len(patch.message), patch.message, parent.encode())
    for each in sorted(touches, key=lambda item: item.new_mode != ABSENT[0]):  # deletions first: a rename may swap names
        if each.new_mode == ABSENT[0]:
            out += b"D %s\n" % quote(each.path)
        elif each.new_mode == GITLINK or each.new_blob not in tree.contents:
            out += b"M %s %s %s\n" % (each.new_mode.encode(), each.new_blob.encode(), quote(each.path))
        else:
            data = tree.contents[each.new_blob]
            out += b"M %s inline %s\ndata %d\n%s\n" % (each.new_mode.encode(), quote(each.path), len(data), data)
    return bytes(out)


def write(git: Git, stream: bytes, done: Sequence[tuple[PatchFile, tuple[Touch, ...]]]) -> list[Made]:
    """Run the collected commands; fast-import answers with each commit and its tree, and forgets the ref it worked on."""
    if not done:
        return []
    ask = b"".join(b'get-mark :%d\nls :%d ""\n' % (mark, mark) for mark in range(1, len(done) + 1))
    forget = b"reset %s\nfrom %s\n\n" % (IMPORT_REF.encode(), diff.NO_BLOB.encode())
    commands = stream + ask + forget + b"done\n"
    words = git("fast-import", "--quiet", "--done", "--force", "--date-format=raw", stdin=commands).decode().split()
    commits, trees = words[0::4], words[3::4]  # "<commit>", then "040000 tree <tree>"
    if not len(commits) == len(trees) == len(done):
        raise TuneforkError(f"{len(done)} patches made {len(commits)} commits", "this is a bug: please report it")
    return [Made(patch.name, commit, tree, touches) for commit, tree, (patch, touches) in zip(commits, trees, done, strict=True)]


def merge_file(git: Git) -> Merge:
    """A Merge that uses ``git merge-file``, which conflicts rather than guess where context repeats."""

    def merge(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
        with tempfile.TemporaryDirectory(prefix="tunefork-merge-") as folder:
            paths = [Path(folder) / side for side in ("ours", "base", "theirs")]
            for path, data in zip(paths, (ours, base, theirs), strict=True):
                path.write_bytes(data)
            done = git.run("merge-file", "-p", "--quiet", *map(str, paths))
        return done.out if done.code == 0 else None

    return merge
