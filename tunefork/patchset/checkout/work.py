"""A user's work in a checkout: what is uncommitted, untracked or unexported, and how it is kept when it is to be discarded."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from tunefork.base.errors import WorkAtRisk
from tunefork.patchset.checkout.checkout import Checkout, applied_ref
from tunefork.patchset.git import Git
from tunefork.patchset.series.diff import shown

# Files in the git directory that say an operation of git's was begun and not ended.
OPERATIONS = {
    "rebase-merge": "rebase",
    "rebase-apply": "am or rebase",
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
    "BISECT_LOG": "bisect",
}
SHOWN = 5


@dataclass(frozen=True)
class Work:
    """What a checkout holds beyond the applied series.

    modified, untracked: paths.  unexported: subjects of commits on the branch that no patch file holds, oldest first.
    operation: a git operation in progress ("" for none).  elsewhere: the branch or commit HEAD is on when it is not Tunefork's.
    """

    modified: tuple[str, ...] = ()
    untracked: tuple[str, ...] = ()
    unexported: tuple[str, ...] = ()
    operation: str = ""
    elsewhere: str = ""

    def __bool__(self) -> bool:
        return bool(self.modified or self.untracked or self.unexported or self.operation or self.elsewhere)

    def summary(self) -> str:
        """One line for a table."""
        parts = [
            f"{len(self.modified)} modified" if self.modified else "",
            f"{len(self.untracked)} untracked" if self.untracked else "",
            f"{len(self.unexported)} unexported" if self.unexported else "",
            f"{self.operation} in progress" if self.operation else "",
            f"on {self.elsewhere}" if self.elsewhere else "",
        ]
        return ", ".join(part for part in parts if part) or "clean"


def find(checkout: Checkout, *, files: bool = True) -> Work:
    """Look for work in a checkout, without writing anything there. files=False: only at its commits, not at every file."""
    state = checkout.state()
    modified, untracked = changed_paths(checkout) if files else ((), ())
    branch, commit = checkout.head()
    known = state is not None and bool(branch) and branch == state.branch
    applied = checkout.git.answer("rev-parse", "--verify", "--quiet", applied_ref(branch)) if branch else None
    if applied is None and state is not None and known:  # the ref was deleted
        applied = state.commit
    unexported: tuple[str, ...] = ()
    if applied and applied != commit:
        subjects = checkout.git.answer("log", "--reverse", "--format=%s", f"{applied}..{commit}") or ""
        unexported = tuple(subjects.splitlines()) or (f"HEAD moved from {applied[:12]} to {commit[:12]}",)
    elsewhere = "" if known else branch or f"detached {commit[:12]}"
    return Work(modified, untracked, unexported, operation(checkout), elsewhere)


def operation(checkout: Checkout) -> str:
    """The git operation in progress in a checkout, "" for none."""
    return next((name for file, name in OPERATIONS.items() if (checkout.git_dir / file).exists()), "")


def changed_paths(checkout: Checkout) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(modified or staged, untracked and not ignored) paths."""
    out = checkout.git("status", "--porcelain=v1", "-z", "--untracked-files=normal", "--no-renames", env={"GIT_OPTIONAL_LOCKS": "0"})
    entries = [entry for entry in out.decode("utf-8", "surrogateescape").split("\0") if entry]
    untracked = tuple(entry[3:] for entry in entries if entry.startswith("??"))
    return tuple(entry[3:] for entry in entries if not entry.startswith("??")), untracked


def refuse(checkout: Checkout, what: str, names: Iterable[str], remedy: str) -> WorkAtRisk:
    """The refusal to overwrite work, naming a few of the things at risk."""
    listed = [shown(name.encode("utf-8", "surrogateescape")) for name in names]
    more = f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else ""
    return WorkAtRisk(f"{checkout.path.name} has {what} that this would overwrite: {', '.join(listed[:SHOWN])}{more}", remedy)


def backup(checkout: Checkout, extra: Iterable[str] = ()) -> str:
    """Keep everything a checkout holds under a backup ref: HEAD, and its work tree as a commit on top. Returns the ref.

    extra: ignored paths that are to be kept too.
    """
    git = checkout.git
    head = git.text("rev-parse", "HEAD")
    index = checkout.notes / f"{checkout.key}.backup-index"
    index.unlink(missing_ok=True)
    staging = Git(checkout.path, index=index)
    try:
        staging("read-tree", head)
        staging("add", "--all", ".")
        for path in extra:
            staging("--literal-pathspecs", "add", "--force", "--", path)
        tree = staging.text("write-tree")
    finally:
        index.unlink(missing_ok=True)
    commit = head
    if tree != git.text("rev-parse", f"{head}^{{tree}}"):
        commit = git.text("commit-tree", tree, "-p", head, "-m", "Work tree as it was before `apply --discard`")
    return keep(git, commit)


def keep(git: Git, commit: str) -> str:
    """Put a commit under a backup ref, whose name says when. Returns the ref."""
    ref = f"refs/tunefork/backup/{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{commit[:8]}"
    git("update-ref", ref, commit)
    return ref
