"""The canonical form of a patch file: what git format-patch writes under flags that no user setting leaks through.

The flags are those under which export -> am -> export was byte-identical with 38 hostile user settings.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import BadInput
from tunefork.patchset.git import Git
from tunefork.patchset.series import mail
from tunefork.patchset.series.lock import LockedPatch
from tunefork.patchset.series.mail import PatchFile
from tunefork.patchset.series.materialise import Made, materialise

FORMAT = (
    "--keep-subject", "--no-stat", "--no-signature", "--zero-commit", "--full-index", "--binary", "--no-renames", "--no-signoff",
    "--no-attach", "--no-thread", "--no-to", "--no-cc", "--no-add-header", "--no-base", "--no-notes", "--no-from",
    "--no-cover-letter", "--no-encode-email-headers", "--diff-algorithm=myers", "-U3", "--inter-hunk-context=0",
    "--indent-heuristic", "--src-prefix=a/", "--dst-prefix=b/", "-O/dev/null", "--no-relative", "--submodule=short",
    "--encoding=UTF-8", "--no-ext-diff", "--no-textconv", "--no-color",
)  # fmt: skip
REWORD = "reword it (indent that line): git commit --amend, or git rebase -i for an earlier one"


@dataclass(frozen=True)
class Commit:
    """A commit of the range that is exported."""

    commit: str
    tree: str
    parents: tuple[str, ...]
    message: bytes

    @property
    def shown(self) -> str:
        subject = self.message.split(b"\n", 1)[0].decode("utf-8", "replace")
        return f"commit {self.commit[:12]} ({subject})"


def files(git: Git, base: str, tip: str) -> list[tuple[str, bytes]]:
    """(commit, canonical patch file) for every commit of a linear range, oldest first.

    Reading a file and committing it gives the same file again, whatever blanks and line breaks the original message had. Raises BadInput
    for a merge or an empty commit, which format-patch would silently leave out, and for a message that would not survive as mail.
    """
    commits = linear_range(git, base, tip)
    data = formatted(git, base, tip, len(commits))
    read = [read_back(commit, text) for commit, text in zip(commits, data, strict=True)]
    if any(patch.message != commit.message for commit, patch in zip(commits, read, strict=True)):
        data = formatted(git, base, materialise(git, base, read)[-1].commit, len(commits))
    return [(commit.commit, text) for commit, text in zip(commits, data, strict=True)]


def linear_range(git: Git, base: str, tip: str) -> list[Commit]:
    """The commits from base to tip, oldest first; BadInput for a merge or an empty commit."""
    out = git("log", "-z", "--reverse", "--topo-order", "--encoding=UTF-8", "--format=%H%n%T%n%P%n%B", f"{base}..{tip}")
    fields = [record.split(b"\n", 3) for record in out.removesuffix(b"\0").split(b"\0") if record]
    commits = [Commit(name.decode(), tree.decode(), tuple(parents.decode().split()), message) for name, tree, parents, message in fields]
    tree = git.text("rev-parse", f"{base}^{{tree}}")
    for each in commits:
        if len(each.parents) != 1:
            raise BadInput(f"{each.shown} is a merge; a series is linear",
                           "replay it on one line: git rebase (which drops merges), then export again")
        if each.tree == tree:
            raise BadInput(f"{each.shown} changes nothing", "drop it: git rebase -i, then export again")
        tree = each.tree
    return commits


def formatted(git: Git, base: str, tip: str, count: int) -> list[bytes]:
    """What format-patch writes of a linear range."""
    with tempfile.TemporaryDirectory(prefix="tunefork-export-") as folder:
        git("format-patch", "--quiet", "--numbered-files", *FORMAT, "-o", folder, f"{base}..{tip}")
        written = sorted(Path(folder).iterdir(), key=lambda path: int(path.name))
        data = [path.read_bytes() for path in written]
    if len(data) != count:
        raise BadInput(f"{count} commits made {len(data)} patches", "keep the range linear, without empty commits")
    return data


def read_back(commit: Commit, data: bytes) -> PatchFile:
    """The file as a patch; BadInput unless it holds the commit's message to its last word."""
    try:
        read = mail.read(commit.commit[:12], data)
    except BadInput as error:
        raise BadInput(f"{commit.shown} would not survive as mail: {error.message.partition(': ')[2] or error.message}", REWORD) from None
    if read.message.split() != commit.message.split():
        raise BadInput(f"{commit.shown} would not survive as mail: a line of its message looks like the start of a diff", REWORD)
    if line := next((each for each in read.message.split(b"\n")[1:] if mail.begins_mail(each)), b""):
        raise BadInput(f"{commit.shown} would not survive as mail: git am begins another mail at {line.decode('utf-8', 'replace')!r}", REWORD)
    if mail.without_patch(read.subject) != read.subject.strip():
        raise BadInput(f"{commit.shown} would not survive as mail: git am takes [PATCH ...] and Re: off a subject, {read.subject!r}",
                       "give it a subject that begins otherwise: `git commit --amend`, `git rebase -i`, or the Subject line of the file")  # fmt: skip
    if "=?" in read.subject or b"=?" in read.author:
        raise BadInput(f"{commit.shown} would not survive as mail: git am takes `=?` in a subject or a name for the beginning of an encoded word",
                       "put a blank between the two: git commit --amend, or git rebase -i for an earlier one")  # fmt: skip
    name, _, address = read.author.decode("utf-8", "replace").rpartition(" <")
    if not mail.survives(name, address.rstrip(">")):
        raise BadInput(f"{commit.shown} would not survive as mail: git am does not take the author's name {name!r}",
                       "give it a name of at most 60 bytes, without @, < and >: git commit --amend --author='Name <mail>'")  # fmt: skip
    return read


def lock_entries(made: list[Made], sums: dict[str, str]) -> tuple[LockedPatch, ...]:
    """What series.lock records of materialised patches. sums: sha256 of each patch's file."""
    return tuple(LockedPatch(each.name, sums[each.name], each.touches) for each in made)
