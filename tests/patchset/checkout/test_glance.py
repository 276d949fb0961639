"""tunefork/patchset/checkout/glance.py: `status` looks through an index of ours, and sees what git sees; the user's stays as it is."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from test_apply import three_patches
from world import World, git

from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import glance, work
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.status import status


def copies(world: World) -> list[Path]:
    return sorted((world.checkout / ".git" / "tunefork").glob("*.index*"))


def seen(world: World) -> tuple[tuple[str, ...], tuple[str, ...]]:
    found = status(world.layout, "up").work
    return found.modified, found.untracked


def plain(world: World) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return work.changed_paths(checkouts.primary(world.layout, "up"))


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more\n")


def same_size_and_time(path: Path) -> None:
    """As an editor's save within the second, with the time put back: only the time of change (ctime) tells."""
    before = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[World], object]] = {
    "an edit": lambda world: append(world.checkout / "b.py"),
    "an edit of the same size and time": lambda world: same_size_and_time(world.checkout / "b.py"),
    "a deletion": lambda world: (world.checkout / "b.py").unlink(),
    "a mode": lambda world: (world.checkout / "b.py").chmod(0o755),
    "a link in its place": lambda world: ((world.checkout / "b.py").unlink(), (world.checkout / "b.py").symlink_to("a.py")),
    "staged": lambda world: (append(world.checkout / "b.py"), git(world.checkout, "add", "b.py", check=False)),
    "staged and taken back": lambda world: (append(world.checkout / "b.py"), git(world.checkout, "add", "b.py", check=False), git(world.checkout, "checkout", "-q", "HEAD", "b.py", check=False)),
    "intent to add": lambda world: ((world.checkout / "later.py").write_bytes(b"x"), git(world.checkout, "add", "-N", "later.py", check=False)),
    "untracked": lambda world: (world.checkout / "loose.py").write_bytes(b""),
    "untracked, far below": lambda world: ((world.checkout / "pkg/sub/deep").mkdir(parents=True), (world.checkout / "pkg/sub/deep/x.py").write_bytes(b"")),
    "an untracked folder emptied": lambda world: shutil.rmtree(world.checkout / "pkg", ignore_errors=True),
    "ignored by a rule that is new": lambda world: (world.checkout / ".gitignore").write_bytes(b"loose*\n"),
    "the rule is gone": lambda world: (world.checkout / ".gitignore").unlink(missing_ok=True),
    "excluded": lambda world: ((world.checkout / ".git/info").mkdir(exist_ok=True), (world.checkout / ".git/info/exclude").write_bytes(b"*.log\n"),
                               (world.checkout / "a.log").write_bytes(b"")),
    "not to be looked at": lambda world: (git(world.checkout, "update-index", "--assume-unchanged", "a.py", check=False), append(world.checkout / "a.py")),
    "to be looked at again": lambda world: git(world.checkout, "update-index", "--no-assume-unchanged", "a.py", check=False),
    "skipped": lambda world: (git(world.checkout, "update-index", "--skip-worktree", "b.py", check=False)),
    "a commit": lambda world: git(world.checkout, "commit", "--quiet", "--allow-empty", "-a", "-m", "Mine", check=False),
    "a soft reset": lambda world: git(world.checkout, "reset", "-q", "--soft", "HEAD~1", check=False),
    "a hard reset": lambda world: git(world.checkout, "reset", "-q", "--hard", "HEAD", check=False),
    "a stash": lambda world: git(world.checkout, "stash", "-q", "-u", check=False),
    "a repository in it": lambda world: git(world.checkout, "init", "-q", "inner"),
    "a split index": lambda world: git(world.checkout, "update-index", "--split-index"),
    "nothing": lambda _world: None,
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_it_sees_what_git_sees(world: World, seed: int) -> None:
    """Every change after every other, in a drawn order, each looked at twice: the first look may make the copy, the second uses it."""
    three_patches(world)
    assert status(world.layout, "up").work == work.Work()
    order = list(CHANGES)
    random.Random(seed).shuffle(order)
    for name in order:
        for path in (world.checkout / "a.py", world.checkout / "b.py"):
            if path.is_symlink() or not path.is_file():
                path.unlink(missing_ok=True)
                path.write_bytes(b"there again\n")
        CHANGES[name](world)
        for again in (1, 2):
            assert seen(world) == plain(world), (order[: order.index(name) + 1], again)


def test_the_users_index_stays_and_ours_is_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glance, "kind_of", lambda _path: "ext4")  # in a chroot nobody says what it is
    three_patches(world)
    index = world.checkout / ".git" / "index"
    before = (index.read_bytes(), index.stat().st_mtime_ns, index.stat().st_ino)
    assert copies(world) == []
    status(world.layout, "up")
    (first,) = copies(world)
    assert b"UNTR" in first.read_bytes() and (index.read_bytes(), index.stat().st_mtime_ns, index.stat().st_ino) == before
    status(world.layout, "up")
    assert copies(world) == [first]
    git(world.checkout, "update-index", "--chmod=+x", "a.py")
    status(world.layout, "up")
    (second,) = copies(world)
    assert second != first, "an older one is not kept"


def test_what_was_written_in_the_second_of_the_index_is_looked_at(world: World) -> None:
    """Git compares contents where a file is as young as the index. The copy has the index' own time, or such an edit would stay unseen for ever."""
    three_patches(world)
    path = world.checkout / "b.py"
    now = path.stat()
    git(world.checkout, "update-index", "--really-refresh")
    index = world.checkout / ".git" / "index"
    os.utime(index, ns=(now.st_mtime_ns, now.st_mtime_ns))
    status(world.layout, "up")
    (copy,) = copies(world)
    copy.unlink()
    made = glance.copy_of(checkouts.primary(world.layout, "up"))
    assert made is not None and made.stat().st_mtime_ns == index.stat().st_mtime_ns


@pytest.mark.parametrize("hindrance", ["no room for notes", "a lock of a killed git", "half a copy", "no index", "a power cut"])
def test_where_it_cannot_be_had_git_is_asked_plainly(world: World, hindrance: str, monkeypatch: pytest.MonkeyPatch) -> None:
    three_patches(world)
    append(world.checkout / "b.py")
    status(world.layout, "up")
    (copy,) = copies(world)
    if hindrance == "no room for notes":
        copy.unlink()
        monkeypatch.setattr(Path, "write_bytes", lambda *_args: (_ for _ in ()).throw(OSError(28, "No space left")))
    elif hindrance == "a lock of a killed git":
        lock = copy.with_name(f"{copy.name}.lock")
        lock.touch()
        os.utime(lock, (0, 0))
    elif hindrance == "half a copy":
        copy.rename(copy.with_name(f"{copy.name}.12.tmp"))
    elif hindrance == "a power cut":
        copy.write_bytes(copy.read_bytes()[:100])
        monkeypatch.setattr(glance, "boot_id", lambda: "the next")
    else:
        (world.checkout / ".git" / "index").unlink()
    assert seen(world) == plain(world)
    if hindrance in ("a lock of a killed git", "half a copy"):
        assert copies(world) == [copy]


def test_checkouts_have_copies_of_their_own(world: World) -> None:
    three_patches(world)
    apply(world.layout, "up", "base", beside=True)
    append(world.layout.checkout("up", "base") / "b.py")
    for _ in range(2):
        assert [(each.path.name, each.work.modified) for each in status(world.layout, "up").checkouts] == [("up", ()), ("up@base", ("b.py",))]
    assert [path.name.partition(".")[0] for path in copies(world)] == ["base", "primary"]
    shutil.rmtree(world.layout.checkout("up", "base"))
    status(world.layout, "up")
    assert [path.name.partition(".")[0] for path in copies(world)] == ["primary"]


@pytest.mark.parametrize(("kind", "trusted"), [("nfs4", False), ("fuse.sshfs", False), ("", False), ("xfs", True)])
def test_folders_times_are_believed_on_known_file_systems_only(world: World, kind: str, trusted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    three_patches(world)
    monkeypatch.setattr(glance, "kind_of", lambda _path: kind)
    status(world.layout, "up")
    assert (b"UNTR" in copies(world)[0].read_bytes()) == trusted
