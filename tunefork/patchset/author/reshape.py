"""Reorder, squash, split, drop and rename: what changes the shape of a series and, but for drop, not what it makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tunefork.base.errors import BadInput, PatchConflict
from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.patchset.author import conclude as concluding
from tunefork.patchset.author import message, stop
from tunefork.patchset.author.carry import Moved, NotCarried, between, carry
from tunefork.patchset.author.conclude import Authored
from tunefork.patchset.author.stack import Draft, Stack, opened, refuse_unexported
from tunefork.patchset.checkout import repin
from tunefork.patchset.series import diff, replay
from tunefork.patchset.series.materialise import ABSENT, Made, Tree, commit_command, write
from tunefork.patchset.series.series import NAME, Series, patch_name
from tunefork.patchset.series.variant import LONGEST


@dataclass(frozen=True)
class Shape:
    """The series that is wanted. drops: patches that leave it.  same_tree: whether it must make what it made."""

    action: str
    drafts: list[Draft]
    drops: tuple[str, ...] = ()
    same_tree: bool = True
    notes: tuple[str, ...] = ()


def change(layout: Layout, upstream: str, shape: Callable[[Stack], Shape], *, dry_run: bool, say: Say) -> Authored:
    """Carry every patch into the wanted shape and make it the series; a patch that does not go parks, unless this is a dry run."""
    begin = time.monotonic()
    with opened(layout, upstream, say) as stack:
        repin.refuse_edit(layout, upstream)
        wanted = shape(stack)
        if not dry_run:
            refuse_unexported(stack)
        try:
            made = carry(stack, wanted.drafts, moved=moved_by(stack, wanted.drops))
        except NotCarried as stopped:
            raise stopped_words(stack, wanted, stopped, dry_run=dry_run, say=say) from None
        check_tree(stack, wanted, made)
        plan = concluding.planned(stack, wanted.action, wanted.drafts, made, dry_run=dry_run)
        report = replace(plan.report, notes=wanted.notes)
        rest: Callable[[], None] | None = None
        if not dry_run and not report.same:
            report = replace(report, backups=tuple(concluding.keep(stack, name) for name in wanted.drops))
            rest = concluding.conclude(stack, plan, made, say)
    if rest:
        rest()
    return replace(report, seconds=round(time.monotonic() - begin, 3))


def moved_by(stack: Stack, drops: Sequence[str]) -> Moved:
    """Where files are without the renames of patches that are dropped: a later patch follows them."""
    found: Moved = {}
    for name in drops:
        for each in replay.changes_of(stack.git, stack.commit(name)):
            if each.kind == "rename":
                found[each.new] = each.old
    return found


def check_tree(stack: Stack, wanted: Shape, made: Sequence[Made]) -> None:
    """A reshaped series must make the tree that it made before."""
    before = stack.patches[-1].tree if stack.patches else stack.state.base_tree
    if wanted.same_tree and made and made[-1].tree != before:
        raise PatchConflict(f"{wanted.action}: every patch merges, but the series would make tree {made[-1].tree[:12]} instead of {before[:12]}",
                            "two of the patches write at the same place; change one of them first: python3 build.py patch edit P")


def stopped_words(stack: Stack, wanted: Shape, stopped: NotCarried, *, dry_run: bool, say: Say) -> PatchConflict:
    """The error for a patch that does not go; parked where that helps."""
    name, upstream = stopped.draft.name, stack.upstream
    if stopped.empty:
        return PatchConflict(f"{wanted.action}: {name}.patch would change nothing any more", f"drop it too: python3 build.py patch drop {name}")
    if dry_run:
        return PatchConflict(f"{wanted.action}: {stopped}", "without --dry-run it waits in a worktree, to be resolved there")
    path = stop.park_draft(stack, wanted.action, wanted.drafts, stopped, drops=wanted.drops, moved=moved_by(stack, wanted.drops))
    return PatchConflict(f"{wanted.action}: {stopped}; it waits in {path}", stop.way_on(upstream))


def resolved(stack: Stack, names: Sequence[str]) -> list[str]:
    """Patch names from what was typed, each once."""
    found = [stack.series.resolve(name) for name in names]
    if twice := sorted({name for name in found if found.count(name) > 1}):
        raise BadInput(f"{', '.join(twice)} is named twice", "name each patch once")
    return found


def fresh(series: Series, name: str) -> str:
    """A name for a new patch; BadInput where it is none, or taken."""
    plain = patch_name(name)
    if not NAME.fullmatch(plain):
        raise BadInput(f"{name!r} is no name of a patch: letters, digits, and single . _ + - between them",
                       "use lower-case words joined by -, such as wider-tiles")
    if len(plain) > LONGEST:
        raise BadInput(f"a patch's name of {len(plain)} characters; at most {LONGEST}, for it becomes part of branches and files", "take a shorter one")
    if plain in series.files:
        raise BadInput(f"{series.upstream} has a patch {plain} already", f"take another name, or change that one: python3 build.py patch edit {plain}")
    return plain


def reorder(
    layout: Layout, upstream: str, names: Sequence[str], *, before: str = "", after: str = "", first: bool = False, dry_run: bool = False,
    say: Say = quiet,
) -> Authored:
    """Move patches, in the order given, before or after another one, or to the beginning; without any of these, to the end."""

    def shape(stack: Stack) -> Shape:
        moving = resolved(stack, names)
        anchor = stack.series.resolve(before or after) if before or after else ""
        if anchor in moving:
            raise BadInput(f"{anchor} cannot be moved next to itself", "name another patch after --before or --after")
        staying = [name for name in stack.series.names if name not in moving]
        at = 0 if first else len(staying) if not anchor else staying.index(anchor) + (1 if after else 0)
        order = [*staying[:at], *moving, *staying[at:]]
        for place, name in enumerate(order):
            if late := [each for each in stack.series.depends_on(name) if each in order[place:]]:
                raise BadInput(f"{name} declares that it depends on {late[0]}, which would come after it",
                               f"move both: python3 build.py patch reorder {late[0]} {name} ...")
        return Shape(f"reorder {' '.join(moving)}", [stack.drafts[stack.place(name)] for name in order])

    return change(layout, upstream, shape, dry_run=dry_run, say=say)


def squash(layout: Layout, upstream: str, names: Sequence[str], *, words: bytes = b"", dry_run: bool = False, say: Say = quiet) -> Authored:
    """Join patches into the first named, at its place. words: the new message; without, the bodies one after the other."""

    def shape(stack: Stack) -> Shape:
        joined = resolved(stack, names)
        if len(joined) < 2:
            raise BadInput("squash joins at least two patches", f"python3 build.py patch squash {joined[0]} ANOTHER")
        into, others = joined[0], joined[1:]
        inside = sorted(joined, key=stack.place)
        heads = {name: stack.series.patches[name] for name in joined}
        said = (heads[name].message for name in others)
        text = message.canonical(words) if words else message.joined(heads[into].message, *said, names=set(joined))
        drafts = []
        for draft in stack.drafts:
            if draft.name == into:
                drafts.append(replace(draft, message=text, commits=tuple(stack.commit(name) for name in inside)))
            elif draft.name not in others:
                for name in others:
                    draft = replace(draft, message=message.renamed(draft.message, name, into))  # noqa: PLW2901
                drafts.append(draft)
        for at, draft in enumerate(drafts):
            needed = [patch_name(word) for value in draft.head.trailers("Depends-On") for word in value.replace(",", " ").split()]
            if late := {each.name for each in drafts[at:]} & set(needed):
                raise BadInput(f"{draft.name} would come before {late.pop()}, on which it declares that it depends",
                               f"name the earliest first: python3 build.py patch squash {' '.join(inside)}")
        return Shape(f"squash {' '.join(joined)}", drafts)

    return change(layout, upstream, shape, dry_run=dry_run, say=say)


def drop(layout: Layout, upstream: str, names: Sequence[str], *, dry_run: bool = False, say: Say = quiet) -> Authored:
    """Take patches out of the series; each stays under a ref of the checkout's repository."""

    def shape(stack: Stack) -> Shape:
        gone = resolved(stack, names)
        drafts = [draft for draft in stack.drafts if draft.name not in gone]
        for draft in drafts:
            if needed := [each for each in stack.series.depends_on(draft.name) if each in gone]:
                raise BadInput(f"{draft.name} declares that it depends on {needed[0]}",
                               f"drop both: python3 build.py patch drop {needed[0]} {draft.name}; or take the `Depends-On` out of it first: "
                               f"python3 build.py patch edit {draft.name}")
        return Shape(f"drop {' '.join(gone)}", drafts, drops=tuple(gone), same_tree=False)

    return change(layout, upstream, shape, dry_run=dry_run, say=say)


def rename(layout: Layout, upstream: str, old: str, new: str, *, dry_run: bool = False, say: Say = quiet) -> Authored:
    """Give a patch another name: its file, its line in the series, and the ``Depends-On`` of others."""

    def shape(stack: Stack) -> Shape:
        name, other = stack.series.resolve(old), fresh(stack.series, new)
        if name in stack.series.picks:
            raise BadInput(f"{name} picks an upstream commit: its name stands in its line of {stack.series.directory / 'series'}",
                           f"write `pick {stack.series.picks[name]} {other}` there, then: python3 build.py patch lock {upstream}")
        drafts = [replace(draft, name=other if draft.name == name else draft.name, message=message.renamed(draft.message, name, other))
                  for draft in stack.drafts]  # fmt: skip
        return Shape(f"rename {name} {other}", drafts)

    return change(layout, upstream, shape, dry_run=dry_run, say=say)


def split(
    layout: Layout, upstream: str, name: str, new: str, parts: Sequence[str], *, words: bytes = b"", dry_run: bool = False, say: Say = quiet
) -> Authored:
    """Move some of a patch's files (PATH) or hunks (PATH:1,3) into a new patch that comes right before it."""

    def shape(stack: Stack) -> Shape:
        old, other = stack.series.resolve(name), fresh(stack.series, new)
        head = stack.drafts[stack.place(old)]
        subject, body, trailers = message.parts(head.message)
        text = message.canonical(words or b"\n\n".join([subject + b" (" + other.encode() + b")", body, b"\n".join(trailers)]))
        first, second = two_commits(stack, old, replace(head, name=other, message=text), cut(stack, old, parts))
        drafts = list(stack.drafts)
        drafts[stack.place(old) : stack.place(old) + 1] = [replace(head, name=other, message=text, commits=(first,)), replace(head, commits=(second,))]
        return Shape(f"split {old} {other}", drafts)

    return change(layout, upstream, shape, dry_run=dry_run, say=say)


def cut(stack: Stack, name: str, parts: Sequence[str]) -> dict[bytes, list[int]]:
    """What of a patch is taken: path -> numbers of the hunks, empty for the whole file. BadInput unless something is left."""
    files = {each.new_path: each for each in diff.parse(name, stack.series.patches[name].diff)}
    taken: dict[bytes, list[int]] = {}
    for part in parts:
        path, colon, listed = part.rpartition(":") if part.encode("utf-8", "surrogateescape") not in files else (part, "", "")
        key = (path if colon else part).encode("utf-8", "surrogateescape")
        if key not in files:
            known = ", ".join(f"{diff.shown(each)} ({len(change.hunks)} hunks)" for each, change in files.items())
            raise BadInput(f"{name}.patch does not touch {part!r}", f"it touches {known}; name a file, or PATH:1,3 for its hunks 1 and 3")
        numbers = [int(word) if word.isdigit() else 0 for word in listed.split(",")] if colon else []
        if colon and not set(numbers) <= set(range(1, len(files[key].hunks) + 1)):
            raise BadInput(f"{part}: {diff.shown(key)} has hunks 1 to {len(files[key].hunks)} in {name}.patch",
                           f"`python3 build.py patch show {name}` shows them")
        if not colon or len(set(numbers)) == len(files[key].hunks):
            numbers = []
        taken[key] = sorted(set(numbers))
    if not any(path not in taken or taken[path] for path in files):
        raise BadInput(f"that is all of {name}.patch: nothing would stay in it", f"python3 build.py patch rename {name} ANOTHER; or name fewer parts")
    return taken


def two_commits(stack: Stack, name: str, head: Draft, taken: dict[bytes, list[int]]) -> tuple[str, str]:
    """A patch as two commits on what it stands on: the parts that were taken, then the rest."""
    below = stack.below(name)
    tree = Tree.read(stack.git, below)
    files = {each.new_path: each for each in diff.parse(name, stack.series.patches[name].diff)}
    whole = {each.path: (each.new_mode, each.new_blob) for each in stack.touches(stack.commit(name))}
    before = {path: tree.entries.get(path, ABSENT) for path in whole}
    for path, numbers in taken.items():
        entry = whole[path]
        if numbers:
            old = tree.content(before[path][1]) or b""
            part = replace(files[path], hunks=[files[path].hunks[number - 1] for number in numbers]).apply(old)
            blob = diff.blob_id(part)
            tree.contents[blob] = part
            entry = (before[path][0] if before[path] != ABSENT else entry[0], blob)
        replay.apply_to(tree, {path: entry})
    first = between(tree, {path: before[path] for path in taken})
    stream = commit_command(tree, head.head, first, 1, below)
    middle = {path: tree.entries.get(path, ABSENT) for path in whole}
    replay.apply_to(tree, whole)
    second = between(tree, middle)
    keep = stack.drafts[stack.place(name)].head
    stream += commit_command(tree, keep, second, 2, ":1")
    made = write(stack.git, stream, [(head.head, first), (keep, second)])
    return made[0].commit, made[1].commit
