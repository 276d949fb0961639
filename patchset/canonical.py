"""The canonical form of a patch file: what git format-patch writes under flags that no user setting leaks through.

The flags are those under which export -> am -> export was byte-identical with 38 hostile user settings.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tunefork.patchset import mail
from tunefork.patchset.errors import BadInput
from tunefork.patchset.git import Git
from tunefork.patchset.lock import LockedPatch
from tunefork.patchset.materialise import Made

FORMAT = (
    "--keep-subject", "--no-stat", "--no-signature", "--zero-commit", "--full-index", "--binary", "--no-renames", "--no-signoff",
    "--no-attach", "--no-thread", "--no-to", "--no-cc", "--no-add-header", "--no-base", "--no-notes", "--no-from",
    "--no-cover-letter", "--no-encode-email-headers", "--diff-algorithm=myers", "-U3", "--inter-hunk-context=0",
    "--indent-heuristic", "--src-prefix=a/", "--dst-prefix=b/", "-O/dev/null", "--no-relative", "--submodule=short",
    "--encoding=UTF-8", "--no-ext-diff", "--no-textconv", "--no-color",
)  # fmt: skip


def files(git: Git, base: str, tip: str) -> list[tuple[str, bytes]]:
    """(commit, canonical patch file) for every commit of a linear range, oldest first.

    Raises BadInput for a merge or an empty commit, which format-patch would silently leave out, and for a message that would not
    survive the way through a file.
    """
    lines = git.text("log", "--reverse", "--topo-order", "--format=%H %P", f"{base}..{tip}").splitlines()
    commits = [line.split() for line in lines]
    for commit, *parents in commits:
        if len(parents) != 1:
            raise BadInput(f"commit {commit[:12]} is a merge; a series is linear", "replay it: git rebase --onto its base")
        if git.answer("diff-tree", "--quiet", parents[0], commit) is not None:
            subject = git.text("log", "-1", "--format=%s", commit)
            raise BadInput(f"commit {commit[:12]} ({subject}) changes nothing", "drop it: git rebase -i")
    with tempfile.TemporaryDirectory(prefix="tunefork-export-") as folder:
        git("format-patch", "--quiet", "--numbered-files", *FORMAT, "-o", folder, f"{base}..{tip}")
        written = sorted(Path(folder).iterdir(), key=lambda path: int(path.name))
        data = [path.read_bytes() for path in written]
    if len(data) != len(commits):
        raise BadInput(f"{len(commits)} commits made {len(data)} patches", "keep the range linear, without empty commits")
    for (commit, *_), text in zip(commits, data, strict=True):
        check_message(git, commit, text)
    return [(commit[0], text) for commit, text in zip(commits, data, strict=True)]


def check_message(git: Git, commit: str, data: bytes) -> None:
    """BadInput unless reading the file gives the commit's message back."""
    subject = git.text("log", "-1", "--format=%s", commit)
    read = mail.read(subject, data).message
    meant = git("log", "-1", "--encoding=UTF-8", "--format=%B", commit)
    if b" ".join(read.split()) != b" ".join(meant.split()):
        raise BadInput(f"the message of {commit[:12]} ({subject}) would not survive as mail: a line of it looks like the start of a diff",
                       "reword it: git commit --amend")


def lock_entries(made: list[Made], sums: dict[str, str]) -> tuple[LockedPatch, ...]:
    """What series.lock records of materialised patches. sums: sha256 of each patch's file."""
    return tuple(LockedPatch(each.name, sums[each.name], each.touches) for each in made)
