"""A project folder that moved, and checkouts that somebody removed, while an edit or a rebase waits: one named command is the way out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from test_backups import rebasing as _rebasing
from test_park import lines
from world import World, git

from tunefork.base.errors import PatchConflict
from tunefork.base.layout import Layout
from tunefork.patchset.author import edit
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export
from tunefork.patchset.rebase import rebase

pytestmark = pytest.mark.slow
rebasing = _rebasing


@pytest.fixture
def editing(world: World) -> World:
    """An edit of `one` that waits; its author changed a.py."""
    apply(world.layout, "up")
    world.commit({"a.py": lines(l5="one")}, "One")
    world.commit({"b.py": b"two\n"}, "Two")
    export(world.layout, "up")
    edit.start(world.layout, "up", "one")
    (world.layout.checkout("up", "edit") / "a.py").write_bytes(lines(l5="my edit"))
    return world


def moved(world: World, tmp_path: Path) -> World:
    there = tmp_path / "elsewhere"
    world.root.rename(there)
    return World(Layout(there, world.layout.cache), world.upstream)


def test_an_edit_goes_on_where_the_project_went(editing: World, tmp_path: Path) -> None:
    there = moved(editing, tmp_path)
    edit.go_on(there.layout, "up")
    assert b"+my edit" in (there.series / "one.patch").read_bytes()


def test_an_edit_is_aborted_where_the_project_went(editing: World, tmp_path: Path) -> None:
    there = moved(editing, tmp_path)
    ref = edit.abort(there.layout, "up")
    assert git(there.checkout, "show", f"{ref}:a.py").splitlines()[4] == "my edit"
    assert apply(there.layout, "up").changed == 0


@pytest.mark.parametrize("way", ["continue", "abort"])
def test_a_rebase_goes_on_where_the_project_went(rebasing: World, tmp_path: Path, way: str) -> None:
    (rebasing.layout.checkout("up", "rebase") / "a.py").write_bytes(lines(l5="mine", l50="theirs"))
    there = moved(rebasing, tmp_path)
    if way == "continue":
        with pytest.raises(PatchConflict, match=r"two\.patch conflicts"):
            rebase.go_on(there.layout, "up")
    ref = rebase.abort(there.layout, "up")
    assert git(there.checkout, "show", f"{ref}:a.py").splitlines()[4] == "mine"
    assert apply(there.layout, "up").changed == 0


@pytest.mark.parametrize("anew", [False, True])
def test_an_edit_whose_repository_was_removed_is_aborted(editing: World, anew: bool) -> None:
    """Its files are all there is of it: they are moved aside."""
    shutil.rmtree(editing.checkout)
    if anew:
        apply(editing.layout, "up")
        with pytest.raises(PatchConflict) as caught:
            edit.go_on(editing.layout, "up")
        assert "patch edit --upstream up --abort" in caught.value.remedy
    said: list[str] = []
    edit.abort(editing.layout, "up", say=said.append)
    aside, = editing.layout.work.glob("up@edit.kept-*")
    assert (aside / "a.py").read_bytes() == lines(l5="my edit") and any(str(aside) in line for line in said)
    assert len(apply(editing.layout, "up").patches) == 2
    edit.start(editing.layout, "up", "one")


def test_a_rebase_whose_repository_was_removed_is_aborted(rebasing: World) -> None:
    shutil.rmtree(rebasing.layout.work / ".rebase" / "up" / "repo.git")
    with pytest.raises(PatchConflict) as caught:
        rebase.go_on(rebasing.layout, "up")
    assert "rebase up --abort" in caught.value.remedy
    rebase.abort(rebasing.layout, "up")
    assert list(rebasing.layout.work.glob("up@rebase.kept-*")) and apply(rebasing.layout, "up").changed == 0


def test_work_removed_altogether_is_made_anew(editing: World) -> None:
    shutil.rmtree(editing.layout.work)
    assert len(apply(editing.layout, "up").patches) == 2
    edit.start(editing.layout, "up", "one")
