"""Refresh and new: the checkout's uncommitted changes become part of the patches that own their lines, or a patch of their own.

The series must then make exactly what the checkout holds: that is checked, and the files are not touched.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tunefork.base.errors import BadInput, PatchConflict, WorkAtRisk
from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.patchset.author import conclude as concluding
from tunefork.patchset.author import message
from tunefork.patchset.author.carry import NotCarried, between, carry
from tunefork.patchset.author.close import merge_close
from tunefork.patchset.author.conclude import Authored
from tunefork.patchset.author.edit import work_tree
from tunefork.patchset.author.owner import Part, parts, taken
from tunefork.patchset.author.reshape import fresh
from tunefork.patchset.author.stack import Draft, Stack, opened, refuse_unexported
from tunefork.patchset.checkout import repin, switch, work
from tunefork.patchset.git import EMAIL, EPOCH, NAME, Git
from tunefork.patchset.series import replay
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import ABSENT, Tree, commit_command, write
from tunefork.patchset.series.replay import Entry


@dataclass(frozen=True)
class Taken:
    """Where a part of the checkout's changes goes. why: "blame", "named", or "nobody's" (then patch is "" and likely names those near it)."""

    where: str
    patch: str
    why: str
    likely: tuple[str, ...] = ()


@dataclass(frozen=True)
class Refreshed:
    """A refresh: which part went into which patch, and what that did to the series. Under dry_run a part may be nobody's."""

    parts: tuple[Taken, ...]
    series: Authored


@dataclass
class Changes:
    """The checkout's uncommitted changes. tree: of its commit.  changed: path -> entries before and after.  after: the tree they make."""

    head: str
    tree: Tree
    changed: dict[bytes, tuple[Entry, Entry]]
    after: str


def refresh(layout: Layout, upstream: str, name: str | None = None, *, dry_run: bool = False, say: Say = quiet) -> Refreshed:
    """Fold the checkout's uncommitted changes into the patches that own their lines, or all of them into the named one."""
    begin = time.monotonic()
    with opened(layout, upstream, say) as stack:
        repin.refuse_edit(layout, upstream)
        into = stack.series.resolve(name) if name else ""
        mine = changes(stack, say)
        found = parts(stack, mine.tree, mine.changed)
        if into:
            found = [replace(each, owner=into) for each in found]
        told = tuple(Taken(part.shown, part.owner, "named" if into else "blame" if part.owner else "nobody's", part.likely) for part in found)
        if dry_run and not all(part.owner for part in found):
            return Refreshed(told, Authored(upstream, "refresh", (), (), (), stack.git.text("rev-parse", f"{mine.head}^{{tree}}"), dry_run))
        refuse_unowned(stack, found)
        owners = [each for each in stack.series.names if any(part.owner == each for part in found)]
        drafts = list(stack.drafts)
        for each in owners:
            at = stack.place(each)
            fold = commit_of(stack, mine, taken(mine.tree, [part for part in found if part.owner == each], mine.changed))
            drafts[at] = replace(drafts[at], commits=(*drafts[at].commits, fold))
        report = finish(stack, f"refresh {' '.join(owners)}", drafts, mine, dry_run=dry_run, say=say)
    return Refreshed(told, replace(report, seconds=round(time.monotonic() - begin, 3)))


def new(
    layout: Layout, upstream: str, name: str, words: bytes, person: tuple[bytes, bytes], *, after: str = "", dry_run: bool = False, say: Say = quiet
) -> Authored:
    """Make the checkout's uncommitted changes a new patch, at the series' end or after another patch.

    words: its message.  person: its author (``Name <mail>``) and date (``<seconds> <+hhmm>``).
    """
    begin = time.monotonic()
    with opened(layout, upstream, say) as stack:
        repin.refuse_edit(layout, upstream)
        called = fresh(stack.series, name)
        at = stack.place(stack.series.resolve(after)) + 1 if after else len(stack.drafts)
        mine = changes(stack, say)
        fold = commit_of(stack, mine, {path: entry for path, (_, entry) in mine.changed.items()})
        draft = Draft(called, *person, message.canonical(words), (fold,))
        report = finish(stack, f"new {called}", [*stack.drafts[:at], draft, *stack.drafts[at:]], mine, dry_run=dry_run, say=say)
    return replace(report, seconds=round(time.monotonic() - begin, 3))


def changes(stack: Stack, say: Say) -> Changes:
    """What the checkout holds beyond its commit; refused where there is nothing, or where it is not on the whole series."""
    refuse_unexported(stack)
    path = stack.checkout.path
    head = stack.checkout.head()[1]
    if stack.state.variant != "all" or head != stack.tip:
        way = f"python3 build.py apply {stack.upstream}"
        raise WorkAtRisk(f"{path.name} holds {stack.state.variant}, not the whole series as it is now",
                         f"`git stash` in {path}, {way}, `git stash pop`; then this again" if work.changed_paths(stack.checkout)[0] else way)
    after = work_tree(stack.checkout)
    changed = switch.difference(stack.git, head, after)
    untracked = work.changed_paths(stack.checkout)[1]
    if not changed:
        more = f"`git add` makes {untracked[0]} known" if untracked else f"edit files in {path}"
        raise BadInput(f"{path.name} has no uncommitted change", f"{more}, then run this again")
    if untracked:
        say(f"{path.name}: {len(untracked)} untracked files are not taken (`git add` them first): {', '.join(untracked[:work.SHOWN])}")
    return Changes(head, Tree.read(stack.git, head), changed, after)


def commit_of(stack: Stack, mine: Changes, puts: dict[bytes, Entry]) -> str:
    """Some of the changes as a commit on the checkout's: what a patch takes in."""
    before = {path: mine.tree.entries.get(path, ABSENT) for path in puts}
    replay.apply_to(mine.tree, puts)
    touches = between(mine.tree, before)
    head = PatchFile("change", b"", f"{NAME} <{EMAIL}>".encode(), EPOCH.encode(), b"Uncommitted changes\n", b"")
    stream = commit_command(mine.tree, head, touches, 1, mine.head)
    replay.apply_to(mine.tree, before)
    return write(stack.git, stream, [(head, touches)])[0].commit


def refuse_unowned(stack: Stack, found: Sequence[Part]) -> None:
    """Say of every part that belongs to no single patch where it may belong."""
    lost = [part for part in found if not part.owner]
    if not lost:
        return
    lines = [f"{part.shown} ({near(part)})" for part in lost]
    likely = next((name for part in lost for name in part.likely), None)
    name = f"`python3 build.py patch refresh {likely}` (or another)" if likely else "`python3 build.py patch refresh PATCH`"
    listed = "; ".join(lines[: work.SHOWN]) + (f"; and {len(lines) - work.SHOWN} more" if len(lines) > work.SHOWN else "")
    raise BadInput(f"{stack.checkout.path.name}: no single patch owns {listed}",
                   f"{name} takes all of the changes into one patch; `python3 build.py patch new NAME --upstream {stack.upstream}` makes a new one")


def near(part: Part) -> str:
    """Where a part without an owner may belong."""
    if not part.likely:
        return "upstream's lines only"
    return f"between {' and '.join(part.likely)}" if len(part.likely) > 1 else f"near {part.likely[0]}"


def finish(stack: Stack, action: str, drafts: Sequence[Draft], mine: Changes, *, dry_run: bool, say: Say) -> Authored:
    """Carry the series, see that it makes what the checkout holds, and make it the series."""
    try:
        made = carry(stack, drafts, merge=merge_close(stack.git))
    except NotCarried as stopped:
        name = stopped.draft.name
        if stopped.commit not in stack.by_commit:  # the change itself does not go down to its owner
            raise PatchConflict(f"{action}: your change does not go into {name} alone: {stopped.why}; a later patch renames or rewrites what it touches",
                                f"stop at the patch and change it there: python3 build.py patch edit {name}") from None
        raise PatchConflict(f"{action}: {stopped}; your change touches them too",
                            f"python3 build.py patch refresh {name}, or stop at the patch: python3 build.py patch edit P") from None
    tree = made[-1].tree
    if tree != mine.after:
        odd = ", ".join(path.decode("utf-8", "replace") for path in switch.difference(stack.git, mine.after, tree))
        raise PatchConflict(f"{action}: with it, the series would not make what the checkout holds in {odd}: a later patch writes at the same place",
                            f"python3 build.py patch refresh {drafts[-1].name}, or stop at the patch: python3 build.py patch edit P")
    plan = concluding.planned(stack, action, drafts, made, dry_run=dry_run)
    if not dry_run:
        concluding.conclude(stack, plan, made, say, follow=True)
    return plan.report


def author(git: Git) -> tuple[bytes, bytes]:
    """(``Name <mail>``, date) of the user, as ``git commit`` in the checkout would have them; BadInput where git does not know."""
    mine = Git(git.directory, user_config=True)
    ident = mine.answer("-c", "user.useConfigOnly=true", "var", "GIT_AUTHOR_IDENT")
    if ident is None:
        raise BadInput("git does not know who you are", 'git config --global user.name "Your Name"; git config --global user.email you@example.org')
    person, _, date = ident.encode("utf-8", "surrogateescape").rpartition(b"> ")
    return person + b">", date
