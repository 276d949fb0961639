"""A pin without its lock: one line that says so, and what it says to type, typed, helps."""

from __future__ import annotations

import re

import pytest
from world import World, git

from tunefork.base.errors import LockMismatch
from tunefork.cli.main import main
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export


@pytest.fixture
def patched(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """One patch, exported and locked."""
    apply(world.layout, "up")
    world.commit({"b.py": b"def f():\n    return 3\n\n\ndef g():\n    return 2\n"}, "[Up] Three")
    export(world.layout, "up")
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    return world


def typed(world: World, remedy: str) -> None:
    """Type what a remedy quotes; the rest of it is prose."""
    assert (found := re.search(r"python3 build\.py ([a-z ]+)", remedy)), remedy
    assert main(found[1].split()) == 0


def test_patches_without_a_lock(patched: World) -> None:
    (patched.series / "series.lock").unlink()
    with pytest.raises(LockMismatch, match="has patches and no series.lock") as caught:
        apply(patched.layout, "up")
    assert "\n" not in caught.value.message
    typed(patched, caught.value.remedy)
    assert [patch.state for patch in apply(patched.layout, "up").patches] == ["kept"]


def test_a_pin_that_was_moved_by_hand_and_its_lock_was_not(patched: World) -> None:
    old = git(patched.upstream, "rev-parse", "HEAD")
    (patched.upstream / "pkg" / "c.py").write_bytes(b"value = 4\n")
    git(patched.upstream, "commit", "--quiet", "--all", "-m", "Upstream's")
    git(patched.upstream, "tag", "--force", "v1")
    new = git(patched.upstream, "rev-parse", "HEAD")
    patched.layout.pins.write_text(patched.layout.pins.read_text().replace(old, new))
    with pytest.raises(LockMismatch, match=f"work/up is on {old[:12]}, pins.toml says {new[:12]}") as caught:
        apply(patched.layout, "up")
    assert "move work/up away" in caught.value.remedy
    patched.checkout.rename(patched.root / "away")
    with pytest.raises(LockMismatch, match=f"made on commit {old[:12]}, pins.toml says {new[:12]}") as caught:
        apply(patched.layout, "up")
    assert "\n" not in caught.value.message
    typed(patched, caught.value.remedy)
    assert [patch.state for patch in apply(patched.layout, "up").patches] in (["applied"], ["kept"])
    assert (patched.checkout / "pkg" / "c.py").read_bytes() == b"value = 4\n"
