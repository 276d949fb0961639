"""patchset/author: what each command makes of a series on real git; what does not change is not touched, and no work is lost."""

from __future__ import annotations

import json
import time

import pytest
from test_picks import with_pick
from test_rebase import everything, lines, series
from world import TRAILERS, World, applied, git

from tunefork.base.errors import BadInput, PatchConflict, WorkAtRisk
from tunefork.cli.main import main
from tunefork.patchset.author import edit, refresh, reshape
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export, lock_series
from tunefork.patchset.series.lock import Lock

ME = (b"A. User <user@example.org>", b"1700000000 +0000")


def three(world: World) -> None:
    """one, two and three change distant lines of a.py; three also adds a file."""
    series(world, ("One", {"a.py": lines(l5="one")}), ("Two", {"a.py": lines(l5="one", l25="two")}),
           ("Three", {"a.py": lines(l5="one", l25="two", l45="three"), "new.py": b"new\n"}))  # fmt: skip


def settled(world: World, tree: str = "") -> None:
    """Series, lock and checkout say the same; nothing is left over."""
    assert lock_series(world.layout, "up", check=True).same
    assert export(world.layout, "up", dry_run=True).same
    done = apply(world.layout, "up")
    assert done.changed == 0 and git(world.checkout, "status", "--porcelain") == ""
    assert not tree or done.tree == tree
    assert not (world.layout.work / "up@edit").exists() and not list((world.layout.work / ".edit" / "up").glob("*"))
    lock = Lock.load(world.series)
    assert lock is not None and list(lock.names) == world.names()


def files(world: World) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in world.series.iterdir()}


def touched(world: World, before: dict[str, tuple[bytes, int]]) -> set[str]:
    after = files(world)
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


def tree(world: World) -> str:
    return git(world.checkout, "rev-parse", "HEAD^{tree}")


# -- edit -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_edit_carries_later_patches_and_rewrites_what_changed(world: World) -> None:
    three(world)
    before = files(world)
    stopped = edit.start(world.layout, "up", "one.patch")
    assert git(stopped.path, "log", "-1", "--format=%s") == "One" and git(stopped.path, "branch", "--show-current") == "edit/one"
    (stopped.path / "b.py").write_bytes(b"edited\n")
    done = edit.go_on(world.layout, "up")
    assert done.changed == ("one.patch", "series.lock") and touched(world, before) == {"one.patch", "series.lock"}
    assert (world.checkout / "b.py").read_bytes() == b"edited\n"
    settled(world, done.tree)


@pytest.mark.slow
def test_an_edit_of_the_same_file_is_merged_into_later_patches(world: World) -> None:
    three(world)
    stopped = edit.start(world.layout, "up", "one")
    (stopped.path / "a.py").write_bytes(lines(l5="ONE", l15="more"))
    git(stopped.path, "commit", "--quiet", "--all", "--amend", "-m", "One, reworded\n\nWhy.\n\n" + TRAILERS)
    done = edit.go_on(world.layout, "up")
    assert done.changed == ("one.patch", "two.patch", "three.patch", "series.lock")
    assert (world.checkout / "a.py").read_bytes() == lines(l5="ONE", l15="more", l25="two", l45="three")
    assert b"Subject: One, reworded" in (world.series / "one.patch").read_bytes()
    settled(world, done.tree)


def test_more_commits_become_more_patches(world: World) -> None:
    three(world)
    stopped = edit.start(world.layout, "up", "two")
    (stopped.path / "b.py").write_bytes(b"extra\n")
    git(stopped.path, "commit", "--quiet", "--all", "-m", "Extra work\n\nWhy.\n\n" + TRAILERS)
    done = edit.go_on(world.layout, "up")
    assert world.names() == ["one", "two", "extra-work", "three"] and done.added == ("extra-work.patch",)
    settled(world)


@pytest.mark.slow
def test_a_later_patch_that_conflicts_waits_and_nothing_changes_before(world: World) -> None:
    series(world, ("One", {"a.py": lines(l5="one")}), ("Two", {"a.py": lines(l5="two")}), ("Three", {"b.py": b"three\n"}))
    before = everything(world)
    stopped = edit.start(world.layout, "up", "one")
    (stopped.path / "a.py").write_bytes(lines(l5="ONE"))
    with pytest.raises(PatchConflict, match=r"two\.patch: a\.py differs in the lines it changes; it waits in .*up@edit") as caught:
        edit.go_on(world.layout, "up")
    assert "--continue" in caught.value.remedy and "--abort" in caught.value.remedy
    assert b"<<<<<<< " in (stopped.path / "a.py").read_bytes()
    with pytest.raises(PatchConflict, match="conflict markers are left"):
        edit.go_on(world.layout, "up")
    (stopped.path / "a.py").write_bytes(lines(l5="both"))
    done = edit.go_on(world.layout, "up")
    assert done.changed == ("one.patch", "two.patch", "series.lock") and (world.checkout / "a.py").read_bytes() == lines(l5="both")
    assert b"-ONE\n+both\n" in (world.series / "two.patch").read_bytes()
    settled(world)
    edit.start(world.layout, "up", "one")
    kept = edit.abort(world.layout, "up")
    after = everything(world)
    assert kept == "" and {key: after[key] for key in ("pins", "work", "waiting")} == {key: before[key] for key in ("pins", "work", "waiting")}


@pytest.mark.slow
def test_an_edit_goes_on_when_later_patches_changed_meanwhile(world: World) -> None:
    three(world)
    git(world.checkout, "branch", "edit/mine")
    stopped = edit.start(world.layout, "up", "one")
    (stopped.path / "b.py").write_bytes(b"edited\n")
    world.commit({"four.py": b"four\n"}, "Four")
    export(world.layout, "up")
    edit.go_on(world.layout, "up")
    assert world.names() == ["one", "two", "three", "four"] and (world.checkout / "b.py").read_bytes() == b"edited\n"
    assert git(world.checkout, "branch", "--list", "edit/*").strip() == "edit/mine"
    settled(world)
    stopped = edit.start(world.layout, "up", "two")
    git(world.checkout, "rebase", "-q", "--onto", "HEAD~3", "HEAD~2")
    with pytest.raises(WorkAtRisk, match="unexported"):
        edit.go_on(world.layout, "up")
    export(world.layout, "up")
    assert world.names() == ["one", "three", "four"]
    with pytest.raises(PatchConflict, match="the series changed since `patch edit two` began"):
        edit.go_on(world.layout, "up")
    edit.abort(world.layout, "up")


def test_abort_keeps_what_was_done_under_a_ref(world: World) -> None:
    three(world)
    before = everything(world)
    stopped = edit.start(world.layout, "up", "two")
    (stopped.path / "scratch.py").write_bytes(b"mine\n")
    ref = edit.abort(world.layout, "up")
    assert git(world.checkout, "show", f"{ref}:scratch.py") == "mine"
    git(world.checkout, "update-ref", "-d", ref)
    assert everything(world) == before


def test_damaged_notes_of_an_edit_say_so_and_abort_keeps_the_work(world: World) -> None:
    three(world)
    before = everything(world)
    stopped = edit.start(world.layout, "up", "two")
    (stopped.path / "b.py").write_bytes(b"mine\n")
    (world.layout.work / ".edit" / "up" / "progress.json").write_text("{}")
    with pytest.raises(BadInput, match=r"progress\.json is damaged") as caught:
        edit.go_on(world.layout, "up")
    assert "--abort" in caught.value.remedy
    ref = edit.abort(world.layout, "up")
    assert git(world.checkout, "show", f"{ref}:b.py") == "mine"
    git(world.checkout, "update-ref", "-d", ref)
    assert everything(world) == before
    settled(world)


def test_what_an_edit_renames_later_patches_follow(world: World) -> None:
    three(world)
    stopped = edit.start(world.layout, "up", "one")
    git(stopped.path, "mv", "a.py", "moved.py")
    edit.go_on(world.layout, "up")
    assert (world.checkout / "moved.py").read_bytes() == lines(l5="one", l25="two", l45="three") and not (world.checkout / "a.py").exists()
    settled(world)


def test_untracked_and_half_done_work_is_not_taken_silently(world: World) -> None:
    three(world)
    stopped = edit.start(world.layout, "up", "two")
    (stopped.path / "scratch.py").write_bytes(b"mine\n")
    with pytest.raises(WorkAtRisk, match="untracked files that this would overwrite: scratch.py") as caught:
        edit.go_on(world.layout, "up")
    assert "git add" in caught.value.remedy and (stopped.path / "scratch.py").exists()
    git(stopped.path, "add", "scratch.py")
    edit.go_on(world.layout, "up")
    assert (world.checkout / "scratch.py").exists()
    settled(world)


# -- refresh and new --------------------------------------------------------------------------------------------


def test_refresh_gives_each_line_to_its_owner(world: World) -> None:
    three(world)
    (world.checkout / "a.py").write_bytes(lines(l5="one!", l25="two", l45="three!"))
    before, held = files(world), world.snapshot()
    done = refresh.refresh(world.layout, "up")
    assert [(part.where, part.patch) for part in done.parts] == [("a.py:5", "one"), ("a.py:45", "three")]
    assert world.snapshot() == held and touched(world, before) == {"one.patch", "two.patch", "three.patch", "series.lock"}
    assert b"+one!" in (world.series / "one.patch").read_bytes() and b"+three!" in (world.series / "three.patch").read_bytes()
    settled(world)


@pytest.mark.slow
def test_refresh_takes_neighbouring_lines_of_two_patches(world: World) -> None:
    series(world, ("One", {"a.py": lines(l5="one")}), ("Two", {"a.py": lines(l5="one", l6="two")}))
    (world.checkout / "a.py").write_bytes(lines(l5="ONE", l6="two"))
    done = refresh.refresh(world.layout, "up")
    assert [part.patch for part in done.parts] == ["one"] and b"+ONE" in (world.series / "one.patch").read_bytes()
    settled(world)


def test_a_part_that_nobody_owns_is_refused_with_a_proposal(world: World) -> None:
    three(world)
    (world.checkout / "a.py").write_bytes(lines(l5="one", l7="free", l25="two", l45="three"))
    before = everything(world)
    shown = refresh.refresh(world.layout, "up", dry_run=True)
    assert [(part.where, part.patch, part.why) for part in shown.parts] == [("a.py:7", "", "nobody's")] and shown.parts[0].likely[0] == "one"
    with pytest.raises(BadInput, match=r"no single patch owns a\.py:7 \(") as caught:
        refresh.refresh(world.layout, "up")
    assert caught.value.remedy.startswith("`python3 build.py patch refresh one` ") and everything(world) == before
    done = refresh.refresh(world.layout, "up", "one")
    assert [(part.patch, part.why) for part in done.parts] == [("one", "named")]
    settled(world)


def test_a_dry_run_of_refresh_changes_nothing(world: World) -> None:
    three(world)
    (world.checkout / "a.py").write_bytes(lines(l5="one!", l25="two", l45="three"))
    before = everything(world)
    assert refresh.refresh(world.layout, "up", dry_run=True).series.changed[0] == "one.patch"
    assert everything(world) == before


def test_new_makes_a_patch_of_the_changes(world: World) -> None:
    three(world)
    (world.checkout / "a.py").write_bytes(lines(l5="one", l15="fresh", l25="two", l45="three"))
    (world.checkout / "loose.py").write_bytes(b"not added\n")
    (world.checkout / "staged.py").write_bytes(b"added\n")
    git(world.checkout, "add", "staged.py")
    done = refresh.new(world.layout, "up", "fresh", b"Fresh\n\nWhy.", ME, after="one")
    assert world.names() == ["one", "fresh", "two", "three"] and done.added == ("fresh.patch",)
    assert (world.checkout / "loose.py").exists() and git(world.checkout, "status", "--porcelain") == "?? loose.py"
    (world.checkout / "loose.py").unlink()
    settled(world)


# -- reshape ----------------------------------------------------------------------------------------------------


def test_reorder_of_patches_that_do_not_meet(world: World) -> None:
    series(world, ("One", {"a.py": lines(l5="one")}), ("Two", {"b.py": b"two\n"}), ("Three", {"c.txt": b"three\n"}))
    before, was = files(world), tree(world)
    done = reshape.reorder(world.layout, "up", ["three"], first=True)
    assert world.names() == ["three", "one", "two"] and done.changed == ("series", "series.lock") and done.tree == was
    assert touched(world, before) == {"series", "series.lock"}
    settled(world)


@pytest.mark.slow
def test_reorder_of_dependent_patches_waits_to_be_resolved(world: World) -> None:
    series(world, ("One", {"a.py": lines(l5="one")}), ("Two", {"a.py": lines(l5="two")}))
    before = everything(world)
    with pytest.raises(PatchConflict, match=r"reorder two: two\.patch: a\.py differs in the lines it changes"):
        reshape.reorder(world.layout, "up", ["two"], before="one", dry_run=True)
    assert everything(world) == before
    with pytest.raises(PatchConflict, match="it waits in"):
        reshape.reorder(world.layout, "up", ["two"], before="one")
    edit.abort(world.layout, "up")
    assert everything(world) == before


@pytest.mark.parametrize("link", [False, True])
def test_a_rename_of_what_is_not_there_waits_whole(world: World, link: bool) -> None:
    applied(world)
    if link:
        (world.checkout / "new").symlink_to("b.py")
        git(world.checkout, "add", "new")
        git(world.checkout, "commit", "--quiet", "-m", "One")
    else:
        world.commit({"new": b"text\n" * 9}, "One")
    git(world.checkout, "mv", "new", "moved")
    git(world.checkout, "commit", "--quiet", "-m", "Two")
    export(world.layout, "up")
    before = everything(world)
    with pytest.raises(PatchConflict, match="new is not there"):
        reshape.reorder(world.layout, "up", ["two"], first=True)
    moved = world.layout.work / "up@edit" / "moved"
    assert moved.is_symlink() if link else moved.read_bytes() == b"text\n" * 9
    with pytest.raises(PatchConflict, match="no side is chosen"):
        edit.go_on(world.layout, "up")
    edit.abort(world.layout, "up")
    assert everything(world) == before


def test_squash_joins_changes_and_messages(world: World) -> None:
    three(world)
    was = tree(world)
    reshape.squash(world.layout, "up", ["one", "three"])
    assert world.names() == ["one", "two"] and tree(world) == was
    text = (world.series / "one.patch").read_bytes()
    assert b"\n\nThree\n\nWhy.\n" in text and text.count(b"Signed-off-by") == 1 and text.count(b"Scope:") == 1
    settled(world, was)


def test_squash_keeps_what_others_need_before_them(world: World) -> None:
    series(world, ("One", {"b.py": b"one\n"}), ("Two", {"c.py": b"two\n"}), ("Three", {"d.py": b"three\n"}),
           bodies={"Two": "Why.\n\nDepends-On: one\n" + TRAILERS})  # fmt: skip
    with pytest.raises(BadInput, match="two would come before three, on which it declares that it depends") as caught:
        reshape.squash(world.layout, "up", ["three", "one"])
    assert caught.value.remedy.endswith("patch squash one three")
    reshape.squash(world.layout, "up", ["one", "three"])
    assert world.names() == ["one", "two"] and b"Depends-On: one\n" in (world.series / "two.patch").read_bytes()


@pytest.mark.slow
def test_split_by_file_and_by_hunk(world: World) -> None:
    series(world, ("One", {"a.py": lines(l5="one", l35="late"), "b.py": b"two\n"}))
    was = tree(world)
    reshape.split(world.layout, "up", "one", "part", ["a.py:2", "b.py"])
    assert world.names() == ["part", "one"]
    assert b"+late" in (world.series / "part.patch").read_bytes() and b"+one" in (world.series / "one.patch").read_bytes()
    assert b"b.py" not in (world.series / "one.patch").read_bytes()
    settled(world, was)
    with pytest.raises(BadInput, match="nothing would stay in it"):
        reshape.split(world.layout, "up", "one", "all", ["a.py"])


def test_drop_keeps_the_patch_and_says_how_to_have_it_back(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    three(world)
    was = (world.series / "two.patch").read_bytes()
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    assert main(["patch", "drop", "two"]) == 0
    assert world.names() == ["one", "three"] and (world.checkout / "a.py").read_bytes() == lines(l5="one", l45="three")
    settled(world)
    line = next(each for each in capsys.readouterr().out.splitlines() if "to have two back" in each)
    words = line.partition("git -C work/up ")[2].partition(",")[0].split()
    git(world.checkout, *words)
    export(world.layout, "up")
    assert world.names() == ["one", "three", "two"] and was.partition(b"diff")[0] == (world.series / "two.patch").read_bytes().partition(b"diff")[0]
    settled(world)


def test_drop_of_what_others_need(world: World) -> None:
    series(world, ("One", {"b.py": b"one\n"}), ("Two", {"c.py": b"two\n"}), bodies={"Two": "Why.\n\nDepends-On: one\n" + TRAILERS})
    with pytest.raises(BadInput, match="two declares that it depends on one") as caught:
        reshape.drop(world.layout, "up", ["one"])
    assert "patch drop one two" in caught.value.remedy
    reshape.drop(world.layout, "up", ["one", "two"])
    assert world.names() == [] and not list(world.series.glob("*.patch"))


def test_rename_follows_in_depends_on(world: World) -> None:
    series(world, ("One", {"b.py": b"one\n"}), ("Two", {"c.py": b"two\n"}), bodies={"Two": "Why.\n\nDepends-On: one\n" + TRAILERS})
    was, data = tree(world), (world.series / "one.patch").read_bytes()
    (world.series / "series").write_text("# Up's.\none.patch  # the first\ntwo.patch\n")
    done = reshape.rename(world.layout, "up", "one", "first-of-all")
    assert (world.series / "series").read_text() == "# Up's.\nfirst-of-all.patch  # the first\ntwo.patch\n"
    (world.series / "series").write_text("first-of-all.patch\ntwo.patch\n")
    assert world.names() == ["first-of-all", "two"] and (world.series / "first-of-all.patch").read_bytes() == data
    assert b"Depends-On: first-of-all\n" in (world.series / "two.patch").read_bytes() and done.removed == ("one.patch",)
    settled(world, was)


# -- what is never lost -----------------------------------------------------------------------------------------


def test_uncommitted_work_is_refused_before_anything_changes(world: World) -> None:
    three(world)
    (world.checkout / "a.py").write_bytes(b"mine\n")
    before = everything(world)
    for call in (lambda: reshape.drop(world.layout, "up", ["two"]), lambda: edit_and_go_on(world)):
        with pytest.raises(WorkAtRisk, match="uncommitted changes that this would overwrite: a.py") as caught:
            call()
        assert "git stash" in caught.value.remedy
        assert (world.checkout / "a.py").read_bytes() == b"mine\n" and everything(world)["patches"] == before["patches"]
    edit.abort(world.layout, "up")
    reshape.rename(world.layout, "up", "two", "zwei")
    assert (world.checkout / "a.py").read_bytes() == b"mine\n"


def edit_and_go_on(world: World) -> None:
    stopped = edit.start(world.layout, "up", "two")
    (stopped.path / "a.py").write_bytes(lines(l5="one", l25="TWO"))
    edit.go_on(world.layout, "up")


def test_unexported_commits_are_refused(world: World) -> None:
    three(world)
    world.commit({"b.py": b"mine\n"}, "My work")
    with pytest.raises(WorkAtRisk, match="unexported commits that this would overwrite: My work"):
        reshape.drop(world.layout, "up", ["two"])


def test_a_variant_in_the_checkout_follows(world: World) -> None:
    three(world)
    apply(world.layout, "up", "upto:two")
    reshape.drop(world.layout, "up", ["one"])
    assert (world.checkout / "a.py").read_bytes() == lines(l25="two") and world.names() == ["two", "three"]


def test_json_is_one_document(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    three(world)
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    capsys.readouterr()
    for words in (["rename", "two", "zwei", "--dry-run"], ["drop", "zwei"[:0] + "two", "--dry-run"], ["edit", "one"], ["edit", "--abort"]):
        assert main(["patch", *words, "--json"]) == 0
        assert isinstance(json.loads(capsys.readouterr().out), dict)
    (world.checkout / "a.py").write_bytes(lines(l5="one!", l25="two", l45="three"))
    assert main(["patch", "refresh", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parts"] == [{"where": "a.py:5", "patch": "one", "why": "blame", "likely": []}] and found["series"]["changed"][0] == "one.patch"


def test_a_hand_edit_of_an_early_patch_is_merged_into_the_later_ones(world: World) -> None:
    three(world)
    path = world.series / "one.patch"
    path.write_bytes(path.read_bytes().replace(b"+one", b"+by hand"))
    assert lock_series(world.layout, "up").changed == ("one.patch", "two.patch", "three.patch", "series.lock")
    apply(world.layout, "up")
    assert (world.checkout / "a.py").read_bytes() == lines(l5="by hand", l25="two", l45="three")
    settled(world)




@pytest.mark.slow
def test_a_pick_stays_a_line_while_it_does_what_it_did(world: World) -> None:
    sha = with_pick(world)
    apply(world.layout, "up")
    ours = (world.checkout / "a.py").read_bytes().replace(b"line 20\n", b"ours 20\n")
    world.commit({"a.py": ours}, "Ours")
    export(world.layout, "up")
    done = reshape.reorder(world.layout, "up", ["ours"], first=True)
    assert (world.series / "series").read_text() == f"ours.patch\npick {sha} fix-forty  # until v2\n" and "fix-forty.patch" not in done.changed
    assert lock_series(world.layout, "up", check=True).same and apply(world.layout, "up").changed == 0
    with pytest.raises(BadInput, match="fix-forty picks an upstream commit"):
        reshape.rename(world.layout, "up", "fix-forty", "other")
    reshape.squash(world.layout, "up", ["fix-forty", "ours"])
    assert (world.series / "series").read_text() == "fix-forty.patch\n" and (world.checkout / "a.py").read_bytes() == ours
    settled(world)


def next_second() -> None:
    time.sleep(1 - time.time() % 1)


@pytest.mark.slow
def test_an_edit_within_the_second_of_the_checkout_is_seen(world: World) -> None:
    """Of the same size, in the same second: git tells it by the time of the index alone."""
    three(world)
    next_second()
    path = edit.start(world.layout, "up", "one").path
    (path / "a.py").write_bytes(lines(l5="eno"))
    next_second()
    assert "one.patch" in edit.go_on(world.layout, "up").changed and b"\n+eno\n" in (world.series / "one.patch").read_bytes()
    next_second()
    apply(world.layout, "up", "upto:one")
    (world.checkout / "a.py").write_bytes(lines(l5="neo"))
    next_second()
    with pytest.raises(WorkAtRisk):
        apply(world.layout, "up", "base")
    assert (world.checkout / "a.py").read_bytes() == lines(l5="neo")


def test_a_message_as_editors_write_it(world: World) -> None:
    three(world)
    (world.checkout / "new.py").write_bytes(b"newer\n")
    refresh.new(world.layout, "up", "four", b"A subject  \r\n\r\ntail \t\r\n\n\n\nmore\r\n", ME)
    assert git(world.checkout, "log", "-1", "--format=%B") == "A subject\n\ntail\n\nmore"
    settled(world)
    (world.checkout / "new.py").write_bytes(b"newest\n")
    with pytest.raises(BadInput, match="NUL byte"):
        refresh.new(world.layout, "up", "five", b"A\0", ME)
    with pytest.raises(BadInput, match="300 characters; at most 100"):
        refresh.new(world.layout, "up", "x" * 300, b"A", ME)


def test_a_file_that_git_does_not_know_is_refused_where_a_conflict_waits_too(world: World) -> None:
    three(world)
    path = edit.start(world.layout, "up", "one").path
    (path / "a.py").write_bytes(lines(l5="one", l25="eins"))
    with pytest.raises(PatchConflict):
        edit.go_on(world.layout, "up")
    (path / "a.py").write_bytes(lines(l5="one", l25="both"))
    (path / "junk.log").write_bytes(b"junk\n")
    with pytest.raises(WorkAtRisk, match=r"untracked files.*junk\.log"):
        edit.go_on(world.layout, "up")
    git(path, "add", "junk.log")
    edit.go_on(world.layout, "up")
    assert b"junk.log" in (world.series / "two.patch").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(("key", "value"), [("blame.ignoreRevsFile", ".git/ignored"), ("diff.interHunkContext", "90"), ("diff.orderFile", "not-there")])
def test_the_owner_of_a_line_is_the_same_under_any_configuration(world: World, key: str, value: str) -> None:
    three(world)
    git(world.checkout, "config", key, value)
    (world.checkout / ".git" / "ignored").write_text(git(world.checkout, "log", "-1", "--format=%H", "--grep=One"))
    (world.checkout / "a.py").write_bytes(lines(l5="uno", l25="dos", l45="three"))
    done = refresh.refresh(world.layout, "up", dry_run=True)
    assert [(part.where, part.patch) for part in done.parts] == [("a.py:5", "one"), ("a.py:25", "two")]


def test_a_patch_that_is_like_no_other_is_not_found(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    three(world)
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    assert main(["patch", "drop", "zzzz"]) == 2 and "no series has a patch 'zzzz'" in capsys.readouterr().err
