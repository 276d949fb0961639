"""One patch replayed on another base: what becomes of each of its files, by three-way merge of contents.

A patch counts as upstream only where merging it changes nothing and it can be taken out again: never because a line looks alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tunefork.patchset.git import Git
from tunefork.patchset.series import diff
from tunefork.patchset.series.diff import HunkMismatch, blob_id, shown
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import ABSENT, GITLINK, Merge, Tree, check_free, store

Entry = tuple[str, str]  # (mode, blob)
Entries = dict[bytes, Entry]
CLEAN, UPSTREAM, PARTLY, EMPTY, CONFLICT = "clean", "upstream", "partly upstream", "empty", "conflict"
EXACT = "exact"  # why a patch is clean that needs no merge
LINK = "120000"


@dataclass(frozen=True)
class Change:
    """What a commit of the old series does to one file. kind: "add", "modify", "delete" or "rename"; before, after: its entries."""

    kind: str
    old: bytes
    new: bytes
    before: Entry
    after: Entry


@dataclass(frozen=True)
class File:
    """One file of a replayed patch. state: "exact", "merged", "upstream", "partly" or "conflict".  puts: what it makes of which path."""

    path: bytes
    state: str
    puts: Entries = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Replay:
    """A patch on the new base. outcome: one of the five above.  puts: to be done to the tree, maybe nothing.  paths: its files there."""

    outcome: str
    why: str
    puts: Entries
    paths: tuple[bytes, ...]


def changes_of(git: Git, commit: str) -> list[Change]:
    """The files that a commit of the old series changes, renames recognised."""
    return changes_of_all(git, [commit])[commit]


def changes_of_all(git: Git, commits: Sequence[str]) -> dict[str, list[Change]]:
    """The same of many commits, by one git."""
    asked = "".join(f"{commit}\n" for commit in commits).encode()
    out = git("diff-tree", "--stdin", "-r", "-z", "--raw", "--full-index", "-M", stdin=asked).split(b"\0")[:-1] if commits else []
    every: dict[str, list[Change]] = {commit: [] for commit in commits}
    found: list[Change] = []
    at = 0
    while at < len(out):
        if not out[at].startswith(b":"):
            found = every[out[at].decode()]
            at += 1
            continue
        old_mode, new_mode, old_blob, new_blob, status = out[at][1:].decode().split(" ")
        renamed = status[0] == "R"
        old, new = out[at + 1], out[at + 1 + renamed]
        kind = {"R": "rename", "A": "add", "D": "delete"}.get(status[0], "modify")
        found.append(Change(kind, old, new, (old_mode, old_blob), (new_mode, new_blob)))
        at += 2 + renamed
    return every


def moves(git: Git, old: str, new: str, wanted: Iterable[bytes], there: Entries) -> dict[bytes, bytes]:
    """Where files that the new base lacks went: old path -> new path, as git's rename detection finds them between the two bases."""
    missing = sorted(path for path in set(wanted) if path not in there)
    if not missing:
        return {}
    endings = {path.rpartition(b"/")[2].partition(b".")[2] for path in missing}
    where = [":(top,glob)**/*." + ending.decode("utf-8", "surrogateescape") if ending else ":(top)" for ending in sorted(endings)]
    out = git("diff-tree", "-r", "-z", "--raw", "-M", "-l0", "--diff-filter=R", old, new, "--", *where).split(b"\0")[:-1]
    renamed = dict(zip(out[1::3], out[2::3], strict=True))
    return {path: renamed[path] for path in missing if path in renamed}


def three_way(tree: Tree, merge: Merge, base: Entry, ours: Entry, theirs: Entry) -> Entry | None:
    """The entry that both sides' changes of ``base`` make; None on conflict."""
    if theirs in (ours, base):
        return ours
    if ours == base:
        return theirs
    if ABSENT in (base, ours, theirs):
        return None
    mode = ours[0] if theirs[0] == base[0] else theirs[0] if ours[0] in (base[0], theirs[0]) else None
    blob = ours[1] if theirs[1] in (base[1], ours[1]) else theirs[1] if ours[1] == base[1] else None
    if mode is not None and blob is None and not {GITLINK, LINK} & {base[0], ours[0], theirs[0]}:
        texts = [tree.content(side[1]) for side in (base, ours, theirs)]
        if (data := merged_text(merge, texts)) is not None:
            blob = store(tree, data)
    return None if mode is None or blob is None else (mode, blob)


def merged_text(merge: Merge, texts: Sequence[bytes | None]) -> bytes | None:
    """Three contents merged; None where one is missing or binary, or where they conflict."""
    whole = [text for text in texts if text is not None and b"\0" not in text]
    return merge(whole[0], whole[1], whole[2]) if len(whole) == 3 else None


def places(entries: Entries, change: Change, moved: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    """(the path to take from, the path to put to) in a tree of the new base."""
    source = change.old if change.old in entries else moved.get(change.old, change.old)
    if change.kind == "rename":
        return (change.new if source not in entries and change.new in entries else source), change.new
    return (change.new, change.new) if change.kind == "add" else (source, source)


def forward(tree: Tree, change: Change, moved: dict[bytes, bytes], merge: Merge, arrived: dict[Entry, bytes]) -> File:
    """One file's change, merged into the tree (which is not changed). arrived: content that came with the new base -> where it is."""
    source, put = places(tree.entries, change, moved)
    ours = tree.entries.get(source, ABSENT)
    followed = f"{shown(change.old)} is now {shown(source)}" if source != change.old and change.kind == "modify" else ""
    if change.kind not in ("delete", "add") and ours == ABSENT:
        return File(source, "conflict", note=f"{shown(change.old)} is not in the new base")
    if change.kind == "add" and ours == ABSENT and (same := elsewhere(arrived, change)):
        return File(same, "upstream", note=f"{shown(change.new)} is there as {shown(same)}")
    made = three_way(tree, merge, change.before, ours, change.after)
    if made is None:
        return File(put, "conflict", note=conflict_note(tree, change, ours, source))
    if made == ours and source == put:
        return File(put, "upstream", note=followed)
    puts = {put: made, **({source: ABSENT} if source != put else {})}
    return File(put, "exact" if ours == change.before and source == change.old else "merged", puts, followed)


def elsewhere(arrived: dict[Entry, bytes], change: Change) -> bytes | None:
    """Where upstream now has the very file that a patch adds, under another name. An empty file is no evidence."""
    return None if change.after[1] == blob_id(b"") else arrived.get(change.after)


def conflict_note(tree: Tree, change: Change, ours: Entry, path: bytes) -> str:
    """What a conflict is about, with how much of the patch the new base already has."""
    if change.kind == "add":
        return f"{shown(path)} is there already, with other content"
    if change.kind == "delete":
        return f"{shown(path)} is deleted by the patch and was changed upstream"
    if {GITLINK, LINK} & {change.before[0], ours[0], change.after[0]}:
        return f"{shown(path)} was changed on both sides and cannot be merged as text"
    texts = [tree.content(side[1]) for side in (change.before, ours, change.after)]
    if any(text is None or b"\0" in text for text in texts):
        return f"{shown(path)} was changed on both sides and cannot be merged as text"
    base, mine, theirs = (set(diff.split_lines(text or b"")) for text in texts)
    added = {line for line in theirs - base if line.strip()}
    there = len(added & (mine - base))
    share = f"; {there} of the {len(added)} lines it adds are in the new base already" if there else ""
    return f"{shown(path)} was changed upstream in the same lines{share}"


def hunk_states(tree: Tree, patch: PatchFile, change: Change, ours: Entry, merge: Merge) -> list[str]:
    """Each hunk of a file merged by itself: "there" already, "fits" or "conflict". Empty where there is one hunk or none."""
    hunks = next((each.hunks for each in diff.parse(patch.name, patch.diff) if each.new_path == change.new and each.kind == "modify"), [])
    base, mine = tree.content(change.before[1]), tree.content(ours[1])
    if base is None or mine is None or len(hunks) < 2:
        return []
    alone = [diff.FileChange(change.old, change.new, hunks=[hunk]).apply(base) for hunk in hunks]
    made = [merged_text(merge, (base, mine, text)) for text in alone]
    return ["conflict" if text is None else "there" if text == mine else "fits" for text in made]


def by_hunks(file: File, states: list[str]) -> File:
    """The file with what its hunks say: which conflict, and how many are in the new base already."""
    there, clashing = states.count("there"), [str(at) for at, state in enumerate(states, 1) if state == "conflict"]
    notes = [file.note] if file.note else []
    if file.state == "conflict" and clashing:
        notes.append(f"{'hunk' if len(clashing) == 1 else 'hunks'} {', '.join(clashing)} of {len(states)}")
    if there:
        notes.append(f"{there} of {len(states)} hunks of {shown(file.path)} are in the new base already")
    return File(file.path, "partly" if there and file.state == "merged" else file.state, file.puts, "; ".join(notes))


def replay(
    tree: Tree, patch: PatchFile, changes: Sequence[Change], moved: dict[bytes, bytes], merge: Merge, arrived: dict[Entry, bytes]
) -> Replay:
    """Merge a patch into the tree, and say what that came to; the tree is not changed."""
    files = []
    for change in changes:
        file = forward(tree, change, moved, merge, arrived)
        ours = tree.entries.get(places(tree.entries, change, moved)[0], ABSENT)
        if file.state in ("merged", "conflict") and change.kind == "modify" and ours != ABSENT:
            file = by_hunks(file, hunk_states(tree, patch, change, ours, merge))
        files.append(file)
    puts = {path: entry for file in files for path, entry in file.puts.items()}
    if (clash := in_the_way(tree, puts)) is not None:
        files.append(File(b"", "conflict", note=clash))
    states = {file.state for file in files}
    notes = [file.note for file in files if file.note]
    paths = tuple(file.path for file in files)
    already = [shown(file.path) for file in files if file.state == "upstream"]
    if "conflict" in states:
        if already:
            notes.append(f"{', '.join(already)} has it already")
        return Replay(CONFLICT, "; ".join(notes), {}, paths)
    if states == {"upstream"}:
        return Replay(UPSTREAM, "; ".join(["merging it changes nothing", *notes]), {}, paths)
    if already or "partly" in states:
        notes += [f"{', '.join(already)} has it already"] if already else []
        return Replay(PARTLY, "; ".join([*notes, "the rest merges"]), puts, paths)
    merged = [shown(file.path) for file in files if file.state == "merged"]
    return Replay(CLEAN, "; ".join([f"merged: {', '.join(merged)}" if merged else EXACT, *notes]), puts, paths)


def in_the_way(tree: Tree, puts: Entries) -> str | None:
    """What a new file would replace or stand in the way of, once the files that the same patch takes away are gone; None for nothing."""
    gone = {path: tree.entries.pop(path) for path, entry in puts.items() if entry == ABSENT and path in tree.entries}
    try:
        for path, entry in puts.items():
            if entry != ABSENT and path not in tree.entries:
                check_free(tree, path)
    except HunkMismatch as clash:
        return str(clash)
    finally:
        tree.entries.update(gone)
    return None


def apply_to(tree: Tree, puts: Entries) -> None:
    """Do a patch's changes in the tree."""
    for path, entry in puts.items():
        if entry == ABSENT:
            tree.entries.pop(path, None)
        else:
            tree.entries[path] = entry


def taken_upstream(tree: Tree, series: Sequence[tuple[str, Sequence[Change]]], moved: dict[bytes, bytes], merge: Merge) -> set[str]:
    """The patches that the new base has, found from the last to the first, each taken out before the one below it is looked for.

    That finds patches that change each other's lines, which merging from the bottom cannot. ``tree`` is the new base; a copy is used.
    """
    bare = Tree(tree.git, dict(tree.entries), tree.contents)
    found = set()
    for name, changes in reversed(series):
        undone = [undo(bare, change, moved, merge) for change in changes]
        if all(each is not None for each in undone):
            found.add(name)
            for each in undone:
                apply_to(bare, each or {})
    return found


def undo(tree: Tree, change: Change, moved: dict[bytes, bytes], merge: Merge) -> Entries | None:
    """What takes one file's change out of the tree again; None where the tree does not have it."""
    path = change.new if change.kind in ("add", "rename") else places(tree.entries, change, moved)[1]
    ours = tree.entries.get(path, ABSENT)
    if change.kind == "rename" and change.old in tree.entries:
        return None
    if three_way(tree, merge, change.before, ours, change.after) != ours:
        return None
    before = three_way(tree, merge, change.after, ours, change.before)
    if before is None or before == ours:
        return None
    return {path: ABSENT, change.old: before} if change.kind == "rename" else {path: before}
