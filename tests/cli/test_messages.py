"""What apply, status and patch say to every mistake: one line that names it, one that says what to type, and the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from loading import module

from tunefork.cli.main import main


def load_world() -> ModuleType:
    """tests/patchset/world.py, the small upstream of the manager's tests."""
    if "world" not in sys.modules:
        module("world", Path(__file__).parents[1] / "patchset" / "world.py")
    return sys.modules["world"]


world_of = load_world()
World = world_of.World
git = world_of.git


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:  # type: ignore[valid-type]
    """Applied, with the patches one (a.py) and two (b.py)."""
    found = world_of.make(tmp_path)

    def fill(world: World) -> None:  # type: ignore[valid-type]
        monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))  # type: ignore[attr-defined]
        monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))  # type: ignore[attr-defined]
        assert main(["apply"]) == 0
        world.commit({"a.py": b"one\n"}, "One")  # type: ignore[attr-defined]
        world.commit({"b.py": b"two\n"}, "Two")  # type: ignore[attr-defined]
        assert main(["patch", "export"]) == 0

    world_of.filled(found, fill, "messages")
    monkeypatch.setenv("TUNEFORK_ROOT", str(found.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(found.layout.cache))
    return found


Mistake = Callable[[World], None]  # type: ignore[valid-type]


def write(name: str, data: bytes) -> Mistake:
    return lambda world: (world.checkout / name).write_bytes(data)


def run_git(*args: str) -> Mistake:
    return lambda world: git(world.checkout, *args)


def commit_mine(world: World) -> None:  # type: ignore[valid-type]
    world.commit({"mine.py": b"x\n"}, "My work")


def edit(file: str, old: bytes, new: bytes) -> Mistake:
    def change(world: World) -> None:  # type: ignore[valid-type]
        path = world.series / file
        assert old in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(old, new))

    return change


def park(world: World) -> None:  # type: ignore[valid-type]
    edit("two.patch", b"-def f():", b"-def F():")(world)
    assert main(["patch", "lock", "up"]) == 7


def nothing(_world: World) -> None:  # type: ignore[valid-type]
    pass


def source_gone(world: World) -> None:  # type: ignore[valid-type]
    world.upstream.rename(world.upstream.with_name("gone"))
    world.checkout.rename(world.checkout.with_name("elsewhere"))
    world.layout.cache.rename(world.layout.cache.with_name("old-cache"))


def foreign_folder(world: World) -> None:  # type: ignore[valid-type]
    world.checkout.rename(world.checkout.with_name("elsewhere"))
    world.checkout.mkdir()
    (world.checkout / "file").write_text("x")


MISTAKES = {
    "an unknown upstream": (nothing, ["apply", "nobody"], 2, "no upstream 'nobody' in pins.toml", "use one of: up"),
    "an unknown upstream of status": (nothing, ["status", "nobody"], 2, "no upstream 'nobody' in pins.toml", "use one of: up"),
    "an unknown variant": (nothing, ["apply", "--variant", "some"], 2, "no such variant: 'some'", "use base, all, only:P"),
    "an unknown patch": (nothing, ["apply", "up", "--variant", "only:three"], 2, "up has no patch 'three'; its series: one, two", "build.py status"),
    "two patches after upto": (nothing, ["apply", "--variant", "upto:one,two"], 2, "upto takes one patch", "upto:P"),
    "uncommitted work": (write("a.py", b"mine\n"), ["apply", "--variant", "base"], 3, "up has uncommitted changes that this would overwrite: a.py",
                         "python3 build.py patch export up"),
    "an untracked file in the way": (
        lambda world: (world.commit({"new.py": b"1\n"}, "New"), main(["patch", "export"]), main(["apply", "--variant", "base"]),
                       write("new.py", b"mine\n")(world)),
        ["apply"], 3, "up has untracked files that this would overwrite: new.py", "move them away, or add --discard"),
    "a branch of another variant": (
        lambda world: (run_git("checkout", "-q", "tunefork/base")(world), commit_mine(world)),
        ["patch", "export", "up"], 3, "HEAD on tunefork/base; the commits of tunefork/all are what is exported", "git checkout tunefork/all"),
    "unexported commits": (commit_mine, ["apply", "--variant", "base"], 3, "unexported commits that this would overwrite: My work", "patch export up"),
    "a detached head": (run_git("checkout", "-q", "--detach"), ["apply"], 3, "up is detached", "git branch my-work"),
    "a merge begun": (lambda world: (run_git("checkout", "-q", "-b", "side", "tunefork/base")(world), world.commit({"a.py": b"side\n"}, "Side"),
                      run_git("checkout", "-q", "tunefork/all")(world), git(world.checkout, "merge", "side", check=False)),
                      ["apply", "--variant", "base"], 3, "up: a merge is in progress", "finish or abort it"),
    "the index held": (write(".git/index.lock", b""), ["apply", "--variant", "base"], 3, "a git command holds", "rm "),
    "a folder that is not ours": (foreign_folder, ["apply"], 3, "is no checkout of Tunefork's", "mv "),
    "no source": (source_gone, ["apply", "up"], 4, "no source of up v1 answers", "insteadOf"),
    "an edited patch": (edit("one.patch", b"+one", b"+1"), ["apply"], 8, "one.patch is not the file that series.lock records", "patch lock up"),
    "an edited lock": (lambda world: (edit("series.lock", b":100644 100644", b":100644 100755")(world), main(["apply", "--variant", "base"])),
                       ["apply"], 8, "one makes of a.py something else than series.lock records", "git checkout -- patches/"),
    "a damaged lock": (edit("series.lock", b"patch one", b"<<<<<<< one"), ["apply"], 8, "is not a line of a lock", "git checkout"),
    "no lock": (lambda world: (world.series / "series.lock").unlink(), ["apply"], 8, "has patches and no series.lock", "python3 build.py patch lock up"),
    "a line without a file": (edit("series", b"two.patch", b"zwei.patch"), ["apply"], 2, "series:2: names zwei.patch, and there is no file", "delete the line"),
    "a line twice": (edit("series", b"two.patch", b"one.patch"), ["status"], 2, "is named twice", "delete one"),
    "a parked patch": (park, ["apply"], 7, "up: a patch is parked in", "--continue"),
    "markers left": (park, ["apply", "--continue"], 7, "conflict markers are left in b.py", "resolve them in"),
    "nothing to continue": (nothing, ["apply", "--continue"], 2, "no patch is parked", "python3 build.py status"),
    "nothing to abort": (nothing, ["apply", "--abort"], 2, "no patch is parked", "python3 build.py status"),
    "an empty commit": (run_git("commit", "-q", "--allow-empty", "-m", "Nothing"), ["patch", "export"], 2, "(Nothing) changes nothing", "git rebase -i"),
    "a message with a diff in it": (lambda world: world.commit({"c.py": b"x\n"}, "Trap", "Why.\n---\nMore."), ["patch", "export"], 2,
                                    "(Trap) would not survive as mail", "git commit --amend"),
    "no such checkout": (nothing, ["patch", "export", "up", "--variant", "base"], 2, "no checkout of up holds base", "python3 build.py apply up --variant base"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_and_its_remedy(world: World, mistake: str, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[valid-type]
    prepare, args, code, message, remedy = MISTAKES[mistake]
    prepare(world)
    capsys.readouterr()
    assert main(args) == code
    said = capsys.readouterr().err.splitlines()
    errors = [line for line in said if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]
    tries = [line for line in said if line.startswith("  try: ")]
    assert len(tries) == 1 and remedy in tries[0]
    assert "Traceback" not in "".join(said)


def test_options_that_exclude_each_other(world: World, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[valid-type]
    """Everything that is typed has an effect, or is refused."""
    park(world)
    capsys.readouterr()
    assert main(["apply", "--continue", "--abort"]) == 2
    assert main(["apply", "--abort", "--variant", "base"]) == 2
    assert os.path.exists(world.layout.checkout("up", "parked"))
