"""A patch as a commit that was not made by applying its diff: a person's resolved tree, or the patch with another message."""

from __future__ import annotations

from tunefork.patchset.git import EMAIL, NAME, Git
from tunefork.patchset.series.mail import PatchFile


def commit_as(git: Git, tree: str, parent: str, patch: PatchFile, words: bytes, *, committed: str = "") -> str:
    """A commit of a tree by a patch's author, as materialise would make it. words: its message.  committed: another date than the author's."""
    author, _, address = patch.author.decode("utf-8", "surrogateescape").rpartition(" <")
    date = patch.date.decode()
    people = {"GIT_AUTHOR_NAME": author, "GIT_AUTHOR_EMAIL": address.rstrip(">"), "GIT_AUTHOR_DATE": date,
              "GIT_COMMITTER_NAME": NAME, "GIT_COMMITTER_EMAIL": EMAIL, "GIT_COMMITTER_DATE": committed or date}  # fmt: skip
    return git("commit-tree", tree, "-p", parent, "-F", "-", stdin=words, env=people).decode().strip()
