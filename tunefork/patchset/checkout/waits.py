"""A worktree in which a patch waits for its author: what was left there, what is there now, and how that is kept when it goes."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tunefork.base.process import Say
from tunefork.patchset.checkout import switch, work
from tunefork.patchset.checkout.checkout import Checkout
from tunefork.patchset.git import Git


@contextmanager
def on_index_copy(here: Checkout) -> Iterator[Git]:
    """git in the worktree on a copy of its index; unlike switch's, also where there is no checkout with notes."""
    with tempfile.TemporaryDirectory(prefix="tunefork-index-") as folder:
        copy = Path(folder) / "index"
        shutil.copy2(switch.index_files(here)[0], copy)  # with its time, as in switch.move
        yield Git(here.path, index=copy)


def snapshot(here: Checkout) -> str:
    """The tree of everything that a worktree holds and git does not ignore, files that it was told not to look at included. Its index stays as it is."""
    work.refuse_repositories(here)
    with on_index_copy(here) as staging:
        switch.look_again(staging, switch.hidden(staging))
        staging("add", "--all", ".")
        return staging.text("write-tree")


def refuse_untracked(here: Checkout, left: str) -> None:
    """WorkAtRisk where a worktree in which a patch waits holds files that git does not know and that were not left there.

    Also where git was told not to look at a file that was changed. left: a snapshot; "" in notes of an earlier version, where nothing is known to
    have been left.
    """
    switch.refuse_hidden(here, "then --continue again")
    listed = here.git("ls-files", "-z", "--others", "--exclude-standard", "--full-name").split(b"\0")[:-1]
    there = set(here.git("ls-tree", "-r", "-z", "--name-only", "--full-tree", left).split(b"\0")) if left else set()
    if strange := set(listed) - there:
        raise work.refuse(here, "untracked files", [each.decode("utf-8", "surrogateescape") for each in sorted(strange)],
                          f"in {here.path}: `git add` what belongs to the patch, remove the rest; then --continue")


def usable(here: Checkout) -> bool:
    """Whether git still knows the worktree: the repository that it belongs to may be gone."""
    return here.exists() and here.git.answer("rev-parse", "--is-inside-work-tree") == "true"


def set_aside(here: Checkout, say: Say) -> None:
    """Move a folder that git does not know any more out of the way; its files are all there is of what was done in it."""
    if here.path.is_dir() and any(here.path.iterdir()):
        aside = here.path.with_name(f"{here.path.name}.kept-{work.stamp()}")
        here.path.rename(aside)
        say(f"{here.path.name}: its repository is gone; its files are in {aside}")


def kept(here: Checkout, left: str) -> str:
    """What a worktree holds beyond what was left in it, under a backup ref of its repository. Returns the ref, "" where there is nothing."""
    if not here.exists() or (left and snapshot(here) == left and not work.operation(here)):
        return ""
    return work.backup(here)


def say_ignored(here: Checkout, say: Say) -> None:
    """Name the files that go with a worktree and that no backup keeps, as git was told not to look at them (decision 0099)."""
    if here.exists():
        listed = here.git("ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--directory", "--no-empty-directory").split(b"\0")[:-1]
        if names := [each.decode("utf-8", "surrogateescape") for each in listed]:
            say(f"{here.path.name}: git ignores {work.few(names)}: not kept")
