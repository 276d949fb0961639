"""A kill at every step of every command that keeps a journal: what the next command finds is before or after, and the way on is the one that is printed.

Every step under ``--long``, a sample otherwise; TUNEFORK_KILL_EVERY=12, as CI gives it, is every twelfth under ``--long`` too (every_step.py). A step is a git
command, a rename, a link or a deletion; the kill is SIGKILL, in a fork of this process. The journals are those of tunefork/base/transaction.py; JOURNALS
says which test kills the owner of each.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from every_step import chosen, say_kills
from project import ROOT
from steps import counting
from test_author import settled, three
from test_park import conflicting, parked_path
from test_rebase import lines, series, upstream
from world import World, git

from tunefork.base.errors import PatchConflict, TuneforkError
from tunefork.base.layout import Layout
from tunefork.base.process import quiet
from tunefork.cli.main import main
from tunefork.patchset.author import edit, refresh, reshape
from tunefork.patchset.author.importing import import_folder
from tunefork.patchset.checkout import park, repin
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.rebase import rebase
from tunefork.patchset.upstream import submission

pytestmark = pytest.mark.slow


def killed(step: int, world: World, call: Callable[[World], object]) -> bool:
    """Run a call in a fork and kill it at a step; whether the kill came before its end."""
    child = os.fork()
    if child == 0:
        try:
            with counting(step), suppress(TuneforkError):
                call(world)
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{error!r}\n".encode())
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@dataclass(frozen=True)
class Command:
    """A command and its way on. prepare: makes the world that it begins in.  call: the command.  way_on: what a user types after a kill.

    done: what must hold at the end, whatever was killed, after an apply where ``applies``.  least: steps that it has at least, so that the test cannot pass by ending early.
    """

    prepare: Callable[[World], object]
    call: Callable[[World], object]
    way_on: Callable[[World], object]
    done: Callable[[World], object] = field(default=settled)
    least: int = 8
    applies: bool = True


def waiting_edit(world: World, text: bytes = b"edited\n") -> None:
    three(world)
    stopped = edit.start(world.layout, "up", "one")
    (stopped.path / "b.py").write_bytes(text)


def editing(world: World) -> bool:
    repin.recover(world.layout, "up", quiet)
    return repin.editing(world.layout, "up").under_way


def begun_again(world: World) -> None:
    """The edit begins, where the kill was before that, and is given up."""
    if not editing(world):
        edit.start(world.layout, "up", "one")
    edit.abort(world.layout, "up")


def gone_on(world: World) -> None:
    if editing(world):
        edit.go_on(world.layout, "up")


def given_up(world: World) -> None:
    if editing(world):
        edit.abort(world.layout, "up")


def edited(world: World) -> None:
    settled(world)
    assert (world.checkout / "b.py").read_bytes() == b"edited\n"


def kept(world: World) -> None:
    """The edit is gone, and what was in it is under a ref."""
    settled(world)
    refs = git(world.checkout, "for-each-ref", "--format=%(refname)", "refs/tunefork/backup").split()
    assert any(git(world.checkout, "show", f"{ref}:b.py", check=False) == "edited" for ref in refs)


def edit_that_conflicts(world: World) -> None:
    series(world, ("One", {"a.py": lines(l5="one")}), ("Two", {"a.py": lines(l5="two")}), ("Three", {"b.py": b"three\n"}))
    stopped = edit.start(world.layout, "up", "one")
    (stopped.path / "a.py").write_bytes(lines(l5="ONE"))


def edit_resolved(world: World) -> None:
    edit_that_conflicts(world)
    with pytest.raises(PatchConflict):
        edit.go_on(world.layout, "up")
    (world.layout.checkout("up", "edit") / "a.py").write_bytes(lines(l5="both"))


def changed_on_top(world: World) -> None:
    three(world)
    (world.checkout / "a.py").write_bytes(lines(l5="ONE", l25="two", l45="three"))


def refreshed_again(world: World) -> None:
    repin.recover(world.layout, "up", quiet)
    if git(world.checkout, "status", "--porcelain"):
        refresh.refresh(world.layout, "up")


def in_the_patch(world: World) -> None:
    settled(world)
    assert b"+ONE" in (world.series / "one.patch").read_bytes()


def until(names: list[str], again: Callable[[World], object]) -> Callable[[World], None]:
    """The command again, unless the series is as it makes it."""

    def way_on(world: World) -> None:
        repin.recover(world.layout, "up", quiet)
        if world.names() != names:
            again(world)
        assert world.names() == names

    return way_on


def dropped(world: World) -> object:
    return reshape.drop(world.layout, "up", ["two"])


def reordered(world: World) -> object:
    return reshape.reorder(world.layout, "up", ["three"], first=True)


def squashed(world: World) -> object:
    return reshape.squash(world.layout, "up", ["one", "two"])


def split(world: World) -> object:
    return reshape.split(world.layout, "up", "three", "part", ["new.py"])


def renamed(world: World) -> object:
    return reshape.rename(world.layout, "up", "two", "zwei")


def imported(world: World) -> object:
    return import_folder(world.layout, world.root.parent / "theirs", "up")


def to_import(world: World) -> None:
    three(world)
    folder = world.root.parent / "theirs"
    folder.mkdir(exist_ok=True)
    (folder / "four.diff").write_bytes(b"Four\n\n--- a/b.py\n+++ b/b.py\n@@ -1,2 +1,2 @@\n def f():\n-    return 1\n+    return 4\n")


def upstream_that_conflicts(world: World) -> None:
    series(world, ("One", {"a.py": lines(l5="one")}), ("Two", {"b.py": b"two\n"}))
    if git(world.upstream, "tag", "--list", "v2"):
        return
    upstream(world, {"a.py": lines(l5="theirs")})


def rebasing(world: World) -> bool:
    repin.recover(world.layout, "up", quiet)
    return repin.rebasing(world.layout, "up").under_way


def rebase_resolved(world: World) -> None:
    upstream_that_conflicts(world)
    with pytest.raises(PatchConflict):
        rebase.start(world.layout, "up", "v2")
    (world.layout.checkout("up", "rebase") / "a.py").write_bytes(lines(l5="both"))


def rebase_given_up(world: World) -> None:
    if not rebasing(world):
        with pytest.raises(PatchConflict):
            rebase.start(world.layout, "up", "v2")
    rebase.abort(world.layout, "up")


def rebase_gone_on(world: World) -> None:
    if rebasing(world):
        rebase.go_on(world.layout, "up")


def rebase_aborted(world: World) -> None:
    if rebasing(world):
        rebase.abort(world.layout, "up")


def rebased(world: World) -> None:
    settled(world)
    assert 'tag = "v2"' in world.layout.pins.read_text() and (world.checkout / "a.py").read_bytes() == lines(l5="both")
    assert not (world.layout.work / "up@rebase").exists()


def not_rebased(world: World) -> None:
    settled(world)
    if (world.layout.work / "up@rebase").exists():  # a worktree that no journal knows: the next rebase takes it away
        rebase_given_up(world)
    assert 'tag = "v1"' in world.layout.pins.read_text() and not (world.layout.work / "up@rebase").exists()


def submitting(world: World) -> bool:
    return submission.waiting(world.layout, "up", "one").under_way


def submission_resolved(world: World) -> None:
    upstream_that_conflicts(world)
    with pytest.raises(PatchConflict):
        submission.submit(world.layout, "one", "v2", verify=0)
    (world.layout.checkout("up", "upstream-one") / "a.py").write_bytes(lines(l5="both"))


def submission_begun_again(world: World) -> None:
    if not submitting(world):
        with pytest.raises(PatchConflict):
            submission.submit(world.layout, "one", "v2", verify=0)
    submission.abort(world.layout, "one")


def submission_gone_on(world: World) -> None:
    if submitting(world):
        submission.go_on(world.layout, "one", verify=0)
    assert git(world.checkout, "show", "upstream/one:a.py") + "\n" == lines(l5="both").decode()


def given_up_submission(world: World) -> None:
    if submitting(world):
        submission.abort(world.layout, "one")


def submission_aborted(world: World) -> None:
    given_up_submission(world)
    assert git(world.checkout, "branch", "--list", "upstream/*") == ""


def nothing_lost(world: World) -> None:
    """Given up or done: what was resolved is under a ref of the checkout, or in the series."""
    settled(world)
    refs = git(world.checkout, "for-each-ref", "--format=%(refname)", "refs/tunefork/backup", "refs/heads").split()
    held = {git(world.checkout, "show", f"{ref}:a.py", check=False) + "\n" for ref in refs}
    assert lines(l5="both").decode() in held | {(world.checkout / "a.py").read_text()}


def bisected(world: World) -> object:
    return main(["bisect", "up", "--run", "! grep -q two a.py"])


def reset(world: World) -> None:
    assert main(["bisect", "up", "--reset"]) == 0
    assert not (world.layout.work / ".bisect" / "up.json").exists()
    assert git(world.checkout, "log", "-1", "--format=%s") == "Three"


def bisection_waits(world: World) -> None:
    """As a kill in the middle of it leaves it: another variant, and the one to bring back in the journal."""
    three(world)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNEFORK_ROOT", str(world.root))
        patch.setattr("tunefork.cli.bisect.ran", stopped_there)
        child = os.fork()
        if child == 0:
            main(["bisect", "up", "--run", "! grep -q two a.py"])
            os._exit(0)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def stopped_there(layout: Layout, name: str, _spec: str, *_: object, **__: object) -> None:
    apply(layout, name, "base")
    os.kill(os.getpid(), signal.SIGKILL)


def bisected_on(world: World) -> None:
    """The bisection ends, or is forgotten: either way the variant of before is back."""
    if (world.layout.work / ".bisect" / "up.json").exists():
        assert main(["bisect", "up", "--continue"]) == 0
    reset(world)


def branched(world: World) -> None:
    submission.submit(world.layout, "one", "v2", verify=0)


def branch_is_there(world: World) -> None:
    """The same command again takes the branch that a kill left for its own, and makes the same of it."""
    branched(world)
    assert git(world.checkout, "show", "upstream/one:a.py") + "\n" == lines(l5="one", l50="theirs").decode()


def goes_upstream(world: World) -> None:
    series(world, ("One", {"a.py": lines(l5="one")}), ("Two", {"b.py": b"two\n"}))
    if not git(world.upstream, "tag", "--list", "v2"):
        upstream(world, {"a.py": lines(l50="theirs")})


def edited_by_hand(world: World) -> None:
    three(world)
    file = world.series / "two.patch"
    file.write_bytes(file.read_bytes().replace(b"+two\n", b"+TWO\n"))


def locked(world: World) -> object:
    return park.lock_or_park(world.layout, "up")


def locked_again(world: World) -> None:
    locked(world)
    apply(world.layout, "up")
    assert b"TWO" in (world.checkout / "a.py").read_bytes()


def parked(world: World) -> None:
    conflicting(world)
    with pytest.raises(PatchConflict):
        park.lock_or_park(world.layout, "up")
    (parked_path(world) / "a.py").write_bytes(lines(l5="resolved"))


def unparked(world: World) -> None:
    if park.find(world.layout, "up"):
        park.abort(world.layout, "up")
    refs = git(world.checkout, "for-each-ref", "--format=%(refname)", "refs/tunefork/backup").split()
    assert any(git(world.checkout, "show", f"{ref}:a.py", check=False) + "\n" == lines(l5="resolved").decode() for ref in refs)
    assert not parked_path(world).exists() and git(world.checkout, "status", "--porcelain") == ""


COMMANDS = {
    "patch edit": Command(three, lambda world: edit.start(world.layout, "up", "one"), begun_again),
    "patch edit --continue": Command(waiting_edit, lambda world: edit.go_on(world.layout, "up"), gone_on, edited),
    "patch edit --abort": Command(waiting_edit, lambda world: edit.abort(world.layout, "up"), given_up, kept),
    "patch edit --continue, a conflict": Command(edit_that_conflicts, lambda world: edit.go_on(world.layout, "up"), given_up),
    "patch edit --continue, resolved": Command(edit_resolved, lambda world: edit.go_on(world.layout, "up"), gone_on),
    "patch refresh": Command(changed_on_top, lambda world: refresh.refresh(world.layout, "up"), refreshed_again, in_the_patch),
    "patch drop": Command(three, dropped, until(["one", "three"], dropped)),
    "patch reorder": Command(three, reordered, until(["three", "one", "two"], reordered)),
    "patch squash": Command(three, squashed, until(["one", "three"], squashed)),
    "patch split": Command(three, split, until(["one", "two", "part", "three"], split)),
    "patch rename": Command(three, renamed, until(["one", "zwei", "three"], renamed)),
    "patch import": Command(to_import, imported, until(["one", "two", "three", "four"], imported)),
    "rebase, a conflict": Command(upstream_that_conflicts, lambda world: rebase.start(world.layout, "up", "v2"), rebase_given_up, not_rebased),
    "rebase --continue": Command(rebase_resolved, lambda world: rebase.go_on(world.layout, "up"), rebase_gone_on, rebased),
    "rebase --continue, given up": Command(rebase_resolved, lambda world: rebase.go_on(world.layout, "up"), rebase_aborted, nothing_lost),
    "rebase --abort": Command(rebase_resolved, lambda world: rebase.abort(world.layout, "up"), rebase_aborted, not_rebased, 5),
    "upstream, a conflict": Command(upstream_that_conflicts, lambda world: submission.submit(world.layout, "one", "v2", verify=0), submission_begun_again, settled),
    "upstream --continue": Command(submission_resolved, lambda world: submission.go_on(world.layout, "one", verify=0), submission_gone_on),
    "upstream --continue, given up": Command(submission_resolved, lambda world: submission.go_on(world.layout, "one", verify=0), given_up_submission, nothing_lost),
    "upstream --abort": Command(submission_resolved, lambda world: submission.abort(world.layout, "one"), submission_aborted, settled, 4),
    "bisect": Command(three, bisected, reset),
    "bisect --continue": Command(bisection_waits, lambda world: main(["bisect", "up", "--continue"]), bisected_on),
    "bisect --reset": Command(bisection_waits, reset, reset),
    "upstream": Command(goes_upstream, branched, branch_is_there),
    "patch lock": Command(edited_by_hand, locked, locked_again),
    "apply --abort": Command(parked, lambda world: park.abort(world.layout, "up"), unparked, lambda world: None, 5, applies=False),
}


# Which of our modules keeps a journal (base/transaction.py), and what kills its owner at every step: a command above, or a test in a file of its own.
JOURNALS = {
    "patchset/checkout/checkout.py": ("checkout/test_faults.py", "checkout/test_attacks.py"),
    "patchset/checkout/park.py": ("checkout/test_park.py", "patch lock", "apply --abort"),
    "patchset/checkout/repin.py": ("patch edit", "patch edit --continue", "patch edit --abort", "patch refresh", "patch drop", "patch reorder", "patch squash", "patch split",
                                   "patch rename", "patch import", "rebase/test_rebase.py", "rebase, a conflict", "rebase --continue", "rebase --abort"),
    "patchset/upstream/submission.py": ("upstream", "upstream, a conflict", "upstream --continue", "upstream --abort"),
    "patchset/inspect/bisection.py": ("bisect", "bisect --continue", "bisect --reset"),
    "cli/bisect.py": ("bisect", "bisect --continue", "bisect --reset"),
}  # fmt: skip


def test_no_journal_is_left_out() -> None:
    code = ROOT / "tunefork"
    found = {str(path.relative_to(code)) for path in code.rglob("*.py") if "Transaction(" in path.read_text() and path.name != "transaction.py"}
    assert found == set(JOURNALS)
    for killed_by in JOURNALS.values():
        assert all(name in COMMANDS or "say_kills(capfd" in (Path(__file__).parent / name).read_text() for name in killed_by)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_kill_at_any_step_leaves_before_or_after(name: str, world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    command = COMMANDS[name]
    command.prepare(world)
    saved, odd, kills = world.root.parent / "saved", [], 0
    shutil.copytree(world.root, saved, symlinks=True)
    step = 0
    for step in chosen(9, len(name), sparse=True):
        shutil.rmtree(world.root)
        shutil.copytree(saved, world.root, symlinks=True)
        git(world.checkout, "update-index", "-q", "--refresh", check=False)
        if not killed(step, world, command.call):
            break
        kills += 1
        try:
            command.way_on(world)
            if command.applies:
                apply(world.layout, "up")
            command.done(world)
        except Exception as error:
            odd.append((step, f"{error!r} {getattr(error, 'remedy', '')}"[:400]))
    say_kills(capfd, name, kills, step, len(odd))
    assert not odd, "\n".join(f"step {at}: {said}" for at, said in odd[:8])
    assert step > command.least
