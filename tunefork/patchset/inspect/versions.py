"""The versions of one patch: what each commit of this repository made of its file, as range-diffs.

``git range-diff`` compares commits, and those of an old version would need the upstream it was made on. Each version becomes a commit of
its own instead, on a file that holds just what its hunks quote: what changed is the same, line numbers apart.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import BadInput, TuneforkError
from tunefork.base.layout import Layout
from tunefork.base.typed import typed
from tunefork.patchset.git import EMAIL, EPOCH, NAME, Git
from tunefork.patchset.rebase.attempt import range_diff
from tunefork.patchset.series import diff, mail
from tunefork.patchset.series.diff import FileChange, quote
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.series import SUFFIX

GAP = b"".join(b"... %d\n" % number for number in range(9))  # keeps hunks apart, as the lines between them did
WHO = f"{NAME} <{EMAIL}> {EPOCH}".encode()


@dataclass(frozen=True)
class Version:
    """What a commit made of a patch file. what: "added", "changed", "message only", "position only", "unreadable" or "removed".

    commit, author, date (ISO 8601), subject: of the commit of this repository.  path: the file's then.
    range_diff: against the version before ("" where there is nothing to compare).
    """

    commit: str
    author: str
    date: str
    subject: str
    path: str
    what: str
    range_diff: str


def versions(layout: Layout, upstream: str, name: str) -> list[Version]:
    """The versions of a patch, newest first, across renames of its file. BadInput where no commit holds it."""
    home = Git(layout.root)
    path = layout.series_dir(upstream) / (name + SUFFIX)
    if home.answer("rev-parse", "--git-dir") is None:
        raise BadInput(f"{layout.root} is no git repository: there is no history to show", "clone Tunefork with git")
    listed = home("log", "-c", "--follow", "--find-renames=40%", "--name-status", "-z", "--format=%x01%H%x02%an%x02%aI%x02%s%x02", "--", str(path))
    if not listed.strip(b"\0\n"):
        raise BadInput(f"no commit of {layout.root} holds {upstream}/{name}.patch", f"git -C {typed(layout.root)} add patches; git commit")
    found: list[Version] = []
    older: PatchFile | None = None
    with tempfile.TemporaryDirectory(prefix="tunefork-log-") as folder:
        git = Git(Path(folder))
        git("init", "--quiet", "--bare", "--template=", ".")
        for record in reversed(listed.split(b"\1")[1:]):
            head, _, names = record.rpartition(b"\2")
            commit, author, date, subject = (word.decode("utf-8", "replace") for word in head.split(b"\2"))
            status, *paths = [word.decode("utf-8", "surrogateescape") for word in names.strip(b"\0\n").split(b"\0")]
            if not paths:  # a merge that took one side's file
                continue
            gone = set(status) == {"D"}
            newer = None if gone else readable(home, commit, paths[-1], name)
            what, text = compared(git, older, newer, gone=gone)
            found.append(Version(commit, author, date, subject, paths[-1], what, text))
            older = newer or older
    return found[::-1]


def readable(home: Git, commit: str, path: str, name: str) -> PatchFile | None:
    """A version of the file as a patch; None for one that cannot be read as such."""
    try:
        patch = mail.read(name, home("cat-file", "blob", f"{commit}:{path}"))
        diff.parse(name, patch.diff)
    except TuneforkError:
        return None
    return patch


def compared(git: Git, older: PatchFile | None, newer: PatchFile | None, *, gone: bool) -> tuple[str, str]:
    """(what happened to the patch, its range-diff)."""
    if newer is None:
        return ("removed" if gone else "unreadable"), ""
    if older is None:
        return "added", ""
    text = range_diff(git, alone(git, older), alone(git, newer))
    if not text:
        return "position only", ""
    return ("message only" if hunks(older) == hunks(newer) else "changed"), text


def hunks(patch: PatchFile) -> list[tuple[object, ...]]:
    """What a patch does to each file; a mode that it only finds there is upstream's."""
    return [(change.kind, change.old_path, change.new_path, change.new_mode, *sides(change))
            for change in diff.parse(patch.name, patch.diff)]  # fmt: skip


def sides(change: FileChange) -> tuple[bytes, bytes]:
    """A file before and after, as far as the hunks quote it; of binary data its hash."""
    if change.binary is not None:
        return f"binary {change.old_blob}\n".encode(), f"binary {change.new_blob}\n".encode()
    before, after = (GAP.join(b"".join(lines) for lines in side) for side in zip(*((hunk.old, hunk.new) for hunk in change.hunks), strict=True)) \
        if change.hunks else (b"", b"")  # fmt: skip
    return before, after


def alone(git: Git, patch: PatchFile) -> str:
    """The patch as a commit on a tree of the files that its hunks quote. Written in git's fast-import language."""
    out = bytearray(b"commit refs/versions\nmark :1\ncommitter %s\ndata 0\nfrom %s\n" % (WHO, diff.NO_BLOB.encode()))
    changes = diff.parse(patch.name, patch.diff)
    for change in changes:
        if change.kind != "add":
            out += put(change.old_path, change.old_mode, sides(change)[0])
    out += b"commit refs/versions\nmark :2\ncommitter %s\ndata %d\n%s\nfrom :1\n" % (WHO, len(patch.message), patch.message)
    for change in changes:
        if change.kind in ("delete", "rename"):
            out += b"D %s\n" % quote(change.old_path)
        if change.kind != "delete":
            out += put(change.new_path, change.new_mode or change.old_mode, sides(change)[1])
    git("fast-import", "--quiet", "--force", "--done", "--date-format=raw", stdin=bytes(out + b"done\n"))
    return git.text("rev-parse", "refs/versions")


def put(path: bytes, mode: str | None, data: bytes) -> bytes:
    """The command that writes a file; a submodule's commit is written as text."""
    kept = (mode or "100644").encode() if mode in ("100644", "100755", "120000") else b"100644"
    return b"M %s inline %s\ndata %d\n%s\n" % (kept, quote(path), len(data), data)
