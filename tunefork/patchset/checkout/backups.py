"""What ``--abort``, ``--discard`` and ``patch drop`` kept: refs in the checkouts' repository, by age; shown, brought back, thrown away."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.base.typed import typed
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import work
from tunefork.patchset.checkout.checkout import occupied
from tunefork.patchset.git import Git
from tunefork.patchset.sources import pins

DROPPED = "refs/tunefork/dropped"
STAMP = re.compile(r"(\d{8}T\d{6})[-/](.+)")


@dataclass(frozen=True)
class Backup:
    """One backup. name: of the ref, without where backups are.  made: when, ISO 8601.  what: the subject of its last commit.  files: it changes there."""

    upstream: str
    name: str
    ref: str
    commit: str
    made: str
    what: str
    files: int

    @property
    def days(self) -> float:
        return (datetime.now(UTC) - datetime.fromisoformat(self.made)).total_seconds() / 86400


def every(layout: Layout, upstream: str = "") -> list[Backup]:
    """All backups, or those of one upstream, the newest first. BadInput for an upstream that there is not."""
    known = pins.load(layout)
    if upstream and upstream not in known:
        raise BadInput(f"no upstream {upstream!r} in pins.toml", f"use one of: {', '.join(known)}")
    found = [each for name in known if upstream in ("", name) for each in of(layout, name)]
    return sorted(found, key=lambda each: (each.made, each.name), reverse=True)


def of(layout: Layout, upstream: str) -> list[Backup]:
    """An upstream's backups."""
    first = checkouts.primary(layout, upstream)
    if not first.exists():
        return []
    found = []
    listed = first.git.text("for-each-ref", "--format=%(refname) %(objectname) %(contents:subject)", work.BACKUPS, DROPPED)
    for line in listed.splitlines():
        ref, commit, what = line.split(" ", 2) if line.count(" ") > 1 else (*line.split(" "), "")
        name = work.name_of(ref).removeprefix(f"{DROPPED}/")
        match = STAMP.fullmatch(name)
        if match:
            made = datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).isoformat()
            found.append(Backup(upstream, name, ref, commit, made, what, len(touched(first.git, commit))))
    return found


def touched(git: Git, commit: str) -> list[str]:
    """The files that a backup's last commit changes."""
    return git.text("diff-tree", "-r", "--no-commit-id", "--name-only", "--root", commit).splitlines()


def named(layout: Layout, name: str, upstream: str = "") -> Backup:
    """The backup of this name, its commit, or the beginning of either; BadInput where none or several are meant."""
    wanted = work.name_of(name).removeprefix(f"{DROPPED}/")
    all_of_them = every(layout, upstream)
    found = [each for each in all_of_them if each.name == wanted] or [
        each for each in all_of_them if each.name.startswith(wanted) or (len(wanted) >= 7 and each.commit.startswith(wanted))
    ]
    if len(found) != 1:
        what = f"{len(found)} backups begin with {name!r}" if found else f"no backup {name!r}"
        raise BadInput(what, "`python3 build.py backup` lists them" + (f"; {found[0].name} is one" if found else ""))
    return found[0]


def shown(layout: Layout, each: Backup) -> bytes:
    """A backup's last commits and their changes, as git shows them: those that no applied branch and no patch has."""
    git = checkouts.primary(layout, each.upstream).git
    plain = ("--patch", "--stat", "--no-ext-diff", "--no-textconv")
    return git("log", *plain, "--format=commit %H%n%n    %s%n", each.commit, "--not", checkouts.PIN_REF, "--glob=refs/tunefork/applied",
               "--max-count=20") or git("show", *plain, each.commit)  # fmt: skip


def restore(layout: Layout, each: Backup, *, say: Say = quiet) -> Path:
    """Bring a backup back as a branch in a worktree of its own; nothing else is touched. WorkAtRisk where something is in its place."""
    first = checkouts.primary(layout, each.upstream)
    slug = each.name.replace("/", "-")
    path, branch = layout.checkout(each.upstream, f"backup-{slug}"), f"backup/{slug}"
    with checkouts.locked(layout, each.upstream, say):
        if path.exists() and any(path.iterdir()):
            raise occupied(path)
        if first.git.answer("rev-parse", "--verify", "--quiet", f"refs/heads/{branch}") not in (None, each.commit):
            raise BadInput(f"branch {branch} has other commits", f"git -C {typed(first.path)} branch -m {branch} my-branch, then again")
        first.git("worktree", "prune")
        first.git("worktree", "add", "--quiet", "-B", branch, str(path), each.commit)
    return path


def prune(layout: Layout, older_than: float, upstream: str = "", *, dry_run: bool = False, say: Say = quiet) -> Sequence[Backup]:
    """Delete the backups that are older than so many days; returns them. Their commits go when git next collects its garbage."""
    old = [each for each in every(layout, upstream) if each.days > older_than]
    for name in dict.fromkeys(each.upstream for each in old if not dry_run):
        own = [each for each in old if each.upstream == name]
        with checkouts.locked(layout, name, say):
            text = "".join(f"delete {each.ref} {each.commit}\n" for each in own)
            checkouts.primary(layout, name).git("update-ref", "--stdin", stdin=text.encode())
    return old
