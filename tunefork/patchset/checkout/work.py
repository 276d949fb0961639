"""A user's work in a checkout: what is uncommitted, untracked or unexported, and how it is kept when it is to be discarded."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import WorkAtRisk
from tunefork.base.typed import typed
from tunefork.patchset.checkout.checkout import Checkout, applied_ref, commit_at
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
BACKUPS = "refs/tunefork/backup"


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


Look = Callable[[Checkout, Sequence[str]], bytes | None]
"""How a git command that looks at all files is asked; None: it could not be, ask plainly."""


def find(checkout: Checkout, *, files: bool = True, look: Look | None = None) -> Work:
    """Look for work in a checkout, without writing anything there. files=False: only at its commits, not at every file."""
    state = checkout.state()
    modified, untracked = changed_paths(checkout, look) if files else ((), ())
    branch, commit = checkout.head()
    known = state is not None and bool(branch) and branch == state.branch
    applied = commit_at(checkout, applied_ref(branch)) if branch else None
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
    folder = checkout.git_dir
    return next((name for file, name in OPERATIONS.items() if (folder / file).exists()), "")


def changed_paths(checkout: Checkout, look: Look | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(modified or staged, untracked and not ignored) paths."""
    words = ("status", "--porcelain=v1", "-z", "--untracked-files=normal", "--no-renames")
    out = look(checkout, words) if look else None
    if out is None:
        out = checkout.git(*words, env={"GIT_OPTIONAL_LOCKS": "0"})
    entries = [entry for entry in out.decode("utf-8", "surrogateescape").split("\0") if entry]
    untracked = tuple(entry[3:] for entry in entries if entry.startswith("??"))
    return tuple(entry[3:] for entry in entries if not entry.startswith("??")), untracked


def uncommitted(path: Path, upstream: str) -> tuple[str, ...]:
    """The tracked files of a checkout that differ from its commit, as they lie there; none where there is no checkout."""
    checkout = Checkout(upstream, path)
    return changed_paths(checkout)[0] if checkout.exists() else ()


def few(names: Sequence[str]) -> str:
    """Some names for a line, and how many more there are."""
    listed = [shown(name.encode("utf-8", "surrogateescape")) for name in names]
    return ", ".join(listed[:SHOWN]) + (f" and {len(listed) - SHOWN} more" if len(listed) > SHOWN else "")


def refuse(checkout: Checkout, what: str, names: Iterable[str], remedy: str) -> WorkAtRisk:
    """The refusal to overwrite work, naming a few of the things at risk."""
    return WorkAtRisk(f"{checkout.path.name} has {what} that this would overwrite: {few(list(names))}", remedy)


def backup(checkout: Checkout, extra: Iterable[str] = ()) -> str:
    """Keep everything a checkout holds under a backup ref: HEAD, and its work tree as a commit on top. Returns the ref.

    extra: ignored paths that are to be kept too.
    """
    git = checkout.git
    refuse_repositories(checkout)
    head = git.text("rev-parse", "HEAD")
    with tempfile.TemporaryDirectory(prefix="tunefork-index-") as folder:
        staging = Git(checkout.path, index=Path(folder) / "index")
        staging("read-tree", head)
        staging("add", "--all", ".")
        for path in extra:
            staging("--literal-pathspecs", "add", "--force", "--", path)
        tree = staging.text("write-tree")
    commit = head
    if tree != git.text("rev-parse", f"{head}^{{tree}}"):
        commit = git.text("commit-tree", tree, "-p", head, "-m", f"What {checkout.path.name} held")
    return keep(git, commit)


def refuse_repositories(checkout: Checkout) -> None:
    """WorkAtRisk where a repository of the user's stands in a checkout: a backup ref would keep its name alone."""
    listed = checkout.git("ls-files", "-z", "--others", "--exclude-standard", "--full-name").split(b"\0")
    if inner := [each.decode("utf-8", "surrogateescape") for each in listed if each.endswith(b"/")]:
        raise refuse(checkout, "a repository of its own in it, which no backup keeps,", inner,
                     f"move it away: mv {typed(checkout.path / inner[0])} elsewhere; then again")


def stamp() -> str:
    """Now, as backups' names tell it."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime())


def name_of(ref: str) -> str:
    """What `build.py backup` calls a backup ref."""
    return ref.removeprefix(f"{BACKUPS}/")


def keep(git: Git, commit: str) -> str:
    """Put a commit under a backup ref, whose name says when. Returns the ref."""
    ref = f"{BACKUPS}/{stamp()}-{commit[:8]}"
    git("update-ref", ref, commit)
    return ref
