"""Kills, full disks and concurrency against apply and export: nothing lost, and the next run recovers."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from every_step import chosen, say_kills
from test_apply import three_patches
from world import FILES, World, git

from tunefork.base.errors import TuneforkError, WorkAtRisk
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import switch
from tunefork.patchset.checkout.apply import Applied, apply
from tunefork.patchset.checkout.export import export
from tunefork.patchset.git import Git

pytestmark = pytest.mark.slow

KILLER = Path(__file__).parents[1] / "killer.py"
NEVER = 10_000


def killed_at(step: int, world: World, call: str) -> bool:
    """Run a call that is killed at a step; whether the kill came before its end."""
    done = subprocess.run(
        [sys.executable, str(KILLER), str(step), str(world.root), str(world.layout.cache), call], capture_output=True, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode != 0


def check_tree(world: World, tree: str) -> None:
    """The checkout is exactly a tree: HEAD, index and files."""
    assert git(world.checkout, "rev-parse", "HEAD^{tree}") == tree
    assert git(world.checkout, "status", "--porcelain", "--ignored") == ""
    assert git(world.checkout, "write-tree") == tree


def test_a_kill_at_any_step_of_switching_is_recovered(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    done = three_patches(world)
    apply(world.layout, "up", "base")
    killed = step = 0
    for step in chosen(1):
        if not killed_at(step, world, "apply(layout, 'up', 'all')"):
            break
        killed += 1
        head = git(world.checkout, "rev-parse", "HEAD^{tree}")
        assert head in (done.tree, done.base_tree)
        again = apply(world.layout, "up", "all")
        assert again.tree == done.tree
        check_tree(world, done.tree or "")
        apply(world.layout, "up", "base")
        check_tree(world, done.base_tree or "")
    say_kills(capfd, "apply, another variant", killed, step)
    assert step >= 10


def test_a_kill_at_any_step_of_the_first_apply_is_recovered(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    done = three_patches(world)
    killed = step = 0
    for step in chosen(1):
        shutil.rmtree(world.root / "work")
        shutil.rmtree(world.layout.cache, ignore_errors=True)
        if not killed_at(step, world, "apply(layout, 'up', 'all')"):
            break
        killed += 1
        assert apply(world.layout, "up").tree == done.tree
        check_tree(world, done.tree or "")
    say_kills(capfd, "apply, the first", killed, step)
    assert step >= 20


def test_a_kill_in_the_middle_of_writing_files_is_recovered(world: World) -> None:
    done = three_patches(world)
    apply(world.layout, "up", "base")
    (world.checkout / "b.py").write_bytes(b"my work, on a file that no patch touches\n")
    assert killed_at(-1, world, "apply(layout, 'up', 'all')")
    assert (world.checkout / ".git" / "index.lock").exists()
    said: list[str] = []
    assert apply(world.layout, "up", "base", say=said.append).tree == done.base_tree
    assert any("recovering" in line for line in said)
    assert git(world.checkout, "status", "--porcelain") == "M b.py"
    (world.checkout / "b.py").write_bytes(FILES["b.py"])
    check_tree(world, done.base_tree or "")


def test_what_was_written_after_a_kill_is_set_aside(world: World) -> None:
    three_patches(world)
    apply(world.layout, "up", "base")
    assert killed_at(-1, world, "apply(layout, 'up', 'all')")
    (world.checkout / "a.py").write_bytes(b"typed after the kill\n")
    said: list[str] = []
    apply(world.layout, "up", say=said.append)
    rescued = list((world.checkout / ".git" / "tunefork" / "rescued").rglob("a.py"))
    assert [path.read_bytes() for path in rescued] == [b"typed after the kill\n"]
    assert any("copies are in" in line for line in said)


FOLDER = {"grown/one.py": b"1\n", "grown/two.py": b"2\n", "flat": b"a file\n"}


def grown(world: World) -> Applied:
    """A series in which a file becomes a folder and a folder a file."""
    three_patches(world)
    world.commit({"grown": b"a file\n", "flat/one.py": b"1\n"}, "Add both")
    world.commit({"grown": None, "flat/one.py": None}, "Make room")
    (world.checkout / "flat").rmdir()
    world.commit(FOLDER, "Swap them")
    export(world.layout, "up")
    return apply(world.layout, "up")


def test_a_kill_where_a_file_becomes_a_folder_is_recovered(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    """Found by the soak of test_properties: the folder stood there already, and the next apply died of removing it as a file."""
    done = grown(world)
    middle = f"upto:{world.names()[-3]}"
    sides = {"all": done.tree, middle: apply(world.layout, "up", middle).tree}
    for variant, other in ((middle, "all"), ("all", middle)):
        killed = step = 0
        for step in chosen(3):
            apply(world.layout, "up", other)
            if not killed_at(step, world, f"apply(layout, 'up', {variant!r})"):
                break
            killed += 1
            assert apply(world.layout, "up", variant).tree == sides[variant]
            check_tree(world, sides[variant] or "")
        say_kills(capfd, f"apply, files and folders swapped, to {variant}", killed, step)
        assert step >= 10


def test_what_stands_in_the_way_after_a_kill_is_set_aside(world: World) -> None:
    """git's forced checkout deletes a folder where a file goes, and a file or link where a folder goes, whatever they hold."""
    grown(world)
    middle = f"upto:{world.names()[-3]}"
    apply(world.layout, "up", middle)
    checkout = checkouts.primary(world.layout, "up")
    old = git(world.checkout, "rev-parse", "HEAD")
    apply(world.layout, "up")
    new = git(world.checkout, "rev-parse", "HEAD")
    checkout.journal_file.write_text(f'{{"old": "{old}", "new": "{new}"}}')
    shutil.rmtree(world.checkout / "grown")
    (world.checkout / "grown").symlink_to("notes")
    (world.checkout / "flat").unlink()
    (world.checkout / "flat").mkdir()
    (world.checkout / "flat" / "mine.txt").write_bytes(b"mine\n")
    (world.checkout / "flat" / "link").symlink_to("mine.txt")
    said: list[str] = []
    apply(world.layout, "up", say=said.append)
    kept, = (world.checkout / ".git" / "tunefork" / "rescued").iterdir()
    assert (kept / "flat/mine.txt").read_bytes() == b"mine\n" and (kept / "flat/link").readlink() == Path("mine.txt")
    assert (kept / "grown").readlink() == Path("notes")
    assert any("3 files held something else; copies are in" in line for line in said)
    assert (world.checkout / "flat").read_bytes() == b"a file\n" and (world.checkout / "grown/two.py").read_bytes() == b"2\n"


def test_a_kill_at_any_step_of_export_is_recovered(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    three_patches(world)
    saved = world.root / "saved"
    killed = step = 0
    shutil.copytree(world.root / "patches", saved / "patches", symlinks=True)
    shutil.copytree(world.root / "work", saved / "work", symlinks=True)
    for step in chosen(1):
        for name in ("patches", "work"):
            shutil.rmtree(world.root / name)
            shutil.copytree(saved / name, world.root / name, symlinks=True)
        world.commit({"b.py": b"mine\n"}, "[Up] My work")
        if not killed_at(step, world, "export(layout, 'up')"):
            break
        killed += 1
        export(world.layout, "up")
        assert world.names()[-1] == "my-work" and not list(world.series.glob("*.tmp*"))
        assert apply(world.layout, "up").changed == 0
        assert (world.checkout / "b.py").read_bytes() == b"mine\n"
        assert export(world.layout, "up", dry_run=True).same
    say_kills(capfd, "patch export", killed, step)
    assert step >= 15


def test_an_error_while_files_are_written_rolls_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    done = three_patches(world)
    before = {name: data for name, (data, _) in world.snapshot().items()}

    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(switch, "point", fail)
    with pytest.raises(KeyboardInterrupt):
        apply(world.layout, "up", "base")
    assert {name: data for name, (data, _) in world.snapshot().items()} == before
    check_tree(world, done.tree or "")


def test_two_applies_at_once(world: World) -> None:
    done = three_patches(world)
    shutil.rmtree(world.root / "work")
    trees: list[str | None] = []
    threads = [
        threading.Thread(target=lambda spec=spec: trees.append(apply(world.layout, "up", spec).tree)) for spec in ("all", "all", "all")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert trees == [done.tree] * 3
    check_tree(world, done.tree or "")


def test_two_processes_at_once(world: World) -> None:
    done = three_patches(world)
    shutil.rmtree(world.root / "work")
    shutil.rmtree(world.layout.cache)
    command = [sys.executable, str(KILLER), str(NEVER), str(world.root), str(world.layout.cache)]
    children = [subprocess.Popen([*command, f"apply(layout, 'up', {spec!r})"]) for spec in ("all", "base", "all")]
    assert [child.wait() for child in children] == [0, 0, 0]
    assert apply(world.layout, "up").tree == done.tree
    check_tree(world, done.tree or "")


def test_a_git_command_of_the_users_holds_the_index(world: World) -> None:
    three_patches(world)
    (world.checkout / ".git" / "index.lock").touch()
    with pytest.raises(WorkAtRisk, match="a git command holds"):
        apply(world.layout, "up", "base")
    assert (world.checkout / ".git" / "index.lock").exists()  # not ours to delete
    (world.checkout / ".git" / "index.lock").unlink()
    apply(world.layout, "up", "base")


def test_a_checkout_that_cannot_be_written(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    done = three_patches(world)
    plain = Git.run

    def read_only(self: Git, *args: str, **kwargs: object) -> object:
        if args[:3] == ("read-tree", "-m", "-u"):  # as root here, permissions would not stop git; this is what it prints
            args = ("read-tree", "-m", "-u", args[3], "0" * 40)
        return plain(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Git, "run", read_only)
    with pytest.raises(TuneforkError, match="read-tree"):
        apply(world.layout, "up", "base")
    monkeypatch.setattr(Git, "run", plain)
    check_tree(world, done.tree or "")


@pytest.mark.parametrize("damage", ["{", "", None])
def test_a_lost_state_file_costs_time_only(world: World, damage: str | None) -> None:
    done = three_patches(world)
    mine = world.commit({"b.py": b"mine\n"}, "My work")
    path = world.checkout / ".git" / "tunefork" / "primary.json"
    path.unlink() if damage is None else path.write_text(damage)
    with pytest.raises(WorkAtRisk, match="unexported"):
        apply(world.layout, "up")
    assert git(world.checkout, "rev-parse", "HEAD") == mine
    git(world.checkout, "reset", "--quiet", "--hard", "HEAD~1")
    assert apply(world.layout, "up").tree == done.tree
    check_tree(world, done.tree or "")
