"""tunefork/patchset/checkout/park.py: a patch that does not match waits in its own worktree, and nothing else is touched until it is resolved or dropped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from every_step import chosen, say_kills
from world import FILES, World, git

from tunefork.base.errors import BadInput, PatchConflict
from tunefork.patchset.checkout import park
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export
from tunefork.patchset.checkout.status import status
from tunefork.patchset.series.lock import Lock

pytestmark = pytest.mark.slow

LINES = FILES["a.py"].splitlines(keepends=True)


def lines(**changed: str) -> bytes:
    """a.py with some lines replaced: l5="text"."""
    return b"".join(changed.get(f"l{at}", line.decode().rstrip()).encode() + b"\n" for at, line in enumerate(LINES, 1))


def conflicting(world: World) -> None:
    """A series [first, second, third] whose first patch was dropped by hand: second (a.py, line 5) and third (line 50) were made on it."""
    apply(world.layout, "up")
    world.commit({"a.py": lines(l5="first"), "other.txt": b"x\n"}, "First")
    world.commit({"a.py": lines(l5="second"), "b.py": b"second\n"}, "Second")
    world.commit({"a.py": lines(l5="second", l50="third")}, "Third")
    export(world.layout, "up")
    (world.series / "series").write_text("second.patch\nthird.patch\n")
    (world.series / "first.patch").unlink()


def leave(world: World) -> dict[str, object]:
    """All that an abort must leave as it was."""
    repository = world.checkout / ".git"
    return {
        "patches": {path.name: path.read_bytes() for path in world.series.iterdir()},
        "work": sorted(path.name for path in world.layout.work.iterdir()),
        "files": world.snapshot(),
        "refs": git(world.checkout, "for-each-ref"),
        "worktrees": git(world.checkout, "worktree", "list"),
        "admin": sorted(path.name for path in (repository / "worktrees").iterdir()) if (repository / "worktrees").exists() else [],
        "notes": {path.name: path.read_bytes() for path in (repository / "tunefork").iterdir() if path.is_file()},
        "head": git(world.checkout, "rev-parse", "HEAD"),
    }


def parked_path(world: World) -> Path:
    return world.layout.checkout("up", "parked")


def test_a_mismatch_is_parked_with_markers(world: World) -> None:
    conflicting(world)
    with pytest.raises(PatchConflict, match=r"second\.patch does not match: a\.py conflicts with .* it waits in .*up@parked") as caught:
        park.lock_or_park(world.layout, "up")
    assert "--continue" in caught.value.remedy and "--abort" in caught.value.remedy
    text = (parked_path(world) / "a.py").read_text()
    assert "<<<<<<< tree\nline 5\n||||||| what the patch was made from\nfirst\n=======\nsecond\n>>>>>>> second.patch\n" in text
    assert (parked_path(world) / "b.py").read_bytes() == b"second\n"  # what matches is done
    assert git(world.checkout, "status", "--porcelain") == "" and (world.checkout / "a.py").read_bytes() == lines(l5="second", l50="third")
    shown = status(world.layout, "up")
    assert shown.parked == "second" and {patch.name: patch.state for patch in shown.patches}["second"] == "parked"


def test_while_parked_nothing_else_is_applied(world: World) -> None:
    conflicting(world)
    with pytest.raises(PatchConflict):
        park.lock_or_park(world.layout, "up")
    for call in (lambda: apply(world.layout, "up"), lambda: apply(world.layout, "up", "base", beside=True), lambda: park.lock_or_park(world.layout, "up")):
        with pytest.raises(PatchConflict, match="a patch is parked in .*up@parked") as caught:
            call()
        assert "--continue" in caught.value.remedy and "--abort" in caught.value.remedy


def test_continue_wants_the_markers_gone(world: World) -> None:
    conflicting(world)
    with pytest.raises(PatchConflict):
        park.lock_or_park(world.layout, "up")
    before = leave(world)
    with pytest.raises(PatchConflict, match=r"conflict markers are left in a\.py") as caught:
        park.go_on(world.layout, "up")
    assert str(parked_path(world)) in caught.value.remedy
    assert leave(world) == before
    for name in ("a.py", "b.py"):
        (parked_path(world) / name).write_bytes(FILES[name])
    with pytest.raises(PatchConflict, match="nothing is left of it"):
        park.go_on(world.layout, "up")
    assert leave(world) == before


def test_a_resolved_patch_is_taken_locked_and_applied(world: World) -> None:
    conflicting(world)
    with pytest.raises(PatchConflict):
        park.lock_or_park(world.layout, "up")
    (parked_path(world) / "a.py").write_bytes(lines(l5="second"))  # the same content as before: third fits again
    done = park.go_on(world.layout, "up")
    assert [(patch.name, patch.state) for patch in done.patches] == [("second", "applied"), ("third", "applied")]
    assert (world.checkout / "a.py").read_bytes() == lines(l5="second", l50="third") and not (world.checkout / "other.txt").exists()
    assert b"-line 5\n+second\n" in (world.series / "second.patch").read_bytes()
    assert b"\nSubject: Second\n" in (world.series / "second.patch").read_bytes() and b"A. User" in (world.series / "second.patch").read_bytes()
    lock = Lock.load(world.series)
    assert lock is not None and lock.names == ("second", "third")
    assert not parked_path(world).exists() and park.find(world.layout, "up") is None
    assert "parked" not in git(world.checkout, "worktree", "list")
    assert export(world.layout, "up", dry_run=True).same and apply(world.layout, "up").changed == 0


def test_a_second_mismatch_is_parked_in_turn(world: World) -> None:
    conflicting(world)
    with pytest.raises(PatchConflict):
        park.lock_or_park(world.layout, "up")
    (parked_path(world) / "a.py").write_bytes(lines(l5="second", l49="near", l51="by"))
    with pytest.raises(PatchConflict, match=r"third\.patch does not match") as caught:
        park.go_on(world.layout, "up")
    assert "--continue" in caught.value.remedy and park.find(world.layout, "up").patch == "third"  # type: ignore[union-attr]
    assert b"<<<<<<< tree" in (parked_path(world) / "a.py").read_bytes()
    (parked_path(world) / "a.py").write_bytes(lines(l5="second", l49="near", l50="third", l51="by"))
    park.go_on(world.layout, "up")
    assert (world.checkout / "a.py").read_bytes() == lines(l5="second", l49="near", l50="third", l51="by")
    assert export(world.layout, "up", dry_run=True).same


def test_abort_leaves_nothing_behind(world: World) -> None:
    conflicting(world)
    before = leave(world)
    with pytest.raises(PatchConflict):
        park.lock_or_park(world.layout, "up")
    assert leave(world) != before
    park.abort(world.layout, "up")
    assert leave(world) == before
    with pytest.raises(BadInput, match="nothing to abort"):
        park.abort(world.layout, "up")
    with pytest.raises(BadInput, match="no patch is parked"):
        park.go_on(world.layout, "up")


def test_without_the_preimage_each_hunk_is_marked(world: World) -> None:
    """A fresh clone has never had the blobs that the patch was made from."""
    conflicting(world)
    shutil.rmtree(world.root / "work")
    shutil.rmtree(world.layout.cache)
    (world.series / "third.patch").write_bytes((world.series / "second.patch").read_bytes())  # not reached
    with pytest.raises(PatchConflict, match=r"second\.patch does not match"):
        park.lock_or_park(world.layout, "up")
    text = (parked_path(world) / "a.py").read_text()
    assert "<<<<<<< tree\nline 2\nline 3\nline 4\nline 5\nline 6\nline 7\nline 8\n=======\nline 2\nline 3\nline 4\nsecond\n" in text
    assert text.startswith("line 1\n") and text.endswith("line 59\nline 60\n")


def rewritten(world: World, upstream: dict[str, bytes | None], patch: dict[str, bytes | None]) -> None:
    """A series [under, over]: over was made on the pin, under comes before it and changes the same files."""
    apply(world.layout, "up")
    world.commit(patch, "Over")
    export(world.layout, "up")
    over = (world.series / "over.patch").read_bytes()
    git(world.checkout, "checkout", "--quiet", "tunefork/base")
    apply(world.layout, "up", "base")
    world.commit(upstream, "Under")
    (world.series / "over.patch").unlink()
    (world.series / "series").write_text("")
    (world.series / "series.lock").unlink()
    export(world.layout, "up")
    (world.series / "over.patch").write_bytes(over)
    (world.series / "series").write_text("under.patch\nover.patch\n")


def test_two_patches_that_add_one_file(world: World) -> None:
    rewritten(world, {"new.txt": b"under\n"}, {"new.txt": b"over\n"})
    with pytest.raises(PatchConflict, match=r"it adds new\.txt, but new\.txt is already there"):
        park.lock_or_park(world.layout, "up")
    assert (parked_path(world) / "new.txt").read_bytes() == b"<<<<<<< tree\nunder\n=======\nover\n>>>>>>> over.patch\n"
    (parked_path(world) / "new.txt").write_bytes(b"both\n")
    park.go_on(world.layout, "up")
    assert (world.checkout / "new.txt").read_bytes() == b"both\n"


def test_a_deletion_of_what_changed_is_not_done_silently(world: World) -> None:
    rewritten(world, {"b.py": b"changed\n"}, {"b.py": None})
    with pytest.raises(PatchConflict, match=r"b\.py is blob"):
        park.lock_or_park(world.layout, "up")
    assert (parked_path(world) / "b.py").read_bytes() == b"<<<<<<< tree\nchanged\n=======\n>>>>>>> over.patch\n"
    with pytest.raises(PatchConflict, match=r"markers are left in b\.py"):
        park.go_on(world.layout, "up")
    (parked_path(world) / "b.py").unlink()
    park.go_on(world.layout, "up")
    assert not (world.checkout / "b.py").exists()


def test_a_change_of_what_was_deleted(world: World) -> None:
    rewritten(world, {"b.py": None}, {"b.py": FILES["b.py"].replace(b"return 2", b"return 3")})
    with pytest.raises(PatchConflict, match=r"b\.py is not in the tree"):
        park.lock_or_park(world.layout, "up")
    assert b"<<<<<<< " in (parked_path(world) / "b.py").read_bytes() and b"return 3" in (parked_path(world) / "b.py").read_bytes()


@pytest.mark.parametrize("side", ["--ours", "--theirs"])
def test_a_binary_conflict_wants_a_choice(world: World, side: str) -> None:
    ours, theirs = bytes(range(256)), bytes(reversed(range(256)))
    rewritten(world, {"blob.bin": ours, "b.py": b"under\n"}, {"blob.bin": theirs, "a.py": lines(l5="over")})
    with pytest.raises(PatchConflict, match=r"blob\.bin conflicts with"):
        park.lock_or_park(world.layout, "up")
    assert (parked_path(world) / "blob.bin").read_bytes() == ours
    with pytest.raises(PatchConflict, match=r"blob\.bin cannot be merged as text, and no side is chosen") as caught:
        park.go_on(world.layout, "up")
    assert "--theirs" in caught.value.remedy
    git(parked_path(world), "checkout", side, "blob.bin")
    git(parked_path(world), "add", "blob.bin")
    park.go_on(world.layout, "up")
    assert (world.checkout / "blob.bin").read_bytes() == (ours if side == "--ours" else theirs)
    assert (world.checkout / "a.py").read_bytes() == lines(l5="over")


def test_what_matches_beside_a_conflict_is_kept_exactly(world: World) -> None:
    """Modes, links, renames and odd names of a parked patch."""
    apply(world.layout, "up")
    world.commit({"b.py": b"under\n"}, "Under")
    for link, target in (("link", "a.py"), ("dangling", "/nowhere/at all")):
        (world.checkout / link).symlink_to(target)
    (world.checkout / "run.sh").chmod(0o755)
    (world.checkout / "blob.bin").rename(world.checkout / "moved \"q\"\tü.bin")
    (world.checkout / "b.py").write_bytes(b"over\n")
    git(world.checkout, "add", "--all")
    git(world.checkout, "commit", "--quiet", "-m", "Over")
    wanted = git(world.checkout, "ls-tree", "-r", "HEAD")
    export(world.layout, "up")
    path = world.series / "over.patch"
    path.write_bytes(path.read_bytes().replace(b"-under\n", b"-UNDER\n"))  # a hand edit that breaks one hunk
    with pytest.raises(PatchConflict, match=r"b\.py: hunk 1 does not match"):
        park.lock_or_park(world.layout, "up")
    assert (parked_path(world) / "link").readlink() == Path("a.py") and not (parked_path(world) / "blob.bin").exists()
    (parked_path(world) / "b.py").write_bytes(b"over\n")
    park.go_on(world.layout, "up")
    assert git(world.checkout, "ls-tree", "-r", "HEAD") == wanted


def test_nothing_is_written_through_a_link(world: World, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious\n")
    apply(world.layout, "up")
    (world.checkout / "b.py").unlink()
    (world.checkout / "b.py").symlink_to(outside)
    git(world.checkout, "add", "--all")
    git(world.checkout, "commit", "--quiet", "-m", "Link")
    world.commit({"c.py": b"x\n"}, "Over")
    export(world.layout, "up")
    path = world.series / "over.patch"
    path.write_bytes(path.read_bytes().replace(b"/c.py", b"/b.py"))
    with pytest.raises(PatchConflict, match=r"it adds b\.py"):
        park.lock_or_park(world.layout, "up")
    assert outside.read_bytes() == b"precious\n"


def test_a_parked_worktree_that_is_gone(world: World) -> None:
    conflicting(world)
    before = leave(world)
    with pytest.raises(PatchConflict):
        park.lock_or_park(world.layout, "up")
    shutil.rmtree(parked_path(world))
    with pytest.raises(PatchConflict, match="up@parked is gone") as caught:
        park.go_on(world.layout, "up")
    assert "--abort" in caught.value.remedy
    park.abort(world.layout, "up")
    assert leave(world) == before


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"patch": "second"}'])
def test_damaged_notes_can_be_aborted(world: World, damage: str) -> None:
    conflicting(world)
    before = leave(world)
    with pytest.raises(PatchConflict):
        park.lock_or_park(world.layout, "up")
    park.parking(world.layout, "up").journal.write_text(damage)
    with pytest.raises(PatchConflict):
        apply(world.layout, "up")
    ref = park.abort(world.layout, "up")  # nobody knows what was left there: all that is there now is kept
    assert b"<<<<<<< " in git(world.checkout, "show", f"{ref}:a.py").encode()
    git(world.checkout, "update-ref", "-d", ref)
    assert leave(world) == before


KILLER = Path(__file__).parents[1] / "killer.py"


def test_a_kill_at_any_step_of_parking_is_recovered(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    conflicting(world)
    before = leave(world)
    killed = step = 0
    for step in chosen(1):
        done = subprocess.run(
            [sys.executable, str(KILLER), str(step), str(world.root), str(world.layout.cache), "lock_or_park(layout, 'up')"],
            capture_output=True, check=False, env=dict(os.environ),
        )  # fmt: skip
        if done.returncode != -signal.SIGKILL:
            assert done.returncode == 1 and b"PatchConflict" in done.stderr, done.stderr
            break
        killed += 1
        if park.find(world.layout, "up") is None:
            with pytest.raises(PatchConflict, match=r"second\.patch does not match"):
                park.lock_or_park(world.layout, "up")
        assert (parked_path(world) / "b.py").read_bytes() == b"second\n" and b"<<<<<<< " in (parked_path(world) / "a.py").read_bytes()
        park.abort(world.layout, "up")
        assert leave(world) == before
    say_kills(capfd, "apply, a patch that does not match", killed, step)
    assert step >= 8


def test_a_kill_at_any_step_of_continue_is_finished_by_the_next_run(world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every step under `--long`, every third otherwise. The next run is a plain apply, or the same --continue: no other command is needed."""
    conflicting(world)
    with pytest.raises(PatchConflict):
        park.lock_or_park(world.layout, "up")
    (parked_path(world) / "a.py").write_bytes(lines(l5="second"))
    saved = tmp_path / "saved"
    shutil.copytree(world.root, saved, symlinks=True)
    odd, killed, trees, step = [], 0, set(), 0
    for step in chosen(3):
        shutil.rmtree(world.root)
        shutil.copytree(saved, world.root, symlinks=True)
        done = subprocess.run([sys.executable, str(KILLER), str(step), str(world.root), str(world.layout.cache), "go_on(layout, 'up')"],
                              capture_output=True, check=False, env=dict(os.environ))  # fmt: skip
        if done.returncode != -signal.SIGKILL:
            assert done.returncode == 0, done.stderr
            break
        killed += 1
        found = park.find(world.layout, "up")
        try:
            done_again = park.go_on(world.layout, "up") if found and not found.taken else apply(world.layout, "up")
        except Exception as error:
            odd.append((step, repr(error)))
            continue
        trees.add(done_again.tree)
        assert git(world.checkout, "status", "--porcelain") == "" and not parked_path(world).exists() and park.find(world.layout, "up") is None
        assert apply(world.layout, "up").changed == 0 and export(world.layout, "up", dry_run=True).same
    say_kills(capfd, "apply --continue", killed, step, len(odd))
    assert odd == [] and step >= 20 and len(trees) == 1


def test_what_was_taken_is_not_aborted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    conflicting(world)
    with pytest.raises(PatchConflict):
        park.lock_or_park(world.layout, "up")
    (parked_path(world) / "a.py").write_bytes(lines(l5="second"))

    def killed(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(park, "lock_and_park", killed)
        with pytest.raises(KeyboardInterrupt):
            park.go_on(world.layout, "up")
    with pytest.raises(BadInput, match="was taken already") as caught:
        park.abort(world.layout, "up")
    assert caught.value.remedy == "python3 build.py apply up"
    said: list[str] = []
    apply(world.layout, "up", say=said.append)
    assert any("finishing an interrupted `apply --continue`" in line for line in said) and park.find(world.layout, "up") is None
