"""tunefork/patchset/series/picks.py on real git: a series line that takes an upstream commit by hash."""

from __future__ import annotations

import json

import pytest
from world import FILES, World, applied, git

from tunefork.base.errors import BadInput, PatchConflict, SourceError
from tunefork.cli.main import main
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export
from tunefork.patchset.checkout.park import lock_or_park
from tunefork.patchset.inspect.graph import graph
from tunefork.patchset.inspect.lint import lint
from tunefork.patchset.rebase import rebase
from tunefork.patchset.series.lock import Lock

OLD = FILES["a.py"]
LATER = OLD.replace(b"line 5\n", b"upstream 5\n")  # between the pin and the picked commit
FIXED = LATER.replace(b"line 40\n", b"fixed 40\n")


def upstream_commit(world: World, data: bytes, subject: str, tag: str = "v2") -> str:
    (world.upstream / "a.py").write_bytes(data)
    git(world.upstream, "commit", "--quiet", "--all", "-m", f"{subject}\n\nA body\n---\nthat would not survive as mail.")
    git(world.upstream, "tag", "--force", tag)
    return git(world.upstream, "rev-parse", "HEAD")


def with_pick(world: World, *, name: str = "fix-forty") -> str:
    """A pin without the fix, an upstream that changed another line first and then fixed line 40, and a series that picks the fix."""
    applied(world)
    upstream_commit(world, LATER, "Change line 5")
    sha = upstream_commit(world, FIXED, "[Core] Fix line 40")
    (world.series / "series").write_text(f"pick {sha} {name}  # until v2\n")
    lock_or_park(world.layout, "up")
    return sha


def test_only_the_commits_own_change_is_taken_and_nothing_of_it_is_stored(world: World) -> None:
    sha = with_pick(world)
    apply(world.layout, "up")
    assert (world.checkout / "a.py").read_bytes() == OLD.replace(b"line 40\n", b"fixed 40\n")
    assert sorted(path.name for path in world.series.iterdir()) == ["series", "series.lock"]
    assert git(world.checkout, "log", "-1", "--format=%s%n%b%n%an").split("\n") == [
        "[Core] Fix line 40", f"(cherry picked from commit {sha})", "", "A. User"]  # fmt: skip
    lock = Lock.load(world.series)
    assert lock is not None and lock.names == ("fix-forty",)
    assert [touch.path for touch in lock.patches[0].touches] == [b"a.py"]
    assert lint(world.layout, "up") == []


def test_the_same_commit_in_another_clone_and_no_second_fetch_where_it_is_applied(world: World) -> None:
    with_pick(world)
    first = apply(world.layout, "up")
    git(world.upstream, "checkout", "--quiet", "v1")
    world.upstream.rename(world.upstream.with_name("gone"))
    assert apply(world.layout, "up", "base").commit != first.commit
    assert apply(world.layout, "up").commit == first.commit


def test_a_patch_on_top_of_a_pick_and_back_through_export(world: World) -> None:
    with_pick(world)
    apply(world.layout, "up")
    world.commit({"a.py": (world.checkout / "a.py").read_bytes().replace(b"fixed 40\n", b"ours 40\n")}, "[Up] Ours")
    assert export(world.layout, "up").added == ("ours.patch",)
    assert (world.series / "series").read_text().splitlines()[0].endswith("fix-forty  # until v2")
    assert export(world.layout, "up", dry_run=True).same
    assert {node.name: [need.name for need in node.needs] for node in graph(world.layout, "up")}["ours"] == ["fix-forty"]
    with pytest.raises(PatchConflict):
        apply(world.layout, "up", "without:fix-forty")


def test_an_edited_pick_becomes_a_patch(world: World) -> None:
    with_pick(world)
    apply(world.layout, "up")
    (world.checkout / "a.py").write_bytes(OLD.replace(b"line 40\n", b"better 40\n"))
    git(world.checkout, "commit", "--quiet", "--all", "--amend", "--no-edit")
    assert set(export(world.layout, "up").changed) == {"fix-forty.patch", "series", "series.lock"}
    assert (world.series / "series").read_text() == "fix-forty.patch\n"
    assert b"+better 40" in (world.series / "fix-forty.patch").read_bytes()


@pytest.mark.slow
def test_a_pin_that_has_the_commit_drops_the_pick(world: World) -> None:
    with_pick(world)
    apply(world.layout, "up")
    found = rebase.check(world.layout, "up", "v2")
    assert [(each.name, each.outcome) for each in found.patches] == [("fix-forty", "upstream")]
    rebase.start(world.layout, "up", "v2")
    assert (world.series / "series").read_text() == "" or "pick" not in (world.series / "series").read_text()


@pytest.mark.slow
def test_a_pin_without_the_commit_keeps_the_pick(world: World) -> None:
    with_pick(world)
    git(world.upstream, "checkout", "--quiet", "-b", "side", "v1")
    upstream_commit(world, OLD.replace(b"line 20\n", b"side 20\n"), "Change line 20", "v1.1")
    done = rebase.start(world.layout, "up", "v1.1")
    assert [(each.name, each.outcome) for each in done.patches] == [("fix-forty", "clean")]
    assert "pick " in (world.series / "series").read_text()
    apply(world.layout, "up")
    assert (world.checkout / "a.py").read_bytes() == OLD.replace(b"line 20\n", b"side 20\n").replace(b"line 40\n", b"fixed 40\n")


def test_what_is_refused(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    applied(world)
    (world.series / "series").write_text("pick abc123\n")
    with pytest.raises(BadInput, match="expected the 40 hex digits"):
        apply(world.layout, "up")
    (world.series / "series").write_text(f"pick {'1' * 40}\n")
    with pytest.raises(SourceError, match="picks commit 111111111111, which cannot be fetched"):
        lock_or_park(world.layout, "up")
    conflicting = upstream_commit(world, OLD.replace(b"line 39\n", b"x\n"), "One")
    conflicting = upstream_commit(world, OLD.replace(b"line 39\n", b"y\n").replace(b"line 40\n", b"z\n"), "Two")
    (world.series / "series").write_text(f"pick {conflicting}\n")
    with pytest.raises(PatchConflict, match="does not go onto the pin") as refused:
        lock_or_park(world.layout, "up")
    assert f"git cherry-pick -x {conflicting}" in refused.value.remedy


def test_show_prints_the_commit(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    sha = with_pick(world)
    apply(world.layout, "up")
    monkeypatch.setattr("tunefork.cli.patch.files.Layout.here", lambda: world.layout)
    assert main(["patch", "show", "fix-forty", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["picked"] == sha and "+fixed 40" in shown["text"]


def test_an_edit_that_changes_no_line_is_not_lost(world: World) -> None:
    with_pick(world)
    apply(world.layout, "up")
    (world.checkout / "b.py").chmod(0o755)
    (world.checkout / "blob.bin").write_bytes(b"\0other")
    git(world.checkout, "commit", "--quiet", "--all", "--amend", "--no-edit")
    assert set(export(world.layout, "up").changed) == {"fix-forty.patch", "series", "series.lock"}
    assert (world.checkout / "b.py").stat().st_mode & 0o100 and (world.checkout / "blob.bin").read_bytes() == b"\0other"


def test_log_says_that_a_pick_has_no_versions(world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with_pick(world)
    monkeypatch.setattr("tunefork.cli.patch.files.Layout.here", lambda: world.layout)
    assert main(["patch", "log", "fix-forty"]) == 2 and "it has no file, and no versions here" in capsys.readouterr().err
    assert main(["patch", "graph", "up", "--svg", str(world.root / "new" / "graph.svg")]) == 0 and (world.root / "new" / "graph.svg").is_file()
