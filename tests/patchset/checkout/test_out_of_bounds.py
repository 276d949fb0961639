"""Patches that name paths outside the checkout, or reach there through a link of their own: nothing is made or deleted there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from world import World, applied, git

from tunefork.base.errors import BadInput, PatchConflict
from tunefork.patchset.checkout import checkout as checkouts
from tunefork.patchset.checkout import park, switch
from tunefork.patchset.checkout.export import export
from tunefork.patchset.checkout.proposal import Proposal, put
from tunefork.patchset.series import diff

HEAD = b"From 0 Mon Sep 17 00:00:00 2001\nFrom: A <a@b>\nDate: Sat, 1 Jan 2000 00:00:00 +0000\nSubject: [PATCH] s\n\nb\n---\n\n"
ODD = ["../../outside/precious", "/outside", ".git/config", "pkg/.GIT/config", "pkg/../../../outside/precious", "./a.py", "x//y", "git~1/x", "nul\\000x", "..", "x/"]
BLOBS = b"index 1111111111111111111111111111111111111111..2222222222222222222222222222222222222222"
DIFFS = {
    "add": b'diff --git "a/%(p)s" "b/%(p)s"\nnew file mode 100644\n' + BLOBS + b'\n--- /dev/null\n+++ "b/%(p)s"\n@@ -0,0 +1 @@\n+new\n',
    "change": b'diff --git "a/%(p)s" "b/%(p)s"\n' + BLOBS + b' 100644\n--- "a/%(p)s"\n+++ "b/%(p)s"\n@@ -1 +1 @@\n-mine\n+new\n',
    "delete": b'diff --git "a/%(p)s" "b/%(p)s"\ndeleted file mode 100644\n' + BLOBS + b'\n--- "a/%(p)s"\n+++ /dev/null\n@@ -1 +0,0 @@\n-mine\n',
    "rename": b'diff --git "a/a.py" "b/%(p)s"\nsimilarity index 100%%\nrename from a.py\nrename to "%(p)s"\n',
    "rename away": b'diff --git "a/%(p)s" "b/a2.py"\nsimilarity index 100%%\nrename from "%(p)s"\nrename to a2.py\n',
    "copy": b'diff --git "a/a.py" "b/%(p)s"\nsimilarity index 100%%\ncopy from a.py\ncopy to "%(p)s"\n',
    "mode": b'diff --git "a/%(p)s" "b/%(p)s"\nold mode 100644\nnew mode 100755\n',
}


def outside(world: World) -> dict[str, bytes]:
    """Every file below the project and beside it that is in no checkout of ours."""
    return {str(path): path.read_bytes() for path in world.root.parent.rglob("*")
            if path.is_file() and not path.is_symlink() and not path.is_relative_to(world.layout.work) and not path.is_relative_to(world.layout.cache)}  # fmt: skip


def give(world: World, told: bytes) -> None:
    (world.series / "odd.patch").write_bytes(HEAD + told + b"-- \n2.39.5\n\n")
    (world.series / "series").write_text("odd.patch\n")


@pytest.mark.parametrize("path", ODD)
@pytest.mark.parametrize("kind", DIFFS)
def test_the_reader_refuses_a_path_that_no_tree_holds(kind: str, path: str) -> None:
    with pytest.raises(BadInput, match=r"odd\.patch names .*, a path that git does not check out") as caught:
        diff.parse("odd", DIFFS[kind] % {b"p": path.encode()})
    assert "odd.patch" in caught.value.remedy


@pytest.mark.parametrize("path", ["a.py", ".gitignore", "x/.github/y", "...", ".git2", "a\\\\b", ".gitmodules"])
def test_the_reader_takes_every_other(path: str) -> None:
    assert diff.parse("odd", DIFFS["add"] % {b"p": path.encode()})[0].kind == "add"


def test_a_link_in_the_place_of_gitmodules_is_refused() -> None:
    told = DIFFS["add"].replace(b"100644", b"120000") % {b"p": b"pkg/.GitModules"}
    with pytest.raises(BadInput, match="does not check out"):
        diff.parse("odd", told)


@pytest.mark.slow
@pytest.mark.parametrize("kind", DIFFS)
def test_locking_touches_nothing_outside(world: World, kind: str) -> None:
    applied(world)
    precious = world.root / "outside" / "precious"
    precious.parent.mkdir()
    precious.write_bytes(b"mine\n")
    give(world, DIFFS[kind] % {b"p": b"../../outside/precious"})
    before = outside(world)
    with pytest.raises(BadInput, match="does not check out"):
        park.lock_or_park(world.layout, "up")
    assert outside(world) == before and [path.name for path in world.layout.work.iterdir() if path.name[0] != "."] == ["up"]
    assert park.find(world.layout, "up") is None


@pytest.mark.parametrize("link_first", [True, False])
def test_a_parked_patch_writes_through_no_link(world: World, link_first: bool) -> None:
    """The patch makes a link that leads out, and files behind it; one of its hunks conflicts, so that it is parked."""
    applied(world)
    away = world.root / "away"
    away.mkdir()
    (away / "kept").write_bytes(b"mine\n")
    target = b"../../away"
    link = b"diff --git a/door b/door\nnew file mode 120000\nindex %s..%s\n--- /dev/null\n+++ b/door\n@@ -0,0 +1 @@\n+%s\n\\ No newline at end of file\n" % (
        b"0" * 40, diff.blob_id(target).encode(), target)  # fmt: skip
    parts = [link, DIFFS["add"] % {b"p": b"door/new"}, DIFFS["delete"] % {b"p": b"door/kept"}]
    give(world, b"".join(parts if link_first else reversed(parts)))
    with pytest.raises(PatchConflict, match="it waits in"):
        park.lock_or_park(world.layout, "up")
    assert {path.name: path.read_bytes() for path in away.iterdir()} == {"kept": b"mine\n"}
    assert (away / "kept").stat().st_nlink == 1


def test_what_stands_in_for_a_file_is_no_link_either(tmp_path: Path) -> None:
    """The name that a file gets where a folder is in its way may be another link of the same patch."""
    git(tmp_path, "init", "--quiet", "tree")
    root = tmp_path / "tree"
    (root / "folder").mkdir()
    (root / "folder" / "file").write_bytes(b"")
    put(root, Proposal(b"folder~p", "120000", b"../out"), "p")
    put(root, Proposal(b"folder", "100644", b"data"), "p")
    assert not (tmp_path / "out").exists() and (root / "folder~p~").read_bytes() == b"data"
    put(root, Proposal(b"door", "120000", b".."), "p")
    put(root, Proposal(b"door/x", "100644", b"data"), "p")
    put(root, Proposal(b"door/tree/folder/file", "100644", None), "p")
    assert sorted(os.listdir(tmp_path)) == ["tree"] and (root / "door-x~p").read_bytes() == b"data" and (root / "folder" / "file").exists()


def test_a_checkout_whose_folder_became_a_link_is_left_alone(world: World) -> None:
    """Recovery from a killed move deletes and writes paths: not behind a link that stands there since."""
    applied(world)
    world.commit({"pkg/c.py": None, "new/x.py": b"1\n"}, "Move")
    export(world.layout, "up")
    checkout = world.checkout
    base, tip = git(checkout, "rev-parse", "tunefork/base"), git(checkout, "rev-parse", "HEAD")
    git(checkout, "checkout", "--quiet", "tunefork/base")
    away = world.root / "away"
    away.mkdir()
    (away / "x.py").write_bytes(b"mine\n")
    (checkout / "new").symlink_to(away)
    first = checkouts.primary(world.layout, "up")
    first.journal_file.write_text(f'{{"old": "{base}", "new": "{tip}"}}')
    assert switch.recover(first, print)
    assert (away / "x.py").read_bytes() == b"mine\n"
