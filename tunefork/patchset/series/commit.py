"""A patch as a commit that was not made by applying its diff: a person's resolved tree, or the patch with another message."""

from __future__ import annotations

from tunefork.patchset.git import EMAIL, NAME, Git
from tunefork.patchset.series.mail import PatchFile


def commit_as(git: Git, tree: str, parent: str, patch: PatchFile, words: bytes, *, committed: str = "") -> str:
    """A commit of a tree by a patch's author, as materialise would make it. words: its message.  committed: another date than the author's."""
    # By commit-tree the author would be what this machine's git leaves of a name: 2.39 takes the stop off "Jr.", 2.47 does not.
    named = git("rev-parse", f"{tree}^{{tree}}", f"{parent}^{{commit}}").decode().split()
    text = b"tree %s\nparent %s\n" % tuple(name.encode() for name in named)
    text += b"author %s %s\ncommitter %s <%s> %s\n\n" % (patch.author, patch.date, NAME.encode(), EMAIL.encode(), committed.encode() or patch.date)
    return git("hash-object", "-t", "commit", "-w", "--stdin", stdin=text + words).decode().strip()
