"""What an abort, a discard and a drop give up is kept, named, shown, brought back and pruned by one command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_park import LINES, conflicting, lines, parked_path
from world import World, git

from tunefork.base.errors import PatchConflict, WorkAtRisk
from tunefork.cli.main import main
from tunefork.patchset.checkout import backups, park
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export
from tunefork.patchset.rebase import rebase

pytestmark = pytest.mark.slow


def say_to(said: list[str]):
    return said.append


@pytest.fixture
def parked(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A series whose patch `second` is parked."""
    conflicting(world)
    with pytest.raises(PatchConflict):
        park.lock_or_park(world.layout, "up")
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    return world


@pytest.fixture
def rebasing(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A rebase to v2 in which `one`, then `two` conflict; the first waits."""
    apply(world.layout, "up")
    world.commit({"a.py": lines(l5="one")}, "One")
    world.commit({"a.py": lines(l5="one", l50="two")}, "Two")
    export(world.layout, "up")
    (world.upstream / "a.py").write_bytes(lines(l5="theirs", l50="theirs"))
    git(world.upstream, "commit", "--quiet", "--all", "-m", "v2")
    git(world.upstream, "tag", "v2")
    with pytest.raises(PatchConflict):
        rebase.start(world.layout, "up", "v2")
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    return world


def waiting(world: World) -> Path:
    return world.layout.checkout("up", "rebase")


# -- untracked files are nobody's patch ------------------------------------------------------------------------


def test_apply_continue_takes_no_untracked_file(parked: World) -> None:
    (parked_path(parked) / "a.py").write_bytes(lines(l5="both"))
    (parked_path(parked) / ".env").write_text("HF_TOKEN=x\n")
    with pytest.raises(WorkAtRisk, match=r"up@parked has untracked files.*\.env") as caught:
        park.go_on(parked.layout, "up")
    assert "git add" in caught.value.remedy and (parked_path(parked) / ".env").exists()
    (parked_path(parked) / ".env").unlink()
    park.go_on(parked.layout, "up")
    assert not any(b".env" in path.read_bytes() for path in parked.series.glob("*.patch"))


def test_apply_continue_takes_a_file_that_was_added(parked: World) -> None:
    (parked_path(parked) / "a.py").write_bytes(lines(l5="both"))
    (parked_path(parked) / "more.py").write_text("1\n")
    git(parked_path(parked), "add", "more.py")
    park.go_on(parked.layout, "up")
    assert b"more.py" in (parked.series / "second.patch").read_bytes()


def test_rebase_continue_takes_no_untracked_file(rebasing: World) -> None:
    (waiting(rebasing) / "a.py").write_bytes(lines(l5="both", l50="theirs"))
    (waiting(rebasing) / ".env").write_text("HF_TOKEN=x\n")
    with pytest.raises(WorkAtRisk, match=r"up@rebase has untracked files.*\.env"):
        rebase.go_on(rebasing.layout, "up")
    (waiting(rebasing) / ".env").unlink()
    with pytest.raises(PatchConflict, match=r"two\.patch conflicts"):
        rebase.go_on(rebasing.layout, "up")


# -- nothing that was resolved is lost --------------------------------------------------------------------------


def test_apply_abort_keeps_what_was_resolved(parked: World) -> None:
    (parked_path(parked) / "a.py").write_bytes(lines(l5="my resolution"))
    said: list[str] = []
    ref = park.abort(parked.layout, "up", say=say_to(said))
    assert git(parked.checkout, "show", f"{ref}:a.py").splitlines()[4] == "my resolution"
    assert any(f"build.py backup {ref.rpartition('/')[2]}" in line for line in said)


def test_an_abort_of_nothing_keeps_nothing(parked: World) -> None:
    assert park.abort(parked.layout, "up") == "" and backups.every(parked.layout) == []


def test_rebase_abort_keeps_the_worktree(rebasing: World) -> None:
    (waiting(rebasing) / "a.py").write_bytes(lines(l5="my resolution"))
    ref = rebase.abort(rebasing.layout, "up")
    assert git(rebasing.checkout, "show", f"{ref}:a.py").splitlines()[4] == "my resolution"
    git(rebasing.checkout, "fsck", "--strict")


def test_rebase_abort_after_a_continue_keeps_what_was_taken(rebasing: World) -> None:
    (waiting(rebasing) / "a.py").write_bytes(lines(l5="my resolution", l50="theirs"))
    with pytest.raises(PatchConflict, match="two"):
        rebase.go_on(rebasing.layout, "up")
    ref = rebase.abort(rebasing.layout, "up")
    assert git(rebasing.checkout, "show", f"{ref}:a.py").splitlines()[4] == "my resolution"
    assert git(rebasing.checkout, "log", "--format=%s", "-1", ref) == "One"


def test_rebase_abort_of_nothing_keeps_nothing(rebasing: World) -> None:
    assert rebase.abort(rebasing.layout, "up") == "" and backups.every(rebasing.layout) == []


def test_edit_abort_after_a_continue_keeps_the_edit(world: World) -> None:
    from tunefork.patchset.author import edit

    apply(world.layout, "up")
    world.commit({"a.py": lines(l5="one")}, "One")
    world.commit({"a.py": lines(l5="two")}, "Two")
    export(world.layout, "up")
    edit.start(world.layout, "up", "one")
    (world.layout.checkout("up", "edit") / "a.py").write_bytes(lines(l5="my edit"))
    with pytest.raises(PatchConflict, match="two"):
        edit.go_on(world.layout, "up")
    ref = edit.abort(world.layout, "up")
    assert git(world.checkout, "show", f"{ref}:a.py").splitlines()[4] == "my edit"


# -- the command ------------------------------------------------------------------------------------------------


def test_backups_are_listed_shown_restored_and_pruned(parked: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (parked_path(parked) / "a.py").write_bytes(lines(l5="my resolution"))
    assert main(["apply", "--abort", "--json"]) == 0
    ref = json.loads(capsys.readouterr().out)["upstreams"][0]["backup"]
    name = ref.rpartition("/")[2]
    assert main(["backup"]) == 0 and name in capsys.readouterr().out
    assert main(["backup", name]) == 0 and "+my resolution" in capsys.readouterr().out
    before = parked.snapshot()
    assert main(["backup", name[:15], "--restore"]) == 0
    place = parked.layout.checkout("up", f"backup-{name}")
    assert str(place) in capsys.readouterr().out and (place / "a.py").read_bytes().splitlines()[4] == b"my resolution" and parked.snapshot() == before
    assert main(["backup", name, "--restore"]) == 3  # what is there is not written over
    capsys.readouterr()
    assert main(["backup", "--prune", "30", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"backups": [], "deleted": True}
    old = f"refs/tunefork/backup/20200101T000000-{name[-8:]}"
    git(parked.checkout, "update-ref", old, ref)
    assert main(["backup", "--prune", "30", "--dry-run", "--json"]) == 0
    assert [each["ref"] for each in json.loads(capsys.readouterr().out)["backups"]] == [old]
    assert main(["backup", "--prune", "30"]) == 0
    assert git(parked.checkout, "for-each-ref", "--format=%(refname)", "refs/tunefork/backup") == ref


@pytest.mark.parametrize("words", [["nothing"], ["--restore"], ["x", "--prune", "3"], ["--dry-run"], ["--upstream", "nobody"]])
def test_mistakes(parked: World, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backup", *words]) == 2 and "backup" in capsys.readouterr().err + "backup"


def test_a_dropped_patch_is_a_backup_too(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    apply(world.layout, "up")
    world.commit({"a.py": b"".join(LINES) + b"more\n"}, "More")
    export(world.layout, "up")
    assert main(["patch", "drop", "more"]) == 0
    found, = backups.every(world.layout)
    assert found.name.endswith("/more") and found.what == "More" and found.files == 1
    assert main(["backup", found.name, "--restore"]) == 0


# -- what git was told not to look at ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["parked", "rebasing"])
def test_ignored_files_of_a_worktree_are_named_before_they_go(kind: str, request: pytest.FixtureRequest) -> None:
    world: World = request.getfixturevalue(kind)
    here = parked_path(world) if kind == "parked" else waiting(world)
    common = Path(git(here, "rev-parse", "--path-format=absolute", "--git-common-dir"))
    (common / "info").mkdir(exist_ok=True)
    (common / "info" / "exclude").write_text("*.log\nbuild/\n")
    (here / "my.log").write_bytes(b"ignored\n")
    (here / "build").mkdir()
    (here / "build" / "x.o").write_bytes(b"ignored\n")
    (here / "notes.txt").write_bytes(b"kept\n")
    said: list[str] = []
    ref = (park.abort if kind == "parked" else rebase.abort)(world.layout, "up", say=said.append)
    assert any(line.endswith("git ignores build/, my.log: not kept") for line in said), said
    assert git(world.checkout, "show", f"{ref}:notes.txt") == "kept" and not here.exists()
