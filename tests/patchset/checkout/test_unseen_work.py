"""Work that git does not see or cannot keep, in a worktree where an edit, a rebase or a parked patch waits: refused or kept, never gone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_author import three
from test_park import conflicting, lines, parked_path
from test_rebase import series, upstream
from world import World, git

from tunefork.base.errors import PatchConflict, WorkAtRisk
from tunefork.patchset.author import edit
from tunefork.patchset.checkout import park
from tunefork.patchset.rebase import rebase
from tunefork.patchset.upstream import submission

pytestmark = pytest.mark.slow
FLAGS = ["--assume-unchanged", "--skip-worktree"]


@dataclass(frozen=True)
class Waits:
    """begin: makes the worktree, and returns it with its conflict resolved."""

    begin: Callable[[World], Path]
    go_on: Callable[[World], object]
    abort: Callable[[World], str]


def edited(world: World) -> Path:
    three(world)
    return edit.start(world.layout, "up", "one").path


def resolved(path: Path) -> Path:
    (path / "a.py").write_bytes(lines(l5="both"))
    git(path, "add", "a.py")
    return path


def rebased(world: World) -> Path:
    series(world, ("One", {"a.py": lines(l5="one")}), ("Two", {"b.py": b"two\n"}))
    upstream(world, {"a.py": lines(l5="theirs")})
    with pytest.raises(PatchConflict):
        rebase.start(world.layout, "up", "v2")
    return resolved(world.layout.checkout("up", "rebase"))


def parked(world: World) -> Path:
    conflicting(world)
    with pytest.raises(PatchConflict):
        park.lock_or_park(world.layout, "up")
    return resolved(parked_path(world))


def submitted(world: World) -> Path:
    series(world, ("One", {"a.py": lines(l5="one")}), ("Two", {"b.py": b"two\n"}))
    upstream(world, {"a.py": lines(l5="theirs")})
    with pytest.raises(PatchConflict):
        submission.submit(world.layout, "one", "v2", verify=0)
    return resolved(world.layout.checkout("up", "upstream-one"))


WAITS = {
    "edit": Waits(edited, lambda world: edit.go_on(world.layout, "up"), lambda world: edit.abort(world.layout, "up")),
    "rebase": Waits(rebased, lambda world: rebase.go_on(world.layout, "up"), lambda world: rebase.abort(world.layout, "up")),
    "parked": Waits(parked, lambda world: park.go_on(world.layout, "up"), lambda world: park.abort(world.layout, "up")),
    "upstream": Waits(submitted, lambda world: submission.go_on(world.layout, "one", verify=0), lambda world: submission.abort(world.layout, "one")),
}


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("name", WAITS)
def test_a_file_that_git_was_told_not_to_look_at(world: World, name: str, flag: str) -> None:
    here = WAITS[name].begin(world)
    git(here, "update-index", flag, "b.py")
    (here / "b.py").write_bytes(b"an hour of work\n")
    with pytest.raises(WorkAtRisk, match=r"assume-unchanged or skip-worktree.*b\.py") as caught:
        WAITS[name].go_on(world)
    assert (here / "b.py").read_bytes() == b"an hour of work\n" and f"git -C {here} update-index" in caught.value.remedy
    ref = WAITS[name].abort(world)
    assert not here.exists() and git(world.checkout, "show", f"{ref}:b.py") == "an hour of work"


@pytest.mark.parametrize("commits", [False, True])
@pytest.mark.parametrize("name", WAITS)
def test_a_repository_of_the_users(world: World, name: str, commits: bool) -> None:
    here = WAITS[name].begin(world)
    git(here, "init", "--quiet", "notes")
    (here / "notes" / "f").write_bytes(b"precious\n")
    if commits:
        git(here / "notes", "add", "f")
        git(here / "notes", "commit", "--quiet", "-m", "x")
    for ending in (WAITS[name].go_on, WAITS[name].abort):
        with pytest.raises(WorkAtRisk, match="notes") as caught:
            ending(world)
        assert (here / "notes" / "f").read_bytes() == b"precious\n"
    assert f"mv {here / 'notes'}" in caught.value.remedy
    (here / "notes").rename(world.root / "notes")
    WAITS[name].abort(world)
    assert not here.exists()
