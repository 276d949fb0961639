"""Files that git was told not to look at, and an index that somebody else holds: nothing is overwritten, and nothing is written first."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest
from test_apply import three_patches
from world import World, git

from tunefork.base import files, mutex
from tunefork.base.errors import WorkAtRisk
from tunefork.patchset.author import refresh, reshape
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export
from tunefork.patchset.git import advice

FLAGS = ["--assume-unchanged", "--skip-worktree"]


def files_of(world: World) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in world.series.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("flag", FLAGS)
def test_a_change_that_git_does_not_see_is_not_overwritten(world: World, flag: str) -> None:
    done = three_patches(world)
    changed = next(path for path in git(world.checkout, "diff", "--name-only", "tunefork/base", "tunefork/all").splitlines() if (world.checkout / path).is_file())
    git(world.checkout, "update-index", flag, changed)
    (world.checkout / changed).write_bytes(b"mine\n")
    with pytest.raises(WorkAtRisk, match=f"assume-unchanged or skip-worktree.*{changed}") as caught:
        apply(world.layout, "up", "base")
    assert (world.checkout / changed).read_bytes() == b"mine\n" and git(world.checkout, "rev-parse", "HEAD^{tree}") == done.tree
    assert f"--no-assume-unchanged --no-skip-worktree {changed}" in caught.value.remedy
    apply(world.layout, "up", "base", discard=True)
    ref = git(world.checkout, "for-each-ref", "--format=%(refname)", "refs/tunefork/backup")
    assert git(world.checkout, "show", f"{ref}:{changed}") == "mine"
    assert git(world.checkout, "status", "--porcelain") == "" and git(world.checkout, "rev-parse", "HEAD^{tree}") == done.base_tree


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_on_a_file_that_is_as_it_should_be_is_no_hindrance(world: World, flag: str) -> None:
    done = three_patches(world)
    for path in git(world.checkout, "-c", "core.quotePath=false", "ls-files", "-z").split("\0")[:-1]:
        git(world.checkout, "update-index", flag, path)
    apply(world.layout, "up", "base")
    assert apply(world.layout, "up").tree == done.tree


@pytest.mark.parametrize("flag", FLAGS)
def test_authoring_does_not_overwrite_it_either(world: World, flag: str) -> None:
    three_patches(world)
    changed = git(world.checkout, "diff", "--name-only", "tunefork/base", "tunefork/all").splitlines()
    mine = [path for path in changed if (world.checkout / path).is_file()]
    for path in mine:
        git(world.checkout, "update-index", flag, path)
        (world.checkout / path).write_bytes(b"mine\n")
    before = files_of(world)
    with pytest.raises(WorkAtRisk):
        reshape.drop(world.layout, "up", [world.names()[-1]])
    assert files_of(world) == before and all((world.checkout / path).read_bytes() == b"mine\n" for path in mine)


def lock(world: World, data: bytes = b"somebody") -> Path:
    path = world.checkout / ".git" / "index.lock"
    path.write_bytes(data)
    return path


def test_an_index_that_is_held_stops_refresh_before_its_first_write(world: World) -> None:
    three_patches(world)
    path = world.checkout / git(world.checkout, "diff", "--name-only", "tunefork/base", "tunefork/all").splitlines()[0]
    path.write_bytes(path.read_bytes().replace(b"line 5", b"line five", 1) + b"more\n")
    before, held = files_of(world), lock(world)
    with pytest.raises(WorkAtRisk, match=r"a git command holds .*\.git/index\.lock") as caught:
        refresh.refresh(world.layout, "up", world.names()[0])
    assert files_of(world) == before and held.read_bytes() == b"somebody" and f"rm {held}" in caught.value.remedy
    held.unlink()
    refresh.refresh(world.layout, "up", world.names()[0])


@pytest.mark.parametrize("change", ["drop", "reorder", "apply"])
def test_every_other_command_waits_for_it_too(world: World, change: str) -> None:
    three_patches(world)
    before, held, names = files_of(world), lock(world), world.names()
    call = {"drop": lambda: reshape.drop(world.layout, "up", [names[-1]]), "reorder": lambda: reshape.drop(world.layout, "up", [names[0]]),
            "apply": lambda: apply(world.layout, "up", "base")}[change]  # fmt: skip
    with pytest.raises(WorkAtRisk, match=r"index\.lock"):
        call()
    assert files_of(world) == before and held.exists()


def test_a_lock_of_ours_is_cleared_whoever_comes_next(world: World) -> None:
    done = three_patches(world)
    lock(world, checkouts.MARK)
    assert apply(world.layout, "up", "base").tree == done.base_tree
    assert not (world.checkout / ".git" / "index.lock").exists()
    lock(world, checkouts.MARK)
    assert apply(world.layout, "up", "base").changed == 0  # also where there is nothing to do
    assert not (world.checkout / ".git" / "index.lock").exists()


def test_recovery_respects_anothers_lock(world: World) -> None:
    three_patches(world)
    first = checkouts.primary(world.layout, "up")
    old, new = git(world.checkout, "rev-parse", "tunefork/all"), git(world.checkout, "rev-parse", "tunefork/base")
    first.journal_file.write_text(f'{{"old": "{old}", "new": "{new}"}}')
    held = lock(world)
    with pytest.raises(WorkAtRisk, match=r"index\.lock"):
        apply(world.layout, "up", "base")
    assert held.read_bytes() == b"somebody" and first.journal_file.exists()
    os.unlink(held)
    apply(world.layout, "up", "base")
    assert export(world.layout, "up", dry_run=True).same is not None


# -- a cache on another file system -----------------------------------------------------------------------------


def test_a_copy_of_the_cache_that_breaks_leaves_no_half_pack(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hard links cannot be made, and the disk fills up in the middle of a pack; then there is space again."""
    done = three_patches(world)
    shutil.rmtree(world.root / "work")
    git_dir, = (path.parent for path in world.layout.cache.rglob("HEAD") if (path.parent / "objects").is_dir())
    git(git_dir, "repack", "-adq")
    into = world.root / "into"
    copied: list[str] = []
    whole = files.shutil.copyfileobj

    def cut(reader: BinaryIO, writer: BinaryIO, size: int) -> None:
        copied.append(Path(reader.name).suffix)
        if copied[-1] == ".pack":
            writer.write(reader.read(100))
            raise OSError(28, "No space left on device")
        whole(reader, writer, size)

    def no_link(*_args: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    with monkeypatch.context() as patch:
        patch.setattr(checkouts.os, "link", no_link)
        patch.setattr(files.shutil, "copyfileobj", cut)
        with pytest.raises(OSError, match="No space"):
            checkouts.borrow_objects(git_dir, into)
        left = [path.name for path in into.rglob("*") if path.is_file()]
        assert ".pack" in copied and not [name for name in left if name.endswith((".pack", ".idx"))]
        patch.setattr(files.shutil, "copyfileobj", whole)
        checkouts.borrow_objects(git_dir, into)
    for pack in (into / "objects" / "pack").glob("*.idx"):
        git(world.upstream, "verify-pack", str(pack))
    assert apply(world.layout, "up").tree == done.tree


@pytest.mark.parametrize("how", ["own", "included"])
def test_a_filter_of_the_checkouts_configuration_does_not_run(world: World, tmp_path: Path, how: str) -> None:
    """A patch's .gitattributes says which files would get it."""
    three_patches(world)
    ran = tmp_path / "ran"
    for key in ("clean", "smudge"):
        git(world.checkout, "config", f"filter.ab.x.{key}", f"touch {ran}; cat")
    git(world.checkout, "config", "filter.ab.x.required", "true")
    if how == "included":
        (world.checkout / ".git" / "config").rename(tmp_path / "all")
        (world.checkout / ".git" / "config").write_text(f"[include]\n\tpath = {tmp_path / 'all'}\n")
    (world.checkout / ".gitattributes").write_bytes(b'* filter=ab.x\n')
    git(world.checkout, "-c", "filter.ab.x.clean=", "-c", "filter.ab.x.required=false", "add", ".gitattributes")
    git(world.checkout, "-c", "filter.ab.x.clean=", "-c", "filter.ab.x.required=false", "commit", "--quiet", "-m", "[Up] Filter\n\nWhy.")
    ran.unlink(missing_ok=True)
    export(world.layout, "up")
    apply(world.layout, "up", "base")
    apply(world.layout, "up")
    assert not ran.exists()
    git(world.checkout, "add", "--renormalize", ".")
    assert ran.exists(), "it is one that a user's own git runs"


def test_a_git_that_does_not_start_is_one_line(world: World, tmp_path: Path) -> None:
    three_patches(world)
    (tmp_path / ".gitconfig").write_text("[user\n")
    script = f"from pathlib import Path; from tunefork.patchset.git import Git; Git(Path({str(world.checkout)!r})).text('rev-parse', 'HEAD')"
    environment = {**os.environ, "HOME": str(tmp_path)}
    environment.pop("GIT_CONFIG_GLOBAL", None)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert "MissingTool: git does not start" in done.stderr and "ImportError" not in done.stderr


def test_a_user_who_forbids_bare_repositories_can_fetch(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three_patches(world)
    (tmp_path / "config").write_text("[safe]\n\tbareRepository = explicit\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    shutil.rmtree(world.layout.work)
    shutil.rmtree(world.layout.cache)
    assert apply(world.layout, "up", "base").changed == 0


def test_a_lock_file_of_another_user_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root here, permissions stop nobody: the refusal is what open says elsewhere."""
    path, plain = tmp_path / "lock", Path.open
    path.touch()

    def refused(self: Path, mode: str = "r", *args: object, **more: object) -> object:
        if self == path and mode != "r":
            raise PermissionError(13, "Permission denied", str(path))
        return plain(self, mode, *args, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refused)
    with mutex.locked(path, lambda _text: None, ""), plain(path) as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("said", ["error: open(\"b.py\"): Permission denied", "fatal: cannot change 'x': Operation not permitted"])
def test_what_git_may_not_read_is_said_with_what_to_type(world: World, said: str) -> None:
    """Root may read everything, so git's refusal is a stand-in."""
    remedy = advice(world.root, said)
    assert remedy.startswith("another user's file") and f"`chmod -R u+rwX {world.root}`" in remedy and advice(world.root, "fatal: bad object") == ""
