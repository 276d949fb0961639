"""A patch that does not match is parked: a worktree at the last good commit, the patch's change in it with conflict markers.

``apply --continue`` makes the resolved tree the patch's new content and goes on; ``apply --abort`` removes the worktree. Nothing else is
touched in between.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from tunefork.base.errors import BadInput, PatchConflict
from tunefork.base.files import write_atomically
from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.base.transaction import Damaged, Transaction, bytes_of, text_of
from tunefork.patchset.checkout import apply as applying
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import export as exporting
from tunefork.patchset.checkout import waits, work
from tunefork.patchset.checkout.apply import Applied
from tunefork.patchset.checkout.checkout import Checkout
from tunefork.patchset.checkout.export import Exported
from tunefork.patchset.checkout.proposal import propose, put
from tunefork.patchset.git import Git
from tunefork.patchset.series import canonical, diff
from tunefork.patchset.series.commit import commit_as
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import Mismatch, Tree
from tunefork.patchset.series.series import SUFFIX, Series, picked_commit

SLUG = "parked"


@dataclass(frozen=True)
class Parked:
    """A parked patch: its name, the commit it was to go onto, the worktree where it waits, and what was left there (waits.snapshot).

    taken: the patch's new content once ``--continue`` has it (text_of): from then on only the rest of that is left to do.
    """

    upstream: str
    patch: str
    onto: str
    path: Path
    left: str = ""
    taken: str = ""


def notes(layout: Layout, upstream: str) -> Path:
    return checkouts.primary(layout, upstream).notes / checkouts.PARKED


def parking(layout: Layout, upstream: str) -> Transaction:
    return Transaction(notes(layout, upstream))


def find(layout: Layout, upstream: str) -> Parked | None:
    """The parked patch of an upstream, if there is one. Of damaged notes only the worktree is known: --abort still works."""
    path = layout.checkout(upstream, SLUG)
    try:
        found = parking(layout, upstream).read(
            lambda data: Parked(upstream, str(data["patch"]), str(data["onto"]), path, str(data.get("left", "")), str(data.get("taken", ""))), "")
    except Damaged:
        return Parked(upstream, "(unreadable notes)", "", path)
    if found is not None:
        checkouts.mend_links(checkouts.primary(layout, upstream), path)
    return found


def lock_or_park(layout: Layout, upstream: str, *, say: Say = quiet) -> Exported:
    """lock_series, with a patch that does not match parked; the PatchConflict then says where and how to go on."""
    checkouts.refuse_parked(layout, upstream)
    return lock_and_park(layout, upstream, say)


def lock_and_park(layout: Layout, upstream: str, say: Say) -> Exported:
    """The same while a patch that was parked is taken."""
    try:
        return exporting.lock_series(layout, upstream, say=say)
    except Mismatch as mismatch:
        if mismatch.patch.picked:
            sha = picked_commit(mismatch.patch.data)
            raise PatchConflict(f"pick {sha[:12]} does not go onto the pin: {mismatch}",
                                f"make it a patch: `git cherry-pick -x {sha}` in work/{upstream}, resolve, and delete the pick's line; "
                                f"then python3 build.py patch export {upstream}") from None  # fmt: skip
        with checkouts.locked(layout, upstream, say):
            base = checkouts.state_of_primary(layout, upstream).base
            onto = mismatch.made[-1].commit if mismatch.made else base
            parked = park(layout, upstream, mismatch.patch, onto, say)
        raise PatchConflict(
            f"{mismatch.message}; it waits in {parked.path}",
            f"resolve the markers there, then `python3 build.py apply {upstream} --continue`; `--abort` drops the attempt",
        ) from None


def park(layout: Layout, upstream: str, patch: PatchFile, onto: str, say: Say = quiet) -> Parked:
    """Make the parked worktree and put the patch's change into it; the notes come last, so that half a change is never taken for all."""
    git = checkouts.primary(layout, upstream).git
    path = layout.checkout(upstream, SLUG)
    if not waits.usable(worktree(layout, upstream)):
        waits.set_aside(worktree(layout, upstream), say)
    remove_worktree(git, path)
    git("worktree", "add", "--quiet", "--force", "--detach", str(path), onto)
    tree = Tree.read(git, onto)
    for file in [propose(tree, change, patch.name) for change in diff.parse(patch.name, patch.diff)]:  # all read before any is written
        put(path, file, patch.name)
    left = waits.snapshot(worktree(layout, upstream))
    parking(layout, upstream).step({"patch": patch.name, "onto": onto, "left": left})
    return Parked(upstream, patch.name, onto, path, left)


def worktree(layout: Layout, upstream: str) -> Checkout:
    return Checkout(upstream, layout.checkout(upstream, SLUG), SLUG)


def go_on(layout: Layout, upstream: str, *, say: Say = quiet) -> Applied:
    """Take the resolved worktree as the parked patch's new content, lock the series and apply it."""
    parked = find(layout, upstream)
    if parked is None:
        raise BadInput(f"{upstream}: no patch is parked", f"python3 build.py apply {upstream}")
    with checkouts.locked(layout, upstream, say):
        if not parked.taken:
            parked = take(layout, parked)
        write_atomically(layout.series_dir(upstream) / (parked.patch + SUFFIX), bytes_of(parked.taken))
        say(f"{upstream}: {parked.patch}.patch rewritten from the resolved tree")
        remove_worktree(checkouts.primary(layout, upstream).git, parked.path)
    lock_and_park(layout, upstream, say)  # parks the next one that does not match, in this one's place
    parking(layout, upstream).end()
    return applying.apply(layout, upstream, say=say)


def take(layout: Layout, parked: Parked) -> Parked:
    """Note the resolved worktree as the patch's new content. After a kill from here on, whoever comes next does the rest."""
    upstream = parked.upstream
    series = Series.load(upstream, layout.series_dir(upstream))
    patch = series.patches[series.resolve(parked.patch)]
    if not waits.usable(worktree(layout, upstream)):
        raise PatchConflict(f"{upstream}: {parked.path} is gone, and {parked.patch} was parked there",
                            f"python3 build.py apply {upstream} --abort, then python3 build.py patch lock {upstream}")
    waits.refuse_untracked(worktree(layout, upstream), parked.left)
    taken = replace(parked, patch=patch.name, taken=text_of(resolved(parked, patch)))
    parking(layout, upstream).step({"patch": taken.patch, "onto": taken.onto, "left": taken.left, "taken": taken.taken})
    return taken


def recover(layout: Layout, upstream: str, say: Say) -> None:
    """Finish a ``--continue`` that was interrupted after it had taken the patch."""
    parked = find(layout, upstream)
    if parked is not None and parked.taken:
        say(f"{upstream}: finishing an interrupted `apply --continue`")
        go_on(layout, upstream, say=say)


def resolved(parked: Parked, patch: PatchFile) -> bytes:
    """The canonical patch file of what the parked worktree now holds."""
    git = Git(parked.path)
    marked_files = git.run("grep", "-l", "-z", "--untracked", "-I", "-e", "^<<<<<<< ", "-e", "^>>>>>>> ").out.split(b"\0")
    touched = {change.new_path for change in diff.parse(patch.name, patch.diff)}
    if left := sorted(touched & set(marked_files)):
        raise PatchConflict(f"{parked.path.name}: conflict markers are left in {', '.join(map(diff.shown, left))}",
                            f"resolve them in {parked.path}, then --continue again; or --abort")
    if undecided := sorted({line.partition(b"\t")[2] for line in git("ls-files", "--unmerged", "-z").split(b"\0")[:-1]}):
        raise PatchConflict(f"{parked.path.name}: {', '.join(map(diff.shown, undecided))} cannot be merged as text, and no side is chosen",
                            f"in {parked.path}: git checkout --ours (the tree's) or --theirs (the patch's), git add; then --continue")
    git("add", "--all", ".")
    tree = git.text("write-tree")
    if tree == git.text("rev-parse", f"{parked.onto}^{{tree}}"):
        raise PatchConflict(f"{patch.name}: the resolved tree equals the one before the patch: nothing is left of it",
                            f"--abort, then delete its line in the series file and run `python3 build.py patch lock {parked.upstream}`")
    return canonical.files(git, parked.onto, commit_as(git, tree, parked.onto, patch, patch.message))[0][1]


def abort(layout: Layout, upstream: str, *, say: Say = quiet) -> str:
    """Remove the parked worktree and forget it. The patch files are as the user left them.

    What the user did in the worktree stays under a backup ref, which is returned ("" for none).
    """
    parked = find(layout, upstream)
    if parked is None:
        raise BadInput(f"{upstream}: no patch is parked, nothing to abort", f"python3 build.py status {upstream}")
    if parked.taken:
        raise BadInput(f"{upstream}: {parked.patch} was taken already, and only the rest of that is left to do", f"python3 build.py apply {upstream}")
    with checkouts.locked(layout, upstream, say):
        if not waits.usable(worktree(layout, upstream)):
            waits.set_aside(worktree(layout, upstream), say)
        waits.say_ignored(worktree(layout, upstream), say)
        if ref := waits.kept(worktree(layout, upstream), parked.left):
            say(f"{upstream}: what the worktree held: {ref} (python3 build.py backup {work.name_of(ref)})")
        remove(layout, upstream)
    say(f"{upstream}: {parked.patch} is no longer parked; the patch files are as you left them")
    return ref


def remove(layout: Layout, upstream: str) -> None:
    remove_worktree(checkouts.primary(layout, upstream).git, layout.checkout(upstream, SLUG))
    parking(layout, upstream).end()


def remove_worktree(git: Git, path: Path) -> None:
    git.run("worktree", "remove", "--force", "--force", str(path))
    shutil.rmtree(path, ignore_errors=True)
    git("worktree", "prune")
