"""An uncommitted change outside of what a variant touches comes along, and everything says so; an apply under a running server warns."""

from __future__ import annotations

import json

import pytest
from test_apply import three_patches
from world import World, git

from tunefork.bench.machine import host
from tunefork.cli.main import main
from tunefork.patchset.author import edit, reshape
from tunefork.patchset.checkout import running
from tunefork.patchset.checkout.applied import applied_tree
from tunefork.patchset.checkout.apply import apply


@pytest.fixture
def edited(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Three patches applied, and a change in a file that none of them touches."""
    three_patches(world)
    (world.checkout / "b.py").write_bytes(b"mine\n")
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    return world


def test_apply_and_status_say_that_it_came_along(edited: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["apply", "--variant", "base"]) == 0
    assert "uncommitted changes came along, which base has not: b.py" in capsys.readouterr().err
    assert (edited.checkout / "b.py").read_bytes() == b"mine\n"
    assert main(["status"]) == 0 and "base, 1 modified" in capsys.readouterr().out
    assert main(["apply", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["upstreams"][0]["carried"] == ["b.py"]


def test_a_clean_checkout_carries_nothing(world: World) -> None:
    three_patches(world)
    assert apply(world.layout, "up", "base").carried == ()


def test_a_record_names_it(edited: World) -> None:
    apply(edited.layout, "up", "base")
    tree = applied_tree(edited.layout, "up")
    assert tree is not None and host.tree(tree).modified == ("b.py",)


def test_an_apply_under_a_running_server_warns(world: World) -> None:
    three_patches(world)
    said: list[str] = []
    with running.running_from(world.layout, world.checkout), running.running_from(world.layout, world.checkout):
        apply(world.layout, "up", "base", say=said.append)
        assert any("a server runs from work/up" in line for line in said)
        said.clear()
        apply(world.layout, "up", "base", say=said.append)
        assert said == []  # nothing to do: nothing changes under it
        apply(world.layout, "up", "all", beside=True, say=said.append)
        assert not any("a server runs" in line for line in said)
    said.clear()
    apply(world.layout, "up", say=said.append)
    assert not any("a server runs" in line for line in said)


@pytest.mark.parametrize("command", ["drop", "edit"])
def test_whatever_moves_files_under_a_running_server_warns(world: World, command: str) -> None:
    three_patches(world)
    name = world.names()[-1]
    said: list[str] = []
    with running.running_from(world.layout, world.checkout):
        if command == "drop":
            reshape.drop(world.layout, "up", [name], say=said.append)
        else:
            here = edit.start(world.layout, "up", name).path
            changed = git(here, "diff", "--name-only", "HEAD~1").splitlines()[0]
            (here / changed).write_bytes(b"another\n")
            edit.go_on(world.layout, "up", say=said.append)
    assert any("a server runs from work/up" in line for line in said)
