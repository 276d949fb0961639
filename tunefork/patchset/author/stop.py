"""An edit that waits for its author: the worktree ``work/<upstream>@edit``, and notes of how to go on from there."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tunefork.base.errors import BadInput, PatchConflict, WorkAtRisk
from tunefork.base.layout import Layout
from tunefork.base.transaction import bytes_of, text_of
from tunefork.base.typed import typed
from tunefork.patchset.author.carry import Moved, NotCarried
from tunefork.patchset.author.stack import EDIT, Draft, Stack
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import park, repin, waits, work
from tunefork.patchset.checkout.checkout import Checkout, occupied
from tunefork.patchset.checkout.proposal import Proposal, propose, put
from tunefork.patchset.checkout.waits import snapshot
from tunefork.patchset.git import Git
from tunefork.patchset.rebase import rebase
from tunefork.patchset.series import diff
from tunefork.patchset.series.materialise import Tree

REFS = "refs/tunefork/edit"  # what the notes name is kept from git's garbage collection
START = f"{REFS}/start"  # where the author's branch began


@dataclass(frozen=True)
class Progress:
    """How far an edit is. patch: the one that the author edits ("" once it is taken).  below: the commit under the one that waits.

    drafts: the wanted series; made: commits of its first ones; the next one waits with its conflict.  digest: of the series it began
    with.  left: the tree that the worktree was left with.  done: whether something of the author's is in ``made``.
    """

    action: str
    patch: str
    below: str
    digest: str
    drafts: tuple[Draft, ...] = ()
    made: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()
    moved: tuple[tuple[bytes, bytes], ...] = ()
    left: str = ""
    done: bool = False


def worktree(layout: Layout, upstream: str) -> Checkout:
    return Checkout(upstream, layout.checkout(upstream, EDIT), EDIT)


def way_on(upstream: str) -> str:
    return (f"resolve the markers there, then `python3 build.py patch edit --upstream {upstream} --continue`; `--abort` leaves the series as it is")


def save(stack: Stack, progress: Progress) -> None:
    """Write the notes, last of all; before them, refs on every commit that they name."""
    kept = {*progress.made[-1:], *(commit for draft in progress.drafts for commit in draft.commits)} - stack.by_commit.keys()
    refs = "".join(f"update {REFS}/{commit} {commit}\n" for commit in sorted(kept))
    stack.git("update-ref", "--stdin", stdin=refs.encode())
    repin.editing(stack.layout, stack.upstream).step(plain(asdict(progress)))


def plain(value: object) -> object:
    """The same with bytes as a journal holds them."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return text_of(value) if isinstance(value, bytes) else value


def load(layout: Layout, upstream: str) -> Progress:
    """The notes of the edit that waits; BadInput where none does, Damaged where they cannot be read."""
    found = repin.editing(layout, upstream).read(revived, f"`python3 build.py patch edit --upstream {upstream} --abort` keeps what the worktree holds")
    if found is None:
        raise BadInput(f"{upstream}: no edit waits", "`python3 build.py patch edit PATCH` begins one")
    return found


def revived(data: dict[str, Any]) -> Progress:
    """The notes from their JSON."""
    drafts = tuple(Draft(each["name"], bytes_of(each["author"]), bytes_of(each["date"]), bytes_of(each["message"]), tuple(each["commits"]))
                   for each in data["drafts"])  # fmt: skip
    moved = tuple((bytes_of(old), bytes_of(new)) for old, new in data["moved"])
    return Progress(data["action"], data["patch"], data["below"], data["digest"], drafts, tuple(data["made"]), tuple(data["drops"]), moved,
                    data["left"], bool(data.get("done")))


def clear(stack: Stack) -> None:
    """Make room for the worktree; WorkAtRisk where something of a user's is there that no notes know."""
    here = worktree(stack.layout, stack.upstream)
    if here.path.exists() and not here.exists() and any(here.path.iterdir()):
        raise occupied(here.path)
    if here.exists():
        checkouts.mend_links(stack.checkout, here.path)
        if work.operation(here) or any(work.changed_paths(here)):
            raise WorkAtRisk(f"{here.path} holds work of an edit that is not waiting any more", f"move what you need out of it, then: rm -r {typed(here.path)}")
    park.remove_worktree(stack.git, here.path)


def begin(stack: Stack, name: str) -> Path:
    """Stop at a patch: a worktree on a branch of its own, whose last commit is the patch."""
    clear(stack)
    here, branch, commit = worktree(stack.layout, stack.upstream), f"edit/{name}", stack.commit(name)
    tip = stack.git.answer("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}")
    if tip and tip not in stack.by_commit:
        work.keep(stack.git, tip)  # a branch that somebody left here is moved, not lost
    stack.git("update-ref", START, commit)
    stack.git("worktree", "add", "--quiet", "--force", "-B", branch, str(here.path), commit)
    save(stack, Progress(f"edit {name}", name, stack.below(name), rebase.digest(stack.series), left=snapshot(here)))
    return here.path


def park_in(stack: Stack, progress: Progress, stopped: NotCarried) -> Path:
    """Put the patch that does not go into the worktree, with markers, on what was carried so far."""
    path = worktree(stack.layout, stack.upstream).path
    park.remove_worktree(stack.git, path)
    tip = stopped.made[-1].commit if stopped.made else stack.state.base
    stack.git("worktree", "add", "--quiet", "--force", "--detach", str(path), tip)
    name, tree, moved = stopped.draft.name, stopped.tree, dict(progress.moved)
    files = []
    for each, (mode, blob) in stopped.earlier.items():
        files.append(Proposal(each, mode, None if int(mode, 8) == 0 else tree.content(blob)))
    text = stack.git("diff-tree", "-p", "--binary", "--full-index", "-M", "--no-commit-id", "--no-ext-diff", "--no-textconv",
                     f"{stopped.commit}^", stopped.commit)  # fmt: skip
    for change in diff.parse(name, text):
        if change.old_path not in tree.entries and (there := moved.get(change.old_path)):
            change = replace(change, old_path=there, new_path=there if change.kind in ("modify", "delete") else change.new_path)  # noqa: PLW2901
        missing = change.kind == "rename" and change.old_path not in tree.entries
        files.append(whole_file(stack, tree, stopped.commit, change.new_path) if missing else propose(tree, change, name))
    for file in files:
        put(path, file, name)
    left = snapshot(worktree(stack.layout, stack.upstream))
    if progress.patch:  # its commits are in the drafts now
        stack.git("update-ref", "-d", f"refs/heads/edit/{progress.patch}")
    save(stack, replace(progress, patch="", below=tip, made=tuple(each.commit for each in stopped.made), left=left))
    return path


def whole_file(stack: Stack, tree: Tree, commit: str, path: bytes) -> Proposal:
    """A file that a patch renames from what is not there: as the patch has it, undecided in the index until the author adds it."""
    touch = next(each for each in stack.touches(commit) if each.path == path)
    undecided = b"%s %s 3\t%s\0" % (touch.new_mode.encode(), touch.new_blob.encode(), path)
    return Proposal(path, touch.new_mode, tree.content(touch.new_blob) or b"", None, undecided)


def park_draft(stack: Stack, action: str, drafts: Sequence[Draft], stopped: NotCarried, *, drops: Sequence[str] = (), moved: Moved | None = None) -> Path:
    """park_in for a change that begins with it."""
    clear(stack)
    progress = Progress(action, "", "", rebase.digest(stack.series), tuple(drafts), (), tuple(drops), tuple((moved or {}).items()))
    return park_in(stack, progress, stopped)


def forget(layout: Layout, upstream: str, patch: str) -> None:
    """Remove the worktree, the branch of the edited patch, the refs and, last, the notes."""
    if checkouts.primary(layout, upstream).exists():  # else somebody removed it, with every ref
        git = checkouts.primary(layout, upstream).git
        park.remove_worktree(git, layout.checkout(upstream, EDIT))
        refs = git.text("for-each-ref", "--format=delete %(refname)", REFS, *([f"refs/heads/edit/{patch}"] if patch else []))
        git("update-ref", "--stdin", stdin=f"{refs}\n".encode() if refs else b"")
    folder = repin.edits(layout, upstream)
    repin.editing(layout, upstream).end()
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def check_same(stack: Stack, progress: Progress) -> None:
    """PatchConflict where the series is not the one that the edit began with."""
    patch = progress.patch
    if patch in stack.series.files and (stack.below(patch), stack.commit(patch)) == (progress.below, stack.git.answer("rev-parse", START)):
        return  # the patch and what is below it are as they were: what came above is carried
    if progress.digest != rebase.digest(stack.series):
        raise PatchConflict(f"{stack.upstream}: the series changed since `patch {progress.action}` began",
                            f"`git checkout -- patches/` brings it back; or python3 build.py patch edit --upstream {stack.upstream} --abort, "
                            "which keeps your work under a backup ref")


def git_here(stack: Stack) -> Git:
    """git in the worktree; PatchConflict where that is gone."""
    here = worktree(stack.layout, stack.upstream)
    checkouts.mend_links(stack.checkout, here.path)
    if not waits.usable(here):
        what = "belongs to a repository that is gone" if here.exists() else "is gone"
        raise PatchConflict(f"{here.path} {what}, and an edit waited there", f"python3 build.py patch edit --upstream {stack.upstream} --abort")
    return here.git
