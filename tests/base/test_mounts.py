"""tunefork/base/mounts.py: the file system of a path, by Linux' mountinfo."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunefork.base import mounts

TEXT = r"""22 1 254:0 / / rw - ext4 /dev/vda rw
23 22 0:20 / /home rw,nosuid shared:3 - nfs4 server:/home rw
24 22 0:21 / /home/me/my\040work rw - xfs /dev/vdb rw
25 22 0:22 / /mnt rw - ext4 /dev/vdc rw
26 22 0:23 / /mnt rw - fuse.sshfs host: rw
"""


@pytest.mark.parametrize(("path", "kind"), [("/x", "ext4"), ("/home/me/x", "nfs4"), ("/home/me/my work/x", "xfs"), ("/mnt/x", "fuse.sshfs"), ("/homework", "ext4")])
def test_the_file_system_of_a_path(path: str, kind: str) -> None:
    assert mounts.named(Path(path), TEXT) == kind


@pytest.mark.parametrize("text", ["damaged\n", "", None])
def test_where_the_system_does_not_say(text: str | None, tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    if text is not None:
        (tmp_path / mounts.MOUNTS).write_text(text)
    assert mounts.kind_of(tmp_path, tmp_path) == ""


def test_here() -> None:
    """In a chroot no line may cover a file."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    kinds = {line.partition(" - ")[2].split()[0] for line in lines}
    assert mounts.kind_of(Path(__file__)) in (kinds if "/" in {line.split()[4] for line in lines} else {*kinds, ""})
