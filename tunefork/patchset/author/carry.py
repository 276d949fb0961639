"""Drafts made into commits: a patch whose files are as it knew them goes as it is, any other is merged by contents, or stops."""

from __future__ import annotations

from collections.abc import Sequence

from tunefork.patchset.author.stack import Draft, Stack
from tunefork.patchset.series import replay
from tunefork.patchset.series.diff import HunkMismatch, shown
from tunefork.patchset.series.lock import Touch
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import ABSENT, Made, Merge, Tree, check_free, commit_command, merge_file, write
from tunefork.patchset.series.replay import Change, Entries

Moved = dict[bytes, bytes]
"""Where files went that an earlier patch no longer renames, or now does: path that a later patch knows -> path in the new series."""


class Clash(Exception):
    """A change cannot be made in a tree; the message says of which file and why."""


class NotCarried(Exception):
    """A draft that cannot be carried. index: its place; commit: the one of its commits that does not go; made: the drafts before it.

    tree: the tree before that commit; earlier: what the draft's other commits have put into it. empty: nothing of the draft is left.
    """

    def __init__(self, draft: Draft, index: int, commit: str, why: str, made: list[Made], tree: Tree, earlier: Entries, *, empty: bool = False):
        super().__init__(f"{draft.name}.patch: {why}")
        self.draft, self.index, self.commit, self.why, self.made = draft, index, commit, why, made
        self.tree, self.earlier, self.empty = tree, earlier, empty


def kept(stack: Stack, drafts: Sequence[Draft]) -> int:
    """How many drafts at the beginning are the series' own patches, as they are."""
    same = 0
    while same < min(len(drafts), len(stack.drafts)) and drafts[same] == stack.drafts[same]:
        same += 1
    return same


def carry(stack: Stack, drafts: Sequence[Draft], done: Sequence[Made] = (), moved: Moved | None = None, merge: Merge | None = None) -> list[Made]:
    """Commits of all drafts, in order. done: of the first ones, where they are made already. Raises NotCarried."""
    made = list(done) or stack.made[: kept(stack, drafts)]
    tip = made[-1].commit if made else stack.state.base
    if len(made) == len(drafts):
        return made
    tree = Tree.read(stack.git, tip)
    stream = bytearray()
    fresh: list[tuple[PatchFile, tuple[Touch, ...]]] = []
    for index, draft in enumerate(drafts[len(made) :], len(made)):
        before: Entries = {}
        for commit in draft.commits:
            earlier = {path: tree.entries.get(path, ABSENT) for path in before}
            try:
                was = take(stack, tree, commit, moved or {}, merge or merge_file(stack.git))
            except Clash as clash:
                raise NotCarried(draft, index, commit, str(clash), [*made, *write(stack.git, bytes(stream), fresh)], tree, earlier) from None
            before = {**was, **before}
        touches = between(tree, before)
        if not touches:
            so_far = [*made, *write(stack.git, bytes(stream), fresh)]
            raise NotCarried(draft, index, draft.commits[-1], "it changes nothing any more", so_far, tree, {}, empty=True)
        stream += commit_command(tree, draft.head, touches, len(fresh) + 1, f":{len(fresh)}" if fresh else tip)
        fresh.append((draft.head, touches))
    return [*made, *write(stack.git, bytes(stream), fresh)]


def between(tree: Tree, before: Entries) -> tuple[Touch, ...]:
    """What was done to paths, given their entries before."""
    after = {path: tree.entries.get(path, ABSENT) for path in before}
    return tuple(Touch(before[path][0], after[path][0], before[path][1], after[path][1], path)
                 for path in sorted(before) if before[path] != after[path])  # fmt: skip


def take(stack: Stack, tree: Tree, commit: str, moved: Moved, merge: Merge) -> Entries:
    """Do a commit's changes in the tree: exactly where its files are what it was made from, merged elsewhere. Entries before."""
    touches = stack.touches(commit)
    if all(tree.entries.get(each.path, ABSENT) == (each.old_mode, each.old_blob) for each in touches):
        return put(tree, {each.path: (each.new_mode, each.new_blob) for each in touches})
    return put(tree, merged(tree, replay.changes_of(stack.git, commit), moved, merge))


def merged(tree: Tree, changes: Sequence[Change], moved: Moved, merge: Merge) -> Entries:
    """What a commit's changes make of the tree's paths, three-way; the tree is not changed."""
    puts: Entries = {}
    tree.prefetch({blob for each in changes for _, blob in (each.before, each.after, tree.entries.get(each.old, ABSENT))})
    for change in changes:
        source, target = replay.places(tree.entries, change, moved)
        ours = tree.entries.get(source, ABSENT)
        if ours == ABSENT and change.kind in ("modify", "rename"):
            raise Clash(f"{shown(change.old)} is not there")
        made = replay.three_way(tree, merge, change.before, ours, change.after)
        if made is None:
            raise Clash(clash_words(change, ours, target))
        puts[target] = made
        if source != target:
            puts.setdefault(source, ABSENT)
    return puts


def clash_words(change: Change, ours: tuple[str, str], path: bytes) -> str:
    if change.kind == "add":
        return f"{shown(path)} is there already, with other content"
    if ours == ABSENT:
        return f"{shown(path)} is not there"
    return f"{shown(path)} differs in the lines it changes"


def put(tree: Tree, puts: Entries) -> Entries:
    """Put entries into the tree; their entries before. Clash, with the tree as it was, where a folder or a file is in the way."""
    before = {path: tree.entries.get(path, ABSENT) for path in puts}
    try:
        for path, entry in puts.items():
            if entry == ABSENT:
                tree.entries.pop(path, None)
        for path, entry in puts.items():
            if entry != ABSENT:
                if path not in tree.entries:
                    check_free(tree, path)
                tree.entries[path] = entry
    except HunkMismatch as mismatch:
        replay.apply_to(tree, before)
        raise Clash(str(mismatch)) from None
    return before
