"""What users, file systems and other tools do to a checkout: nothing lost, a clear line, and the next run works."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from every_step import chosen, say_kills
from test_apply import three_patches
from world import FILES, World, git

from tunefork.base.errors import LockMismatch, TuneforkError, WorkAtRisk
from tunefork.base.layout import Layout
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export
from tunefork.patchset.checkout.status import status
from tunefork.patchset.git import Git

pytestmark = pytest.mark.slow

KILLER = Path(__file__).parents[1] / "killer.py"


def check(world: World, tree: str | None) -> None:
    """Both directions still work, and the checkout is exactly a tree."""
    apply(world.layout, "up", "base")
    assert apply(world.layout, "up").tree == tree
    assert git(world.checkout, "rev-parse", "HEAD^{tree}") == tree and git(world.checkout, "status", "--porcelain") == ""


# -- the repository ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "commands",
    [["gc --prune=now --quiet"], ["prune --expire=now", "reflog expire --expire=now --all", "gc --prune=now --quiet"], ["repack -adq", "pack-refs --all"],
     ["maintenance run --quiet"], ["worktree prune", "commit-graph write --reachable"]],
)  # fmt: skip
def test_housekeeping_by_the_user(world: World, commands: list[str]) -> None:
    done = three_patches(world)
    apply(world.layout, "up", "upto:change-line-five")
    for command in commands:
        git(world.checkout, *command.split())
    check(world, done.tree)
    assert export(world.layout, "up", dry_run=True).same


def test_the_checkout_outlives_the_cache(world: World) -> None:
    done = three_patches(world)
    apply(world.layout, "up", "base")
    shutil.rmtree(world.layout.cache)
    git(world.checkout, "fsck", "--strict")
    check(world, done.tree)


def test_two_clones_share_one_cache_at_once(world: World, tmp_path: Path) -> None:
    done = three_patches(world)
    other = World(Layout(tmp_path / "second", world.layout.cache), world.upstream)
    shutil.copytree(world.root, other.root, ignore=shutil.ignore_patterns("work"))
    shutil.rmtree(world.root / "work")
    trees: dict[Path, str | None] = {}
    threads = [threading.Thread(target=lambda each=each: trees.update({each.root: apply(each.layout, "up").tree})) for each in (world, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(trees.values()) == {done.tree} and len(trees) == 2
    git(world.checkout, "gc", "--prune=now", "--quiet")
    shutil.rmtree(world.checkout)
    git(other.checkout, "fsck", "--strict")
    check(other, done.tree)
    check(world, done.tree)


@pytest.mark.parametrize("edit", ['"tunefork/all"|"tunefork/other"', '"all"|"base"', '"commit": "|"commit": "00', '"exact": true|"exact": 1', '"git"|7'])
def test_an_edited_state_file(world: World, edit: str) -> None:
    done = three_patches(world)
    world.commit({"b.py": b"mine\n"}, "Mine")
    path = world.checkout / ".git" / "tunefork" / "primary.json"
    old, new = edit.split("|")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(WorkAtRisk, match="Mine"):
        apply(world.layout, "up", "base")
    assert (world.checkout / "b.py").read_bytes() == b"mine\n"
    git(world.checkout, "reset", "--quiet", "--hard", "HEAD~1")
    assert apply(world.layout, "up", "base").tree == done.base_tree
    check(world, done.tree)


@pytest.mark.parametrize("lost", [False, True])
def test_a_detached_head_is_not_left_behind(world: World, lost: bool) -> None:
    three_patches(world)
    git(world.checkout, "checkout", "--quiet", "--detach")
    mine = world.commit({"b.py": b"mine\n"}, "Mine")
    if lost:
        (world.checkout / ".git" / "tunefork" / "primary.json").unlink()
    for spec in ("base", "all"):
        with pytest.raises(WorkAtRisk, match=f"up is detached {mine[:12]}") as caught:
            apply(world.layout, "up", spec)
        assert "git branch my-work" in caught.value.remedy
    apply(world.layout, "up", discard=True)
    assert mine in git(world.checkout, "for-each-ref", "--format=%(objectname)", "refs/tunefork/backup")


def test_a_branch_of_the_users_is_switched_away_from_and_kept(world: World) -> None:
    done = three_patches(world)
    git(world.checkout, "checkout", "--quiet", "-b", "mine")
    mine = world.commit({"b.py": b"mine\n"}, "Mine")
    assert apply(world.layout, "up").tree == done.tree
    assert git(world.checkout, "rev-parse", "mine") == mine and git(world.checkout, "symbolic-ref", "--short", "HEAD") == "tunefork/all"
    check(world, done.tree)


def test_a_renamed_branch(world: World) -> None:
    done = three_patches(world)
    mine = world.commit({"b.py": b"mine\n"}, "Mine")
    git(world.checkout, "branch", "-m", "mine")
    assert status(world.layout, "up").work.elsewhere == "mine"
    assert apply(world.layout, "up").tree == done.tree and git(world.checkout, "rev-parse", "mine") == mine
    check(world, done.tree)


def test_discard_keeps_the_commits_of_the_branch_it_goes_to(world: World) -> None:
    done = three_patches(world)
    mine = world.commit({"b.py": b"mine\n"}, "Mine")
    git(world.checkout, "checkout", "--quiet", "tunefork/base")
    with pytest.raises(WorkAtRisk, match="unexported commits on tunefork/all") as caught:
        apply(world.layout, "up")
    assert "git checkout tunefork/all" in caught.value.remedy
    assert apply(world.layout, "up", discard=True).tree == done.tree
    assert mine in git(world.checkout, "for-each-ref", "--format=%(objectname)", "refs/tunefork/backup").split()


def test_a_branch_without_its_state(world: World) -> None:
    """The user deleted our refs: everything can be derived again."""
    done = three_patches(world)
    git(world.checkout, "update-ref", "-d", "refs/tunefork/applied/tunefork/all")
    assert apply(world.layout, "up").tree == done.tree
    world.commit({"b.py": b"mine\n"}, "Mine")
    for spec in ("base", "all"):
        with pytest.raises(WorkAtRisk, match="unexported commits.*Mine"):
            apply(world.layout, "up", spec)
    git(world.checkout, "checkout", "--quiet", "tunefork/base")
    with pytest.raises(WorkAtRisk, match="unexported commits on tunefork/all"):
        apply(world.layout, "up")


# -- moved, copied, deleted by hand -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["move", "copy"])
def test_the_project_is_moved_or_copied(world: World, tmp_path: Path, how: str) -> None:
    done = three_patches(world)
    apply(world.layout, "up", "base", beside=True)
    there = tmp_path / "elsewhere"
    if how == "move":
        world.root.rename(there)
    else:
        shutil.copytree(world.root, there, symlinks=True)
    moved = World(Layout(there, world.layout.cache), world.upstream)
    (moved.layout.checkout("up", "base") / "b.py").write_bytes(b"mine\n")
    assert [each.work.summary() for each in status(moved.layout, "up").checkouts] == ["clean", "1 modified"]
    assert apply(moved.layout, "up", "base", beside=True).changed == 0
    git(moved.layout.checkout("up", "base"), "commit", "--quiet", "--all", "-m", "Mine")
    export(moved.layout, "up", "base")
    assert moved.names()[-1] == "mine"
    check(moved, apply(moved.layout, "up").tree)
    if how == "copy":  # the original is as it was
        assert status(world.layout, "up").checkouts[1].work.summary() == "clean"
        assert git(world.layout.checkout("up", "base"), "rev-parse", "HEAD^{tree}") == done.base_tree
        assert str(world.root) in git(world.checkout, "worktree", "list")
        check(world, done.tree)


def test_a_checkout_beside_is_deleted_by_hand(world: World) -> None:
    three_patches(world)
    side = world.layout.checkout("up", "base")
    done = apply(world.layout, "up", "base", beside=True)
    shutil.rmtree(side)
    assert [each.path.name for each in status(world.layout, "up").checkouts] == ["up"]
    assert apply(world.layout, "up", "base", beside=True).tree == done.tree
    assert {path.name for path in side.iterdir()} - {".git"} == {name.split("/")[0] for name in FILES}
    assert git(side, "status", "--porcelain") == ""


def test_commits_of_a_checkout_that_was_deleted_by_hand(world: World) -> None:
    three_patches(world)
    side = world.layout.checkout("up", "base")
    apply(world.layout, "up", "base", beside=True)
    (side / "b.py").write_bytes(b"mine\n")
    git(side, "commit", "--quiet", "--all", "-m", "Mine")
    mine = git(side, "rev-parse", "HEAD")
    shutil.rmtree(side)
    with pytest.raises(WorkAtRisk, match="up@base is gone, and its branch beside/base holds unexported commits") as caught:
        apply(world.layout, "up", "base", beside=True)
    again = World(world.layout, world.upstream)
    subprocess.run(caught.value.remedy.split("`")[1].split(), check=True, capture_output=True)  # the way out that is printed
    assert (side / "b.py").read_bytes() == b"mine\n"
    export(world.layout, "up", "base")
    assert again.names()[-1] == "mine"
    shutil.rmtree(side)
    mine = git(world.checkout, "commit-tree", f"{mine}^{{tree}}", "-p", mine, "-m", "More")
    git(world.checkout, "update-ref", "refs/heads/beside/base", mine)
    apply(world.layout, "up", "base", beside=True, discard=True)
    assert mine in git(world.checkout, "for-each-ref", "--format=%(objectname)", "refs/tunefork/backup")


def test_a_folder_of_the_users_stands_where_a_checkout_would(world: World) -> None:
    three_patches(world)
    side = world.layout.checkout("up", "base")
    side.mkdir()
    (side / "precious").write_text("x")
    with pytest.raises(WorkAtRisk, match="is no checkout of Tunefork"):
        apply(world.layout, "up", "base", beside=True)
    assert (side / "precious").read_text() == "x"


def test_a_kill_at_any_step_of_making_a_checkout_beside(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    done = three_patches(world)
    side = world.layout.checkout("up", "base")
    killed = step = 0
    for step in chosen(1):
        child = subprocess.run(
            [sys.executable, str(KILLER), str(step), str(world.root), str(world.layout.cache), "apply(layout, 'up', 'base', beside=True)"],
            capture_output=True, check=False,
        )  # fmt: skip
        if child.returncode != -signal.SIGKILL:
            break
        killed += 1
        if step % 2 and side.exists():  # a worse kill: half of the files are there, and git's index is not
            for path in (world.checkout / ".git" / "worktrees").glob("*/index"):
                if not (world.checkout / ".git" / "tunefork" / "base.json").exists():
                    path.unlink()
                    (side / "a.py").unlink(missing_ok=True)
        assert apply(world.layout, "up", "base", beside=True).tree == done.base_tree
        assert git(side, "status", "--porcelain") == "" and (side / "a.py").read_bytes() == FILES["a.py"]
        (side / "b.py").write_bytes(b"mine\n")
        assert apply(world.layout, "up", "base", beside=True).changed == 0 and (side / "b.py").read_bytes() == b"mine\n"
        git(world.checkout, "worktree", "remove", "--force", str(side))
    say_kills(capfd, "apply --beside", killed, step)
    assert step >= 8


# -- file systems -----------------------------------------------------------------------------------------------


@contextmanager
def mounted(where: Path, *options: str) -> Iterator[None]:
    """A mount, or a loud skip where this machine allows none."""
    if shutil.which("mount") is None:
        pytest.skip("NOT TESTED: no mount on PATH")
    done = subprocess.run(["mount", *options, str(where)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"SKIPPED LOUDLY: cannot mount here ({done.stderr.decode().strip()}); disk-full and read-only are not proven")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(where)], check=True)


@pytest.mark.parametrize("space", ["24k", "64k", "96k"])
def test_a_full_disk_at_the_first_apply(world: World, space: str) -> None:
    done = three_patches(world)
    shutil.rmtree(world.root / "work")
    (world.root / "work").mkdir()
    with mounted(world.root / "work", "-t", "tmpfs", "-o", f"size={space}", "none"):
        for _ in range(2):
            with pytest.raises(TuneforkError) as caught:
                apply(world.layout, "up")
            assert caught.value.message and "free space" in caught.value.remedy
            left = {path.name for path in world.layout.work.iterdir()}
            assert left == {".locks"} or (left == {".locks", "up"} and status(world.layout, "up").work.summary() == "clean")
    assert apply(world.layout, "up").tree == done.tree
    check(world, done.tree)


def test_a_disk_that_fills_up_while_switching(world: World) -> None:
    """At every level of free space: applied, or refused with the checkout as it was; with space again it goes on."""
    done = three_patches(world)
    saved = world.root / "saved"
    (world.root / "work").rename(saved)
    (world.root / "work").mkdir()
    refused = 0
    with mounted(world.root / "work", "-t", "tmpfs", "-o", "size=4m", "none"):
        shutil.copytree(saved, world.root / "work", symlinks=True, dirs_exist_ok=True)
        apply(world.layout, "up", "base")
        filler = world.layout.work / "filler"
        for free in range(0, 80, 4):
            stat = os.statvfs(world.layout.work)
            filler.write_bytes(b"\0" * (stat.f_bavail * stat.f_frsize - free * 1024))
            (world.checkout / "b.py").write_bytes(FILES["b.py"])
            try:
                apply(world.layout, "up")
            except TuneforkError as error:
                refused += 1
                assert error.message
                filler.unlink()
            else:
                filler.unlink()
                check(world, done.tree)
                break
            apply(world.layout, "up", "base")
            assert git(world.checkout, "status", "--porcelain") == ""
            assert git(world.checkout, "rev-parse", "HEAD^{tree}") == done.base_tree
        check(world, done.tree)
    assert refused >= 2


def test_a_read_only_project(world: World) -> None:
    done = three_patches(world)
    before = world.snapshot()
    with mounted(world.root, "--bind", str(world.root)):
        subprocess.run(["mount", "-o", "remount,bind,ro", str(world.root)], check=True, capture_output=True)
        assert status(world.layout, "up").work.summary() == "clean"
        for call in (lambda: apply(world.layout, "up", "base"), lambda: apply(world.layout, "up", "base", beside=True), lambda: export(world.layout, "up")):
            with pytest.raises(TuneforkError, match="cannot write|Read-only") as caught:
                call()
            assert "writable" in caught.value.remedy
        assert world.snapshot() == before
        with pytest.raises(TuneforkError) as caught:
            Git(world.checkout)("update-ref", "refs/heads/new", "HEAD")
        assert "is read-only: make it writable" in caught.value.remedy
    check(world, done.tree)


def test_a_file_that_cannot_be_replaced(world: World) -> None:
    done = three_patches(world)
    target = world.checkout / "crlf.txt"
    if shutil.which("chattr") is None:
        pytest.skip("NOT TESTED: no chattr on PATH")
    set_flag = subprocess.run(["chattr", "+i", str(target)], capture_output=True, check=False)
    if set_flag.returncode:
        pytest.skip(f"SKIPPED LOUDLY: no immutable files here ({set_flag.stderr.decode().strip()})")
    before = {name: data for name, (data, _) in world.snapshot().items()}
    try:
        with pytest.raises(TuneforkError, match="read-tree|checkout-index|crlf"):
            apply(world.layout, "up", "base")
    finally:
        subprocess.run(["chattr", "-i", str(target)], check=True)
    apply(world.layout, "up")
    assert {name: data for name, (data, _) in world.snapshot().items()} == before
    check(world, done.tree)


def test_a_narrow_umask(world: World) -> None:
    old = os.umask(0o077)
    try:
        done = three_patches(world)
        shutil.rmtree(world.checkout)
        assert apply(world.layout, "up").tree == done.tree
        assert (world.checkout / "run.sh").stat().st_mode & 0o777 == 0o700
        check(world, done.tree)
    finally:
        os.umask(old)


# -- odd trees --------------------------------------------------------------------------------------------------


def test_a_folder_becomes_a_file_and_back(world: World) -> None:
    apply(world.layout, "up")
    world.commit({"pkg/c.py": None, "b.py": None}, "Remove")
    (world.checkout / "pkg").rmdir()
    world.commit({"pkg": b"a file now\n", "b.py/inner/x.py": b"a folder now\n"}, "Swap")
    export(world.layout, "up")
    done = apply(world.layout, "up")
    check(world, done.tree)
    apply(world.layout, "up", "base")
    (world.checkout / "pkg" / "mine.txt").write_bytes(b"mine\n")
    git(world.checkout / "pkg", "init", "--quiet", "own")
    with pytest.raises(WorkAtRisk, match="pkg/own is a repository of its own"):
        apply(world.layout, "up", discard=True)
    shutil.rmtree(world.checkout / "pkg" / "own")
    with pytest.raises(WorkAtRisk, match="untracked files.*pkg"):
        apply(world.layout, "up")
    assert (world.checkout / "pkg" / "mine.txt").read_bytes() == b"mine\n"
    apply(world.layout, "up", discard=True)
    assert (world.checkout / "pkg").read_bytes() == b"a file now\n"
    ref = git(world.checkout, "for-each-ref", "--format=%(refname)", "refs/tunefork/backup")
    assert git(world.checkout, "show", f"{ref}:pkg/mine.txt") == "mine"


def test_an_untracked_link_to_a_folder_is_not_followed(world: World, tmp_path: Path) -> None:
    apply(world.layout, "up")
    world.commit({"fresh/x.py": b"1\n"}, "Add")
    export(world.layout, "up")
    apply(world.layout, "up", "base")
    outside = tmp_path / "outside"
    outside.mkdir()
    (world.checkout / "fresh").symlink_to(outside)
    with pytest.raises(WorkAtRisk, match="untracked files.*fresh"):
        apply(world.layout, "up")
    assert list(outside.iterdir()) == [] and (world.checkout / "fresh").is_symlink()


def test_very_long_and_odd_paths(world: World) -> None:
    apply(world.layout, "up")
    names = ["/".join(["d" * 200] * 12) + "/deep.py", os.fsdecode(b"caf\xe9.py"), "tab\tnew\nline.py", 'q"uote\\.py', ":(top)*.py", "-x", "*"]
    git(world.checkout, "config", "core.quotePath", "false")
    for name in names:
        path = world.checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1\n")
    git(world.checkout, "add", "--all")
    git(world.checkout, "commit", "--quiet", "-m", "Odd names")
    export(world.layout, "up")
    check(world, apply(world.layout, "up").tree)
    apply(world.layout, "up", "base")
    for name in names[1:]:
        (world.checkout / name).write_bytes(b"mine\n")
    (world.checkout / ".git" / "info").mkdir(exist_ok=True)
    (world.checkout / ".git" / "info" / "exclude").write_text("*\n")  # ignored files are kept too, each by its very name
    with pytest.raises(WorkAtRisk, match="untracked files"):
        apply(world.layout, "up")
    apply(world.layout, "up", discard=True)
    ref = git(world.checkout, "for-each-ref", "--format=%(refname)", "refs/tunefork/backup")
    kept = Git(world.checkout)("ls-tree", "-r", "-z", "--name-only", ref).split(b"\0")
    assert {os.fsencode(name) for name in names[1:]} <= set(kept)
    assert all((world.checkout / name).read_bytes() == b"1\n" for name in names)


@pytest.mark.parametrize("kind", ["shallow", "partial"])
def test_a_source_that_is_not_whole(world: World, tmp_path: Path, kind: str) -> None:
    """The repository that the pin is fetched from is itself shallow; or the user made the checkout sparse."""
    done = three_patches(world)
    shutil.rmtree(world.root / "work")
    shutil.rmtree(world.layout.cache)
    if kind == "shallow":
        for number in range(3):
            git(world.upstream, "commit", "--quiet", "--allow-empty", "-m", str(number))
        git(tmp_path, "clone", "--quiet", "--depth", "1", "--branch", "v1", f"file://{world.upstream}", "shallow")
        pins = world.root / "pins.toml"
        pins.write_text(pins.read_text().replace(str(world.upstream), str(tmp_path / "shallow")))
        assert apply(world.layout, "up").tree == done.tree
        check(world, done.tree)
        return
    apply(world.layout, "up", "base")
    git(world.checkout, "sparse-checkout", "set", "--no-cone", "/*.py")
    assert not (world.checkout / "pkg").exists()
    assert apply(world.layout, "up").tree == done.tree
    assert git(world.checkout, "rev-parse", "HEAD^{tree}") == done.tree
    git(world.checkout, "sparse-checkout", "disable")
    check(world, done.tree)


def test_a_pin_that_moved_under_a_checkout(world: World) -> None:
    apply(world.layout, "up")
    (world.upstream / "b.py").write_bytes(b"moved\n")
    git(world.upstream, "commit", "--quiet", "--all", "-m", "Next")
    pins = world.root / "pins.toml"
    pins.write_text(pins.read_text().replace(git(world.checkout, "rev-parse", "HEAD"), git(world.upstream, "rev-parse", "HEAD")))
    with pytest.raises(LockMismatch, match=r"work/up is on [0-9a-f]{12}, pins\.toml says") as caught:
        apply(world.layout, "up")
    assert "move work/up away" in caught.value.remedy


def test_git_runs_where_it_was_told_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GitPython falls back to the caller's folder: to the user's own repository."""
    git(tmp_path, "init", "--quiet")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TuneforkError, match="is not there"):
        Git(tmp_path / "gone").run("rev-parse", "--git-dir")
