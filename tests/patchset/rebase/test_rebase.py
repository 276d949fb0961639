"""tunefork/patchset/rebase/rebase.py: what becomes of each patch on another pin, and that nothing changes until all of it is decided."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from every_step import chosen, say_kills
from world import FILES, TRAILERS, World, filled, git

from tunefork.base.errors import BadInput, LockMismatch, PatchConflict, WorkAtRisk
from tunefork.base.layout import Layout
from tunefork.cli.main import main
from tunefork.patchset.checkout import repin
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export
from tunefork.patchset.checkout.status import status
from tunefork.patchset.rebase import rebase
from tunefork.patchset.rebase.rebase import Rebased
from tunefork.patchset.series import diff
from tunefork.patchset.series.lock import Lock
from tunefork.patchset.sources import packages, pins

LINES = FILES["a.py"].splitlines()


def lines(**changed: str) -> bytes:
    """a.py with some lines replaced: l5="text" ("" deletes)."""
    out = [changed.get(f"l{at}", line.decode()) for at, line in enumerate(LINES, 1)]
    return "".join(line + "\n" for line in out if line).encode()


def series(world: World, *patches: tuple[str, dict[str, bytes | None]], bodies: dict[str, str] | None = None) -> None:
    """Apply, commit each (subject, files) and export."""

    def fill(world: World) -> None:
        apply(world.layout, "up")
        for subject, files in patches:
            world.commit(files, subject, (bodies or {}).get(subject, "Why.\n\n" + TRAILERS))
        export(world.layout, "up")

    filled(world, fill, repr(patches), repr(bodies))


def upstream(world: World, files: dict[str, bytes | None], subject: str = "Upstream's", tag: str = "v2") -> str:
    """Commit files in the upstream and put a tag there."""
    for name, data in files.items():
        path = world.upstream / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink() if data is None else path.write_bytes(data)
    git(world.upstream, "add", "--all")
    git(world.upstream, "commit", "--quiet", "--allow-empty", "-m", subject)
    git(world.upstream, "tag", "--force", tag)
    return git(world.upstream, "rev-parse", "HEAD")


def everything(world: World) -> dict[str, object]:
    """All that a trial, an abort or a refusal must leave as it was."""
    return {
        "patches": {path.name: path.read_bytes() for path in world.series.iterdir()},
        "pins": world.layout.pins.read_bytes(),
        "work": sorted(path.name for path in world.layout.work.iterdir() if path.name not in (".locks", ".rebase")),
        "waiting": list((world.layout.work / ".rebase" / "up").glob("*")),
        "files": world.snapshot(),
        "refs": git(world.checkout, "for-each-ref"),
        "worktrees": git(world.checkout, "worktree", "list"),
        "head": git(world.checkout, "rev-parse", "HEAD"),
        "upstream": git(world.upstream, "for-each-ref"),
    }


def outcomes(found: Rebased) -> dict[str, str]:
    return {patch.name: patch.outcome for patch in found.patches}


def patch_of(found: Rebased, name: str) -> rebase.PatchOutcome:
    return next(patch for patch in found.patches if patch.name == name)


def consistent(world: World) -> None:
    """Pin, series, lock and checkout say the same, and export finds nothing to do."""
    apply(world.layout, "up")
    pin = pins.load(world.layout)["up"]
    lock = Lock.load(world.series)
    assert lock is not None and lock.base == pin.commit and list(lock.names) == world.names()
    assert git(world.checkout, "rev-parse", "refs/tunefork/pin") == pin.commit
    assert git(world.checkout, "merge-base", "--is-ancestor", pin.commit, "HEAD") == "" and git(world.checkout, "status", "--porcelain") == ""
    assert export(world.layout, "up", dry_run=True).same


@pytest.mark.slow
def test_the_same_pin_is_the_identity(world: World) -> None:
    series(world, ("Add", {"new.py": b"new\n"}), ("Five", {"a.py": lines(l5="five")}), ("Gone", {"b.py": None}), ("Mode", {"blob.bin": b"\0\1"}))
    before = everything(world)
    done = rebase.start(world.layout, "up", "v1")
    assert {(patch.outcome, patch.why, patch.range_diff) for patch in done.patches} == {("clean", "exact", "")}
    assert everything(world) == before
    consistent(world)


@pytest.mark.slow
def test_each_outcome(world: World) -> None:
    """Exact, merged, upstream, partly upstream and conflict in one series; a trial goes on after the conflict and changes nothing."""
    series(
        world,
        ("Exact", {"pkg/c.py": b"value = 4\n"}),
        ("Merged", {"a.py": lines(l5="five")}),
        ("Taken", {"b.py": FILES["b.py"].replace(b"return 1", b"return 10")}),
        ("Partly", {"a.py": lines(l5="five", l20="twenty", l40="forty")}),
        ("Clash", {"a.py": lines(l5="five", l20="twenty", l40="forty", l55="ours")}),
        ("After", {"run.sh": b"#!/bin/sh\necho after\n"}),
    )
    landed = upstream(world, {"b.py": FILES["b.py"].replace(b"return 1", b"return 10"), "a.py": lines(l20="twenty", l30="thirty", l55="theirs")}, "Squash")
    before = everything(world)
    found = rebase.check(world.layout, "up", "v2")
    assert outcomes(found) == {"exact": "clean", "merged": "clean", "taken": "upstream", "partly": "partly upstream", "clash": "conflict", "after": "clean"}
    assert patch_of(found, "exact").why == "exact" and patch_of(found, "merged").why == "merged: a.py"
    assert "1 of 2 hunks of a.py are in the new base already" in patch_of(found, "partly").why
    assert "a.py was changed upstream in the same lines" in patch_of(found, "clash").why
    assert "tried without clash, which conflicts" in patch_of(found, "after").why
    assert found.conflicts == ("clash",) and found.pin is None and found.no_history == ""
    assert [each.commit for each in patch_of(found, "clash").upstream_commits] == [landed]
    assert [each.commit for each in patch_of(found, "taken").upstream_commits] == [landed]
    assert patch_of(found, "exact").upstream_commits == () and patch_of(found, "merged").upstream_commits == ()
    assert patch_of(found, "partly").range_diff and not patch_of(found, "exact").range_diff
    assert everything(world) == before and list((world.layout.cache / "rebase").iterdir()) == []


@pytest.mark.slow
def test_what_is_upstream_is_dropped_and_the_rest_moves_in_one_step(world: World) -> None:
    series(world, ("Taken", {"a.py": lines(l5="five")}), ("Kept", {"a.py": lines(l5="five", l50="fifty")}), ("Other", {"new.py": b"1\n"}),
           bodies={"Kept": "Why.\n\nDepends-On: taken\n" + TRAILERS})  # fmt: skip
    old = git(world.checkout, "rev-parse", "HEAD")
    commit = upstream(world, {"a.py": lines(l5="five", l30="thirty")})
    done = rebase.start(world.layout, "up", "v2")
    assert outcomes(done) == {"taken": "upstream", "kept": "clean", "other": "clean"}
    assert "no longer depends on taken" in patch_of(done, "kept").why
    assert world.names() == ["kept", "other"] and not (world.series / "taken.patch").exists()
    assert b"Depends-On" not in (world.series / "kept.patch").read_bytes()
    pin = pins.load(world.layout)["up"]
    assert (pin.tag, pin.commit) == ("v2", commit) and done.pin == pin
    assert (world.checkout / "a.py").read_bytes() == lines(l5="five", l30="thirty", l50="fifty")
    assert git(world.checkout, "rev-parse", done.backup) == old
    assert git(world.checkout, "rev-parse", "HEAD^{tree}") == done.tree
    consistent(world)


@pytest.mark.slow
def test_patches_on_each_others_lines_are_found_from_the_last(world: World) -> None:
    """Merging from the bottom conflicts here: the first patch's line is not in the new base, the second's is."""
    series(world, ("First", {"a.py": lines(l5="first")}), ("Second", {"a.py": lines(l5="second")}), ("Third", {"a.py": lines(l5="second", l50="x")}))
    upstream(world, {"a.py": lines(l5="second", l30="thirty")})
    assert outcomes(rebase.check(world.layout, "up", "v2")) == {"first": "upstream", "second": "upstream", "third": "clean"}


@pytest.mark.slow
def test_a_patch_and_its_own_revert_survive(world: World) -> None:
    """The top-down search alone would drop the revert and keep what it reverts."""
    series(world, ("Change", {"a.py": lines(l5="x"), "pkg/c.py": b"y\n"}), ("Revert a", {"a.py": lines()}))
    upstream(world, {"b.py": b"else\n"})
    found = rebase.start(world.layout, "up", "v2")
    assert outcomes(found) == {"change": "clean", "revert-a": "clean"}
    assert (world.checkout / "a.py").read_bytes() == lines() and (world.checkout / "pkg/c.py").read_bytes() == b"y\n"


@pytest.mark.slow
def test_a_renamed_file_is_followed(world: World) -> None:
    series(world, ("Five", {"a.py": lines(l5="five")}), ("Six", {"a.py": lines(l5="five", l50="six")}))
    git(world.upstream, "mv", "a.py", "moved.py")
    upstream(world, {"moved.py": lines(l20="theirs"), "other.py": b"x\n"}, "Rename")
    done = rebase.start(world.layout, "up", "v2")
    assert outcomes(done) == {"five": "clean", "six": "clean"} and "a.py is now moved.py" in patch_of(done, "five").why
    assert (world.checkout / "moved.py").read_bytes() == lines(l5="five", l20="theirs", l50="six") and not (world.checkout / "a.py").exists()
    assert "## moved.py ##" in patch_of(done, "five").range_diff
    consistent(world)


def test_a_renamed_file_that_has_the_patch(world: World) -> None:
    series(world, ("Five", {"a.py": lines(l5="five")}))
    git(world.upstream, "mv", "a.py", "moved.py")
    upstream(world, {"moved.py": lines(l5="five", l30="more")})
    assert outcomes(rebase.check(world.layout, "up", "v2")) == {"five": "upstream"}


def test_merged_with_an_edit_is_a_question_for_a_person(world: World) -> None:
    """Upstream took the patch and changed a line of it: nothing is guessed, but it says how much is there and where it came from."""
    added = "one = 1\ntwo = 2\nthree = 3"
    series(world, ("Add three", {"a.py": lines(l5=added)}))
    landed = upstream(world, {"a.py": lines(l5=added.replace("two = 2", "two = 22"))}, "Add three (#7)")
    found = rebase.check(world.layout, "up", "v2")
    assert outcomes(found) == {"add-three": "conflict"} and "2 of the 3 lines it adds are in the new base already" in found.patches[0].why
    assert [each.commit for each in found.patches[0].upstream_commits] == [landed]


def test_merged_and_reverted_stays_ours(world: World) -> None:
    series(world, ("Five", {"a.py": lines(l5="five")}))
    landed = upstream(world, {"a.py": lines(l5="five")}, "Five, as sent")
    upstream(world, {"a.py": lines()}, f"Revert five\n\nThis reverts commit {landed}.")
    found = rebase.check(world.layout, "up", "v2")
    assert outcomes(found) == {"five": "clean"}
    assert found.patches[0].upstream_commits[0].commit == landed and found.patches[0].upstream_commits[0].same
    assert "upstream took it as" in found.patches[0].why and "reverted it in" in found.patches[0].why


def test_a_change_under_another_condition_is_not_this_patch(world: World) -> None:
    """git's patch-id leaves white space out: a line and the same line indented are one to it, and to `git rebase`."""
    series(world, ("Five", {"a.py": lines(l5="    five")}))
    landed = upstream(world, {"a.py": lines(l5="five")})
    found = rebase.check(world.layout, "up", "v2").patches[0]
    assert found.outcome == "conflict" and "upstream took it" not in found.why
    assert [(each.commit, each.same) for each in found.upstream_commits] == [(landed, False)]


def test_added_deleted_and_moved_files(world: World) -> None:
    series(world, ("Add same", {"same.py": b"same\n"}), ("Add elsewhere", {"here.py": b"text of the file\n"}), ("Add other", {"clash.py": b"ours\n"}),
           ("Delete gone", {"empty": None}), ("Delete changed", {"run.sh": None}), ("Edit gone", {"noeol.txt": b"edited\n"}))  # fmt: skip
    upstream(world, {"same.py": b"same\n", "there.py": b"text of the file\n", "clash.py": b"theirs\n", "empty": None, "run.sh": b"new\n", "noeol.txt": None})
    found = rebase.check(world.layout, "up", "v2")
    assert outcomes(found) == {"add-same": "upstream", "add-elsewhere": "upstream", "add-other": "conflict", "delete-gone": "upstream",
                               "delete-changed": "conflict", "edit-gone": "conflict"}  # fmt: skip
    assert "here.py is there as there.py" in patch_of(found, "add-elsewhere").why
    assert "noeol.txt is not in the new base" in patch_of(found, "edit-gone").why


@pytest.mark.slow
def test_binary_files_and_modes(world: World) -> None:
    series(world, ("Binary", {"blob.bin": b"\0ours" * 9}), ("Text", {"crlf.txt": b"one\r\nTWO\r\nthree\r\n"}))
    upstream(world, {"blob.bin": b"\0theirs" * 9, "crlf.txt": b"one\r\ntwo\r\nthree\r\nfour\r\nfive\r\nsix\r\n"})
    found = rebase.check(world.layout, "up", "v2")
    assert outcomes(found) == {"binary": "conflict", "text": "clean"} and "cannot be merged as text" in found.patches[0].why
    with pytest.raises(PatchConflict):
        rebase.start(world.layout, "up", "v2")
    parked = world.layout.checkout("up", "rebase")
    (parked / "blob.bin").write_bytes(b"\0both" * 9)
    git(parked, "add", "blob.bin")
    changed = patch_of(rebase.go_on(world.layout, "up"), "binary").range_diff  # where git range-diff alone writes "="
    before, after = (diff.blob_id(data * 9)[:12] for data in (b"\0ours", b"\0both"))
    assert " ! " in changed and f"blob.bin: binary {before} -> binary {after}" in changed


def clash(world: World) -> None:
    series(world, ("First", {"pkg/c.py": b"value = 4\n"}), ("Clash", {"a.py": lines(l5="ours")}), ("Last", {"a.py": lines(l5="ours", l50="last")}))
    upstream(world, {"a.py": lines(l5="theirs")})


@pytest.mark.slow
def test_a_conflict_parks_and_continue_finishes(world: World) -> None:
    clash(world)
    before = everything(world)
    with pytest.raises(PatchConflict, match=r"clash\.patch conflicts on v2: .*it waits in .*up@rebase") as caught:
        rebase.start(world.layout, "up", "v2")
    assert "rebase up --continue" in caught.value.remedy and "--abort" in caught.value.remedy
    parked = world.layout.checkout("up", "rebase") / "a.py"
    assert b"<<<<<<< tree\ntheirs\n||||||| what the patch was made from\nline 5\n=======\nours\n>>>>>>> clash.patch\n" in parked.read_bytes()
    now = everything(world)
    assert {key for key in before if before[key] != now[key]} == {"work", "waiting"}
    assert "a rebase waits in up@rebase" in status(world.layout, "up").drift[0]
    with pytest.raises(PatchConflict, match=r"a rebase waits in"):
        rebase.start(world.layout, "up", "v2")
    with pytest.raises(PatchConflict, match=r"conflict markers are left in a\.py"):
        rebase.go_on(world.layout, "up")
    parked.write_bytes(lines(l5="both"))
    done = rebase.go_on(world.layout, "up")
    assert outcomes(done) == {"first": "clean", "clash": "conflict", "last": "clean"} and "resolved by you" in patch_of(done, "clash").why
    assert (world.checkout / "a.py").read_bytes() == lines(l5="both", l50="last")
    assert b'From: "A. User"' in (world.series / "clash.patch").read_bytes() and b"+both" in (world.series / "clash.patch").read_bytes()
    assert not parked.exists() and not repin.folder(world.layout, "up").exists()
    consistent(world)


@pytest.mark.slow
def test_a_resolution_that_leaves_nothing_drops_the_patch(world: World) -> None:
    clash(world)
    with pytest.raises(PatchConflict):
        rebase.start(world.layout, "up", "v2")
    (world.layout.checkout("up", "rebase") / "a.py").write_bytes(lines(l5="theirs"))
    done = rebase.go_on(world.layout, "up")
    assert outcomes(done)["clash"] == "upstream" and "you left nothing of it" in patch_of(done, "clash").why
    assert world.names() == ["first", "last"]
    consistent(world)


@pytest.mark.slow
def test_a_patch_that_an_earlier_one_came_to_hold_is_empty(world: World) -> None:
    """Not upstream's: the resolution of an earlier patch does all of it."""
    clash(world)
    with pytest.raises(PatchConflict):
        rebase.start(world.layout, "up", "v2")
    (world.layout.checkout("up", "rebase") / "a.py").write_bytes(lines(l5="ours", l50="last"))
    done = rebase.go_on(world.layout, "up")
    assert outcomes(done)["last"] == "empty" and "earlier patches of the series do all of it" in patch_of(done, "last").why
    assert world.names() == ["first", "clash"]
    consistent(world)


@pytest.mark.slow
def test_a_conflict_in_a_renamed_file_is_parked_there(world: World) -> None:
    series(world, ("Five", {"a.py": lines(l5="ours")}))
    git(world.upstream, "mv", "a.py", "moved.py")
    upstream(world, {"moved.py": lines(l5="theirs")})
    with pytest.raises(PatchConflict):
        rebase.start(world.layout, "up", "v2")
    parked = world.layout.checkout("up", "rebase")
    assert b"<<<<<<< tree\ntheirs\n" in (parked / "moved.py").read_bytes() and not (parked / "a.py").exists()
    with pytest.raises(PatchConflict, match=r"conflict markers are left in moved\.py"):
        rebase.go_on(world.layout, "up")
    (parked / "moved.py").write_bytes(lines(l5="both"))
    rebase.go_on(world.layout, "up")
    consistent(world)


def test_abort_leaves_nothing(world: World) -> None:
    clash(world)
    before = everything(world)
    with pytest.raises(PatchConflict):
        rebase.start(world.layout, "up", "v2")
    rebase.abort(world.layout, "up")
    assert everything(world) == before
    with pytest.raises(BadInput, match="nothing to abort"):
        rebase.abort(world.layout, "up")
    with pytest.raises(BadInput, match="no rebase waits"):
        rebase.go_on(world.layout, "up")


def test_damaged_notes_of_a_rebase_say_so_and_abort_still_works(world: World) -> None:
    clash(world)
    with pytest.raises(PatchConflict):
        rebase.start(world.layout, "up", "v2")
    before = everything(world)
    (world.layout.work / ".rebase" / "up" / "progress.json").write_text('{"series": "x", "old": "y"}')
    with pytest.raises(BadInput, match=r"progress\.json is damaged: it lacks 'base'") as caught:
        rebase.go_on(world.layout, "up")
    assert "rebase up --abort" in caught.value.remedy and everything(world) == before
    rebase.abort(world.layout, "up")
    assert not (world.layout.work / ".rebase" / "up").exists()


def test_a_damaged_journal_of_the_last_step_stops_every_command_and_says_what_to_do(world: World) -> None:
    apply(world.layout, "up")
    journal = world.layout.work / ".rebase" / "up" / "journal.json"
    journal.parent.mkdir(parents=True)
    journal.write_text("{")
    with pytest.raises(BadInput, match=r"journal\.json is damaged") as caught:
        apply(world.layout, "up")
    assert f"rm {journal}" in caught.value.remedy
    journal.unlink()
    assert apply(world.layout, "up").changed == 0


def test_a_series_that_changed_meanwhile_is_not_gone_on_with(world: World) -> None:
    clash(world)
    with pytest.raises(PatchConflict):
        rebase.start(world.layout, "up", "v2")
    world.commit({"late.py": b"late\n"}, "Late")
    export(world.layout, "up")
    with pytest.raises(BadInput, match="the series or the pin changed"):
        rebase.go_on(world.layout, "up")


def test_work_in_no_patch_file_is_not_left_behind(world: World) -> None:
    series(world, ("Five", {"a.py": lines(l5="five")}))
    upstream(world, {"a.py": lines(l30="x")})
    (world.checkout / "b.py").write_bytes(b"edited\n")
    before = everything(world)
    with pytest.raises(WorkAtRisk, match="1 modified"):
        rebase.start(world.layout, "up", "v2")
    git(world.checkout, "commit", "--quiet", "-am", "Mine")
    with pytest.raises(WorkAtRisk, match="1 unexported"):
        rebase.start(world.layout, "up", "v2")
    git(world.checkout, "reset", "--quiet", "--soft", "HEAD^")
    (world.checkout / "b.py").write_bytes(FILES["b.py"])
    git(world.checkout, "add", "b.py")
    (world.checkout / "late.py").write_bytes(b"untracked\n")
    upstream(world, {"late.py": b"upstream's\n"})
    with pytest.raises(WorkAtRisk, match=r"untracked files .*late\.py"):
        rebase.start(world.layout, "up", "v2")
    assert everything(world)["patches"] == before["patches"] and everything(world)["pins"] == before["pins"]
    assert (world.checkout / "late.py").read_bytes() == b"untracked\n" and not repin.folder(world.layout, "up").exists()


@pytest.mark.slow
def test_a_checkout_beside_follows(world: World) -> None:
    series(world, ("Five", {"a.py": lines(l5="five")}), ("Fifty", {"a.py": lines(l5="five", l50="fifty")}))
    apply(world.layout, "up", "without:fifty", beside=True)
    upstream(world, {"a.py": lines(l30="x")})
    rebase.start(world.layout, "up", "v2")
    apply(world.layout, "up", "without:fifty", beside=True)
    assert (world.layout.checkout("up", "without-fifty") / "a.py").read_bytes() == lines(l5="five", l30="x")
    consistent(world)


@pytest.mark.slow
def test_without_a_checkout(world: World) -> None:
    series(world, ("Five", {"a.py": lines(l5="five")}))
    upstream(world, {"a.py": lines(l30="x")})
    shutil.rmtree(world.layout.work)
    rebase.start(world.layout, "up", "v2")
    consistent(world)
    assert (world.checkout / "a.py").read_bytes() == lines(l5="five", l30="x")


@pytest.mark.slow
@pytest.mark.parametrize("form", ["folder", "repository", "repository@ref", "commit"])
def test_what_to_takes(world: World, form: str, tmp_path: Path) -> None:
    series(world, ("Five", {"a.py": lines(l5="five")}))
    commit = upstream(world, {"a.py": lines(l30="x")})
    tree = tmp_path / "unpacked"
    git(world.upstream, "worktree", "add", "--quiet", "--detach", str(tree))
    (tree / ".git").unlink()
    to = {"folder": str(tree), "repository": str(world.upstream), "repository@ref": f"{world.upstream}@v2", "commit": commit}[form]
    found = rebase.check(world.layout, "up", to)
    assert outcomes(found) == {"five": "clean"} and (found.no_history == "a folder has no history") == (form == "folder")
    assert not (tree / ".git").exists()
    if form == "folder":
        with pytest.raises(BadInput, match="a pin needs a commit that others can fetch"):
            rebase.start(world.layout, "up", to)
        assert not repin.folder(world.layout, "up").exists()


@pytest.mark.parametrize(("to", "message"), [("v9", "has no v9"), ("/nowhere/at/all", "there is no such folder"), ("./gone", "no such folder")])
def test_a_base_that_is_not_there(world: World, to: str, message: str) -> None:
    series(world, ("Five", {"a.py": lines(l5="five")}))
    before = everything(world)
    for call in (rebase.check, rebase.start):
        with pytest.raises(BadInput, match=message) as caught:
            call(world.layout, "up", to)
        assert caught.value.remedy
    assert everything(world) == before


@pytest.mark.slow
def test_a_remote_gives_the_commits_since_the_pin(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not on this machine: the commits between the pins are fetched, and only they."""
    series(world, ("Five", {"a.py": lines(l5="five")}))
    landed = upstream(world, {"a.py": lines(l5="five")}, "Five, as sent")
    upstream(world, {"b.py": b"other\n"})
    monkeypatch.setattr("tunefork.patchset.rebase.newbase.local_repository", lambda _url: None)
    found = rebase.check(world.layout, "up", "v2")
    assert outcomes(found) == {"five": "upstream"} and found.no_history == ""
    assert [each.commit for each in found.patches[0].upstream_commits] == [landed] and found.patches[0].upstream_commits[0].same
    assert outcomes(rebase.start(world.layout, "up", "v2")) == {"five": "upstream"}
    consistent(world)


def test_an_edited_patch_is_refused(world: World) -> None:
    series(world, ("Five", {"a.py": lines(l5="five")}))
    upstream(world, {})
    (world.series / "five.patch").write_bytes((world.series / "five.patch").read_bytes().replace(b"+five", b"+hand"))
    with pytest.raises(LockMismatch, match="is not the file that series.lock records"):
        rebase.check(world.layout, "up", "v2")


KILLER = Path(__file__).parents[1] / "killer.py"


def killed(world: World, at: int, call: str) -> bool:
    """Run a call and kill it at a step; False when it ended before."""
    done = subprocess.run([sys.executable, str(KILLER), str(at), str(world.root), str(world.layout.cache), call], capture_output=True, check=False)
    assert done.returncode in (0, -signal.SIGKILL), done.stderr.decode()
    return done.returncode != 0


@pytest.mark.slow
def test_killed_anywhere_it_is_before_or_after(world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """In a copy each time: what the next apply finds is the old pin whole or the new pin whole."""
    series(world, ("Taken", {"a.py": lines(l5="five")}), ("Kept", {"a.py": lines(l5="five", l50="fifty")}))
    upstream(world, {"a.py": lines(l5="five", l30="thirty")})
    old = {"pins": world.layout.pins.read_bytes(), "names": world.names(), "file": (world.checkout / "a.py").read_bytes()}
    seen, killed_times, at = set(), 0, 0
    for at in chosen(3):
        copy = World(Layout(tmp_path / f"copy{at}", tmp_path / "caches" / str(at)), world.upstream)
        shutil.copytree(world.root, copy.root, symlinks=True)
        if not killed(copy, at, "rebase.start(layout, 'up', 'v2')"):
            break
        killed_times += 1
        apply(copy.layout, "up")
        is_old = copy.layout.pins.read_bytes() == old["pins"]
        seen.add(is_old)
        assert copy.names() == (old["names"] if is_old else ["kept"])
        assert (copy.checkout / "a.py").read_bytes() == (old["file"] if is_old else lines(l5="five", l30="thirty", l50="fifty"))
        consistent(copy)
        if is_old:
            rebase.start(copy.layout, "up", "v2")
            consistent(copy)
        shutil.rmtree(copy.root)
    say_kills(capfd, "rebase", killed_times, at)
    assert seen == {True, False}


def sdist_archive(folder: Path, version: str, files: dict[str, bytes]) -> None:
    """A source distribution of package ``up`` in a folder that pip finds it in."""
    import io
    import tarfile

    packaged = {**files, "PKG-INFO": f"Metadata-Version: 2.1\nName: up\nVersion: {version}\n".encode(), "pyproject.toml": b"[build-system]\nrequires = []\n"
                b"build-backend = 'setuptools.build_meta'\n"}  # fmt: skip
    with tarfile.open(folder / f"up-{version}.tar.gz", "w:gz") as tar:
        for name, data in packaged.items():
            info = tarfile.TarInfo(f"up-{version}/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.slow
def test_a_source_distribution(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its hash is trusted once and written down; its tag's commit is asked of git, or of the user where git does not answer."""
    index = tmp_path / "index"
    index.mkdir()
    sdist_archive(index, "1.0.0", FILES)
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    _, sha256 = packages.first_download("up", "1.0.0", kind="sdist", into=world.layout.cache / "downloads", say=lambda _line: None)
    text = world.layout.pins.read_text().replace('"v1"', '"v1.0.0"').replace('"1.0"', '"1.0.0"') + (
        f'\n# why this\n[upstreams.up.sdist]\nname = "up"\nversion = "1.0.0"\nsha256 = "{sha256}"\ncommit = "{"0" * 40}"\n'
        'added = ["PKG-INFO", "pyproject.toml"]\n')  # fmt: skip
    world.layout.pins.write_text(text)
    git(world.upstream, "tag", "v1.0.0", "v1")
    series(world, ("Five", {"a.py": lines(l5="five")}))
    sdist_archive(index, "1.1.0", {**FILES, "a.py": lines(l30="thirty")})
    commit = upstream(world, {"a.py": lines(l30="thirty")}, tag="v1.1.0")
    found = rebase.check(world.layout, "up", "1.1.0")
    assert outcomes(found) == {"five": "clean"} and found.no_history == "a source distribution has no history" and len(found.sha256) == 64
    assert found.patches[0].upstream_commits == ()
    hidden = world.upstream.rename(tmp_path / "hidden")
    with pytest.raises(BadInput, match="does not say which commit v1.1.0 is") as caught:
        rebase.start(world.layout, "up", "1.1.0")
    assert "--commit" in caught.value.remedy
    done = rebase.start(world.layout, "up", "1.1.0", commit=commit)
    assert any("as you said" in note for note in done.notes) and any(found.sha256 in note for note in done.notes)
    pin = pins.load(world.layout)["up"]
    assert pin.sdist is not None
    assert (pin.tag, pin.version, pin.commit, pin.sdist.sha256, pin.sdist.version) == ("v1.1.0", "1.1.0", commit, found.sha256, "1.1.0")
    assert "# why this" in world.layout.pins.read_text()
    assert (world.checkout / "a.py").read_bytes() == lines(l5="five", l30="thirty")
    hidden.rename(world.upstream)
    shutil.rmtree(world.layout.work)
    shutil.rmtree(world.layout.cache)
    apply(world.layout, "up")  # from git: the same lock holds for either source
    assert (world.checkout / "a.py").read_bytes() == lines(l5="five", l30="thirty")


@pytest.mark.slow
def test_a_source_distribution_that_names_its_commit(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where git does not answer, its abbreviation is the pin; another commit is refused; git completes it later."""
    index = tmp_path / "index"
    index.mkdir()
    sdist_archive(index, "1.0.0", FILES)
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    _, sha256 = packages.first_download("up", "1.0.0", kind="sdist", into=world.layout.cache / "downloads", say=lambda _line: None)
    world.layout.pins.write_text(world.layout.pins.read_text().replace('"v1"', '"v1.0.0"').replace('"1.0"', '"1.0.0"') + (
        f'\n[upstreams.up.sdist]\nname = "up"\nversion = "1.0.0"\nsha256 = "{sha256}"\ncommit = "{"0" * 40}"\n'
        'added = ["PKG-INFO", "pyproject.toml", "up/_version.py"]\n'))  # fmt: skip
    git(world.upstream, "tag", "v1.0.0", "v1")
    series(world, ("Five", {"a.py": lines(l5="five")}))
    commit = upstream(world, {"a.py": lines(l30="thirty")}, tag="v1.1.0")
    named = f"__commit_id__ = commit_id = 'g{commit[:9]}'\n".encode()
    sdist_archive(index, "1.1.0", {**FILES, "a.py": lines(l30="thirty"), "up/_version.py": named})
    hidden = world.upstream.rename(tmp_path / "hidden")
    with pytest.raises(BadInput, match=f"you say commit 000000000000, the source distribution says that it is of {commit[:9]}"):
        rebase.start(world.layout, "up", "1.1.0", commit="0" * 40)
    done = rebase.start(world.layout, "up", "1.1.0")
    assert any(f"commit {commit[:9]}, as the source distribution abbreviates it" in note for note in done.notes)
    assert pins.load(world.layout)["up"].commit == commit[:9]
    assert (world.checkout / "a.py").read_bytes() == lines(l5="five", l30="thirty")
    assert status(world.layout, "up").drift == ()
    hidden.rename(world.upstream)
    shutil.rmtree(world.layout.work)
    shutil.rmtree(world.layout.cache)
    assert apply(world.layout, "up").source == "git"  # by the tag, which must begin so
    assert status(world.layout, "up").drift == ()
    rebase.start(world.layout, "up", "v1.1.0")
    assert pins.load(world.layout)["up"].commit == commit
    consistent(world)


@pytest.mark.slow
@pytest.mark.parametrize("served", [True, False])
def test_a_tag_takes_its_source_distribution_along(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, served: bool) -> None:
    """What the tag lacks is what packaging added; where the index has none, the table goes and the report says so."""
    index = tmp_path / "index"
    index.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    if served:
        sdist_archive(index, "1.1.0", {**FILES, "a.py": lines(l30="thirty"), "generated.py": b"made by packaging\n"})
    text = world.layout.pins.read_text().replace('"v1"', '"v1.0.0"').replace('"1.0"', '"1.0.0"') + (
        f'\n# why this\n[upstreams.up.sdist]\nname = "up"\nversion = "1.0.0"\nsha256 = "{"0" * 64}"\ncommit = "{"0" * 40}"\n'
        'added = ["PKG-INFO", "pyproject.toml"]\n')  # fmt: skip
    world.layout.pins.write_text(text)
    git(world.upstream, "tag", "v1.0.0", "v1")
    series(world, ("Five", {"a.py": lines(l5="five")}))
    upstream(world, {"a.py": lines(l30="thirty")}, tag="v1.1.0")
    done = rebase.start(world.layout, "up", "v1.1.0")
    pin = pins.load(world.layout)["up"]
    consistent(world)
    if not served:
        assert pin.sdist is None and any("not pinned any more" in note for note in done.notes)
        return
    assert pin.sdist is not None and pin.sdist.added == ("PKG-INFO", "pyproject.toml", "generated.py")
    world.upstream.rename(tmp_path / "hidden")
    shutil.rmtree(world.layout.work)
    shutil.rmtree(world.layout.cache)
    assert apply(world.layout, "up").source == "sdist"
    assert git(world.checkout, "rev-parse", "HEAD^{tree}") == done.tree


@pytest.mark.slow
def test_the_command(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clash(world)
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    assert main(["rebase", "up", "--to", "v2", "--check", "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert [(each["name"], each["outcome"]) for each in data["patches"]] == [("first", "clean"), ("clash", "conflict"), ("last", "clean")]
    assert data["patches"][1]["upstream_commits"][0]["subject"] == "Upstream's"
    assert main(["rebase", "up"]) == 2 and main(["rebase", "up", "--continue", "--abort"]) == 2
    assert main(["rebase", "up", "--to", "v2"]) == 7
    (world.layout.checkout("up", "rebase") / "a.py").write_bytes(lines(l5="both"))
    assert main(["rebase", "up", "--continue"]) == 0
    out = capsys.readouterr().out
    assert "went from v1 to v2" in out and "resolved by you" in out and "refs/tunefork/backup/" in out
    assert tomllib.loads(world.layout.pins.read_text())["upstreams"]["up"]["tag"] == "v2"
