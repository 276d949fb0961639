"""On which kind of file system a path is, and what can be relied on there."""

from __future__ import annotations

import re
from pathlib import Path

MOUNTS = Path("proc/self/mountinfo")  # below the root
KEEP_TIMES = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "tmpfs", "zfs", "bcachefs", "overlay"})
"""A file that is made or removed changes its folder's time of change, at once and for every reader; folders can be locked. Not so on NFS, in FUSE, in
folders that a virtual machine shares."""


def kind_of(path: Path, root: Path = Path("/")) -> str:
    """Its type, as Linux names it ("ext4", "nfs4", "fuse.sshfs"); "" where that is not known. root: where /proc is."""
    try:
        return named(path.resolve(), (root / MOUNTS).read_text(encoding="utf-8", errors="surrogateescape"))
    except (OSError, IndexError):
        return ""


def named(path: Path, mounts: str) -> str:
    """The same by the text of mountinfo. The last of several mounts on one point counts. IndexError where the text is none."""
    found, longest = "", -1
    for line in mounts.splitlines():
        words, _, kind = line.partition(" - ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), words.split()[4]))
        if len(point.parts) >= longest and (point == path or point in path.parents):
            found, longest = kind.split()[0], len(point.parts)
    return found
