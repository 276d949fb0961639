"""Edit: stop at a patch in a worktree of its own, and carry the rest of the series over what its author made of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tunefork.base.errors import BadInput, PatchConflict, WorkAtRisk
from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.base.transaction import Damaged
from tunefork.patchset.author import conclude as concluding
from tunefork.patchset.author import stop
from tunefork.patchset.author.carry import Moved, NotCarried, carry
from tunefork.patchset.author.conclude import Authored
from tunefork.patchset.author.stack import Draft, Stack, opened, refuse_unexported
from tunefork.patchset.author.stop import Progress
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import export as exporting
from tunefork.patchset.checkout import repin, switch, waits, work
from tunefork.patchset.git import Git
from tunefork.patchset.rebase.resolve import resolved_tree
from tunefork.patchset.series import canonical, mail, replay
from tunefork.patchset.series.commit import commit_as
from tunefork.patchset.series.materialise import Made, Tree


@dataclass(frozen=True)
class Editing:
    """An edit that waits for its author. path: the worktree.  branch: it is on."""

    upstream: str
    patch: str
    path: Path
    branch: str


def start(layout: Layout, upstream: str, name: str, *, say: Say = quiet) -> Editing:
    """Stop at a patch: its commit is the tip of branch ``edit/<name>`` in ``work/<upstream>@edit``."""
    with opened(layout, upstream, say) as stack:
        repin.refuse_edit(layout, upstream)
        patch = stack.series.resolve(name)
        path = stop.begin(stack, patch)
    return Editing(upstream, patch, path, f"edit/{patch}")


def go_on(layout: Layout, upstream: str, *, say: Say = quiet) -> Authored:
    """Take what the worktree holds and carry the later patches over it; PatchConflict with the one that does not go parked there."""
    begin = time.monotonic()
    repin.recover(layout, upstream, say)
    progress = stop.load(layout, upstream)
    with opened(layout, upstream, say) as stack:
        stop.check_same(stack, progress)
        refuse_unexported(stack)
        made: list[Made] = []
        if progress.patch:
            progress = edited(stack, progress)
        else:
            progress, made = resolved(stack, progress, say)
        try:
            made = carry(stack, progress.drafts, made, dict(progress.moved))
        except NotCarried as stopped:
            raise stopped_words(stack, progress, stopped) from None
        plan = concluding.planned(stack, progress.action, progress.drafts, made)
        report = plan.report
        rest: Callable[[], None] = lambda: None  # noqa: E731
        if not report.same:
            drops = [name for name in progress.drops if name in stack.series.files]
            report = replace(report, backups=tuple(concluding.keep(stack, name) for name in drops))
            rest = concluding.conclude(stack, plan, made, say)
        stop.forget(layout, upstream, progress.patch)
    rest()
    return replace(report, seconds=round(time.monotonic() - begin, 3))


def stopped_words(stack: Stack, progress: Progress, stopped: NotCarried) -> PatchConflict:
    """The error for a later patch that does not go, which is now parked."""
    path = stop.park_in(stack, replace(progress, done=True), stopped)
    if stopped.empty:
        return PatchConflict(f"{progress.action}: {stopped}",
                             f"`python3 build.py patch edit --upstream {stack.upstream} --continue` once more drops it; or change it in {path} first")
    return PatchConflict(f"{progress.action}: {stopped}; it waits in {path}", stop.way_on(stack.upstream))


def edited(stack: Stack, progress: Progress) -> Progress:
    """The wanted series with what the author made of the patch in its place."""
    git, name = stop.git_here(stack), progress.patch
    check_worktree(stack, git, progress)
    made = [mail.read(commit, data) for commit, data in canonical.files(git, progress.below, "HEAD")]
    if left := folded(stack, git, progress, made):
        commit, parent = left
        made = [*made[:-1], mail.read(commit, canonical.files(git, parent, commit)[0][1])]
    if not made:
        raise BadInput(f"nothing is left of {name}",
                       f"python3 build.py patch edit --upstream {stack.upstream} --abort, then: python3 build.py patch drop {name}")
    old = stack.series.patches[name]
    place = next((at for at, each in enumerate(made) if each.name == stack.commit(name)), None)
    if place is None:
        place = next((at for at, each in enumerate(made) if each.subject == old.subject), 0)
    taken = set(stack.series.names)
    drafts = []
    for at, each in enumerate(made):
        called = name if at == place else exporting.fresh_name(each.subject, taken | exporting.strangers(stack.series, each.data))
        taken.add(called)
        drafts.append(Draft(called, each.author, each.date, each.message, (each.name,)))
    at = stack.place(name)
    wanted = [*stack.drafts[:at], *drafts, *stack.drafts[at + 1 :]]
    return replace(progress, drafts=tuple(wanted), moved=tuple(moved_by(stack, name, made[-1].name).items()))


def check_worktree(stack: Stack, git: Git, progress: Progress) -> None:
    """Refuse what cannot be taken: an operation in progress, files that git does not know, another line of commits."""
    here = stop.worktree(stack.layout, stack.upstream)
    if operation := work.operation(here):
        raise WorkAtRisk(f"{here.path.name}: a {operation} is in progress", f"finish or abort it in {here.path}, then --continue again")
    switch.refuse_hidden(here, "then --continue again")
    if untracked := work.changed_paths(here)[1]:
        raise work.refuse(here, "untracked files", untracked, f"in {here.path}: `git add` what belongs to the patch, remove the rest; then --continue")
    if git.run("merge-base", "--is-ancestor", progress.below, "HEAD").code:
        raise BadInput(f"{here.path.name}: HEAD does not stand on what {progress.patch} stands on",
                       f"in {here.path}: `git checkout edit/{progress.patch}`, or rebase your commits onto {progress.below[:12]}")


def folded(stack: Stack, git: Git, progress: Progress, made: Sequence[mail.PatchFile]) -> tuple[str, str] | None:
    """Uncommitted changes as part of the one commit there is: (its new commit, its parent); None where there are none."""
    tree = work_tree(stop.worktree(stack.layout, stack.upstream))
    if tree == git.text("rev-parse", "HEAD^{tree}"):
        return None
    if len(made) > 1:
        raise WorkAtRisk(f"{stack.upstream}@edit has uncommitted changes on {len(made)} commits",
                         "`git commit --amend -a` takes them into the last one; or commit them as one more patch; then --continue")
    head = made[0] if made else stack.series.patches[progress.patch]
    if tree == git.text("rev-parse", f"{progress.below}^{{tree}}"):
        raise BadInput(f"nothing is left of {progress.patch}",
                       f"python3 build.py patch edit --upstream {stack.upstream} --abort, then: python3 build.py patch drop {progress.patch}")
    return commit_as(git, tree, progress.below, head, head.message), progress.below


def work_tree(checkout: checkouts.Checkout) -> str:
    """The tree of a checkout's tracked and staged files as they lie there. The index stays as it is."""
    with switch.on_index_copy(checkout) as staging:
        staging("add", "--update", ".")
        return staging.text("write-tree")


def moved_by(stack: Stack, name: str, new: str) -> Moved:
    """Where files are that later patches change and that an edit renamed."""
    later = stack.made[stack.place(name) + 1 :]
    return replay.moves(stack.git, stack.commit(name), new, (touch.path for each in later for touch in each.touches), Tree.read(stack.git, new).entries)


def resolved(stack: Stack, progress: Progress, say: Say) -> tuple[Progress, list[Made]]:
    """The patch that waited, taken from the worktree; dropped where nothing of it is left."""
    git = stop.git_here(stack)
    waits.refuse_untracked(stop.worktree(stack.layout, stack.upstream), progress.left)
    tree, done = resolved_tree(stop.worktree(stack.layout, stack.upstream).path), len(progress.made)
    tip = progress.made[-1] if progress.made else stack.state.base
    draft = progress.drafts[done]
    made = [made_of(stack, each.name, commit) for each, commit in zip(progress.drafts, progress.made, strict=False)]
    if tree == git.text("rev-parse", f"{tip}^{{tree}}"):
        say(f"{stack.upstream}: nothing is left of {draft.name}: it leaves the series")
        drafts = (*progress.drafts[:done], *progress.drafts[done + 1 :])
        return replace(progress, drafts=drafts, drops=(*progress.drops, draft.name)), made
    commit = commit_as(git, tree, tip, draft.head, draft.message)
    return progress, [*made, made_of(stack, draft.name, commit)]


def made_of(stack: Stack, name: str, commit: str) -> Made:
    """A commit as a made patch."""
    return Made(name, commit, stack.git.text("rev-parse", f"{commit}^{{tree}}"), stack.touches(commit))


def abort(layout: Layout, upstream: str, *, say: Say = quiet) -> str:
    """Leave the series as it is. What the worktree holds stays under a backup ref, which is returned ("" where it holds nothing)."""
    repin.recover(layout, upstream, say)
    ref = ""
    with checkouts.locked(layout, upstream, say):
        here = stop.worktree(layout, upstream)
        checkouts.mend_links(checkouts.primary(layout, upstream), here.path)
        if not waits.usable(here):
            waits.set_aside(here, say)
        waits.say_ignored(here, say)
        try:
            progress = stop.load(layout, upstream)
        except Damaged:  # what the worktree was left with is not known: all that it holds is kept
            branch = here.head()[0] if here.exists() else ""
            progress = Progress("edit", branch.removeprefix("edit/") if branch.startswith("edit/") else "", "", "")
        if here.exists() and not (known(here, progress) and waits.snapshot(here) == progress.left):
            ref = work.backup(here)
            say(f"{upstream}: what the worktree held: {ref} (python3 build.py backup {work.name_of(ref)})")
        elif progress.done and progress.made and checkouts.primary(layout, upstream).exists():
            ref = work.keep(checkouts.primary(layout, upstream).git, progress.made[-1])
            say(f"{upstream}: what you resolved so far: {ref} (python3 build.py backup {work.name_of(ref)})")
        stop.forget(layout, upstream, progress.patch)
    say(f"{upstream}: `patch {progress.action}` is forgotten; series and checkout are as they were")
    return ref


def known(here: checkouts.Checkout, progress: Progress) -> bool:
    """Whether the worktree's HEAD is what it was made at."""
    head = here.head()[1]
    if not progress.patch:
        return head == progress.below
    return here.git.answer("rev-parse", "--verify", "--quiet", stop.START) == head
