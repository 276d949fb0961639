"""A patch that conflicts on a new base: parked in ``work/<upstream>@rebase`` with markers, and taken from there once it is resolved."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from tunefork.base.errors import PatchConflict
from tunefork.base.layout import Layout
from tunefork.patchset.checkout import waits
from tunefork.patchset.checkout.checkout import Checkout
from tunefork.patchset.checkout.proposal import propose, put
from tunefork.patchset.git import Git
from tunefork.patchset.rebase.attempt import Attempt, message, range_diff
from tunefork.patchset.series import diff
from tunefork.patchset.series.commit import commit_as
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import Tree
from tunefork.patchset.series.replay import CONFLICT, UPSTREAM

SLUG = "rebase"


def park(layout: Layout, attempt: Attempt) -> Path:
    """A worktree at the tip with the conflicting patch's change and markers in it."""
    path = layout.checkout(attempt.series.upstream, SLUG)
    shutil.rmtree(path, ignore_errors=True)
    attempt.git("worktree", "prune")
    attempt.git("worktree", "add", "--quiet", "--force", "--detach", str(path), attempt.tip)
    fill(path, attempt, attempt.series.patches[attempt.rows[-1].name])
    return path


def fill(path: Path, attempt: Attempt, patch: PatchFile) -> None:
    """Put a patch's change, with markers, into a worktree at the tip. All of it is read before any is written."""
    proposals = []
    for change in diff.parse(patch.name, patch.diff):
        if change.old_path not in attempt.tree.entries and change.old_path in attempt.moved:
            there = attempt.moved[change.old_path]
            change = replace(change, old_path=there, new_path=there if change.kind in ("modify", "delete") else change.new_path)  # noqa: PLW2901
        proposals.append(propose(attempt.tree, change, patch.name))
    for each in proposals:
        put(path, each, patch.name)


def take_resolved(layout: Layout, attempt: Attempt) -> None:
    """Make the parked worktree's content the patch; a patch of which nothing is left is dropped, as upstream's."""
    upstream, row = attempt.series.upstream, attempt.rows.pop()
    path = layout.checkout(upstream, SLUG)
    if not waits.usable(Checkout(upstream, path, SLUG)):
        raise PatchConflict(f"{upstream}: {path} is gone, and {row.name} was parked there",
                            f"python3 build.py rebase {upstream} --abort, then begin again")
    git = Git(path)
    tree = resolved_tree(path)
    if tree == git.text("rev-parse", f"{attempt.tip}^{{tree}}"):
        attempt.rows.append(replace(row, outcome=UPSTREAM, why=f"you left nothing of it; {row.why}"))
        return
    patch = attempt.series.patches[row.name]
    commit = commit_as(git, tree, attempt.tip, patch, message(attempt, patch))
    old = next(each.commit for each in attempt.made if each.name == row.name)
    changed_how = range_diff(attempt.git, old, commit)
    attempt.rows.append(replace(row, outcome=CONFLICT, why=f"resolved by you; {row.why}", commit=commit, range_diff=changed_how))
    attempt.tip = commit
    attempt.tree = Tree.read(attempt.git, commit)


def resolved_tree(path: Path) -> str:
    """The tree that a parked worktree holds; PatchConflict while markers or undecided sides are left in it."""
    git = Git(path)
    changed = [entry[3:] for entry in git("status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames").split(b"\0")[:-1]]
    marked = set(git.run("grep", "-l", "-z", "--untracked", "-I", "-e", "^<<<<<<< ", "-e", "^>>>>>>> ").out.split(b"\0"))
    if left := sorted(each.decode("utf-8", "replace") for each in set(changed) & marked):
        raise PatchConflict(f"{path.name}: conflict markers are left in {', '.join(left)}",
                            f"resolve them in {path}, then --continue again; or --abort")
    if git("ls-files", "--unmerged", "-z"):
        raise PatchConflict(f"{path.name}: a file cannot be merged as text, and no side is chosen",
                            f"in {path}: git checkout --ours (the tree's) or --theirs (the patch's), git add; then --continue")
    git("add", "--all", ".")
    return git.text("write-tree")
