"""tunefork/patchset/checkout/export.py on real git: what an author does to commits, and what becomes of the files, the lock and the checkout."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from test_apply import HOSTILE
from world import FILES, TRAILERS, USER, World, applied, git

from tunefork.base.errors import BadInput, PatchConflict, TuneforkError, WorkAtRisk
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export, lock_series
from tunefork.patchset.series.lock import Lock


def series_of(world: World, *names: str) -> None:
    """Patches that each write a file of their own, exported and applied. Subjects: "[Up] Patch <name>"."""
    applied(world)
    for name in names:
        world.commit({f"{name}.txt": f"{name}\n".encode()}, f"[Up] Patch {name}")
    export(world.layout, "up")


def rebase(world: World, script: str) -> None:
    """`git rebase -i` from the pin, its list rewritten by a sed script (what a user does in an editor)."""
    done = subprocess.run(
        ["git", "rebase", "--quiet", "-i", "tunefork/base"], cwd=world.checkout, capture_output=True, check=False,
        env={**os.environ, **USER, "GIT_SEQUENCE_EDITOR": f"sed -i -e '{script}'"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()


def patch_bytes(world: World) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in world.series.iterdir()}


def settled(world: World, spec: str = "all") -> None:
    """After an export: nothing left to do, neither for apply nor for export, and nothing lost in the checkout."""
    assert export(world.layout, "up", dry_run=True).same
    assert apply(world.layout, "up", spec).changed == 0
    assert git(world.checkout, "status", "--porcelain") == ""


# -- names, order, and what is left alone -----------------------------------------------------------------------


def test_names_come_from_subjects(world: World) -> None:
    applied(world)
    for number, subject in enumerate(["[ROCm][MoE] Fix: the Größe of x/y!", "[only tags]", "Same", "Same", "x" * 80]):
        world.commit({f"{number}.txt": b"x\n"}, subject)
    report = export(world.layout, "up")
    assert world.names() == ["fix-the-gr-e-of-x-y", "patch", "same", "same-2", "x" * 50]
    assert report.added == tuple(name + ".patch" for name in world.names()) and report.changed == ("series", "series.lock")
    settled(world)


def test_files_that_did_not_change_are_not_touched(world: World) -> None:
    series_of(world, "one", "two", "three")
    before = patch_bytes(world)
    assert export(world.layout, "up").same
    assert patch_bytes(world) == before
    (world.checkout / "three.txt").write_bytes(b"3\n")
    git(world.checkout, "commit", "--quiet", "--all", "--amend", "--no-edit")
    report = export(world.layout, "up")
    assert report.changed == ("patch-three.patch", "series.lock") and not report.added and not report.removed
    assert {name for name, entry in patch_bytes(world).items() if before[name] != entry} == {"patch-three.patch", "series.lock"}
    settled(world)


@pytest.mark.slow
def test_reorder_drop_reword_and_insert_by_rebase(world: World) -> None:
    series_of(world, "one", "two", "three", "four")
    two = (world.series / "patch-two.patch").read_bytes()
    rebase(world, "1{h;d};2{G}")
    report = export(world.layout, "up")
    assert world.names() == ["patch-two", "patch-one", "patch-three", "patch-four"]
    assert report.changed == ("series", "series.lock") and (world.series / "patch-two.patch").read_bytes() == two
    settled(world)
    rebase(world, "3d")
    report = export(world.layout, "up")
    assert report.removed == ("patch-three.patch",) and not (world.series / "patch-three.patch").exists()
    assert not (world.checkout / "three.txt").exists()
    settled(world)
    rebase(world, "1a exec echo new > new.txt \\&\\& git add new.txt \\&\\& git commit -qm Inserted")
    export(world.layout, "up")
    assert world.names() == ["patch-two", "inserted", "patch-one", "patch-four"]
    rebase(world, "3s/^pick \\(.*\\)/pick \\1\\nexec git commit --amend -qm Reworded/")
    report = export(world.layout, "up")
    assert world.names() == ["patch-two", "inserted", "reworded", "patch-four"] and report.removed == ("patch-one.patch",)
    settled(world)


def test_patches_with_one_subject_keep_their_names_in_order(world: World) -> None:
    applied(world)
    world.commit({"1.txt": b"1\n"}, "Same")
    world.commit({"2.txt": b"2\n"}, "Same")
    export(world.layout, "up")
    first = (world.series / "same.patch").read_bytes()
    git(world.checkout, "rebase", "--quiet", "--force-rebase", "tunefork/base")
    assert export(world.layout, "up").same
    assert (world.series / "same.patch").read_bytes() == first


def test_a_file_that_no_line_names_is_not_overwritten(world: World) -> None:
    series_of(world, "one")
    (world.series / "my-work.patch").write_bytes(b"a draft\n")
    world.commit({"b.py": b"x\n"}, "My work")
    export(world.layout, "up")
    assert world.names() == ["patch-one", "my-work-2"] and (world.series / "my-work.patch").read_bytes() == b"a draft\n"


def test_comments_of_the_order_file_stay(world: World) -> None:
    series_of(world, "one", "two")
    order = world.series / "series"
    order.write_text("# The series of up.\n\npatch-one.patch  # first of all\npatch-two.patch\n")
    world.commit({"3.txt": b"3\n"}, "Three")
    export(world.layout, "up")
    assert order.read_text() == "# The series of up.\n\npatch-one.patch  # first of all\npatch-two.patch\nthree.patch\n"
    settled(world)


# -- what cannot be exported ------------------------------------------------------------------------------------


def test_a_merge_is_refused(world: World) -> None:
    series_of(world, "one")
    git(world.checkout, "checkout", "--quiet", "-b", "side", "HEAD~1")
    world.commit({"side.txt": b"x\n"}, "Side")
    git(world.checkout, "checkout", "--quiet", "tunefork/all")
    git(world.checkout, "merge", "--quiet", "--no-ff", "-m", "Merge side", "side")
    before = patch_bytes(world)
    with pytest.raises(BadInput, match=r"\(Merge side\) is a merge; a series is linear") as caught:
        export(world.layout, "up")
    assert "git rebase" in caught.value.remedy and patch_bytes(world) == before


def test_an_empty_commit_is_refused(world: World) -> None:
    series_of(world, "one")
    world.commit({}, "Nothing")
    with pytest.raises(BadInput, match=r"\(Nothing\) changes nothing") as caught:
        export(world.layout, "up")
    assert "git rebase -i" in caught.value.remedy


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    ["Before.\n---\nAfter.", "Before.\ndiff --git a/x b/x\nAfter.", "Before.\ndiff - old new\nAfter.", "From: Some One <s@x>\n\nWhy.",
     "Before.\n--- old/file\nAfter.", "Index: f\n\nWhy."],
)  # fmt: skip
def test_a_message_that_would_not_survive_is_refused(world: World, body: str) -> None:
    series_of(world, "one")
    before = patch_bytes(world)
    world.commit({"b.py": b"x\n"}, "Trap", body)
    with pytest.raises(BadInput, match=r"^commit [0-9a-f]{12} \(Trap\) would not survive as mail") as caught:
        export(world.layout, "up")
    assert "git commit --amend" in caught.value.remedy and patch_bytes(world) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    ["Cut here:\n-- >8 --\nand go on.", "First.\n\n\n\nSecond.  \n\n  indented\n", "-- \nnot a signature", ">From the start\nFrom the end",
     "Zeile mit Größe\nand a\ttab", "carriage\rreturn and\r\n", "x" * 1200, "[PATH] in brackets\n#hash"],
)  # fmt: skip
def test_a_message_that_looks_odd_survives(world: World, body: str) -> None:
    applied(world)
    (world.checkout / "b.py").write_bytes(b"x\n")
    message = f"[ROCm][PATH 1/2] Ein längerer {'sehr ' * 20}langer Betreff\n\n{body}\n\n{TRAILERS}\n"
    git(world.checkout, "-c", "user.name=Jürgen (AMD), Dr.", "commit", "--quiet", "--all", "--cleanup=verbatim", "--file=-",
        "--author=Jürgen \"Q\" O'Neill, Dr. <j@x>", stdin=message.encode())  # fmt: skip
    meant = git(world.checkout, "log", "-1", "--format=%an%ae%ad%B")
    export(world.layout, "up")
    file = patch_bytes(world)
    assert git(world.checkout, "log", "-1", "--format=%an%ae%ad%B").split() == meant.split()
    settled(world)
    (world.checkout / ".git" / "tunefork" / "primary.json").unlink()  # makes apply read the file again
    apply(world.layout, "up", "base")
    apply(world.layout, "up")
    assert export(world.layout, "up").same and patch_bytes(world) == file


@pytest.mark.slow
@pytest.mark.parametrize("where", ["git checkout -q -b mine", "git checkout -q --detach", "git branch -q -m mine"])
def test_head_elsewhere_is_refused_with_the_way_back(world: World, where: str) -> None:
    series_of(world, "one")
    subprocess.run(where.split(), cwd=world.checkout, check=True)
    world.commit({"b.py": b"x\n"}, "Mine")
    with pytest.raises(WorkAtRisk, match="HEAD on (mine|detached)") as caught:
        export(world.layout, "up")
    back = caught.value.remedy.split("`")[1]
    subprocess.run(back.split(), cwd=world.checkout, check=True, capture_output=True)
    export(world.layout, "up")
    assert world.names() == (["patch-one", "mine"] if " -m " in where else ["patch-one"])


# -- variants ---------------------------------------------------------------------------------------------------


def test_a_commit_on_only_is_woven_back(world: World) -> None:
    series_of(world, "one", "two", "three")
    apply(world.layout, "up", "only:patch-two")
    (world.checkout / "two.txt").write_bytes(b"2\n")
    git(world.checkout, "commit", "--quiet", "--all", "--amend", "--no-edit")
    report = export(world.layout, "up")
    assert world.names() == ["patch-one", "patch-two", "patch-three"] and report.changed == ("patch-two.patch", "series.lock")
    settled(world, "only:patch-two")
    apply(world.layout, "up")
    assert (world.checkout / "two.txt").read_bytes() == b"2\n" and (world.checkout / "three.txt").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "order", "after"),
    [
        ("base", ["patch-one", "patch-two", "patch-three", "mine"], "only:mine"),
        ("only:patch-two", ["patch-one", "patch-two", "patch-three", "mine"], "only:patch-two,mine"),
        ("without:patch-two", ["patch-one", "patch-two", "patch-three", "mine"], "without:patch-two"),
        ("upto:patch-two", ["patch-one", "patch-two", "mine", "patch-three"], "upto:mine"),
    ],
)
def test_a_commit_on_a_variant_becomes_a_patch_of_the_series(world: World, spec: str, order: list[str], after: str) -> None:
    series_of(world, "one", "two", "three")
    apply(world.layout, "up", spec)
    world.commit({"b.py": b"mine\n"}, "Mine")
    tree = git(world.checkout, "rev-parse", "HEAD^{tree}")
    export(world.layout, "up")
    assert world.names() == order
    assert git(world.checkout, "rev-parse", "HEAD^{tree}") == tree  # what the author sees is what it was
    settled(world, after)
    apply(world.layout, "up", "all")
    assert {path.name for path in world.checkout.glob("*.txt")} >= {"one.txt", "two.txt", "three.txt"}
    assert (world.checkout / "b.py").read_bytes() == b"mine\n"


def test_a_commit_in_a_checkout_beside_is_exported(world: World) -> None:
    series_of(world, "one", "two")
    side = apply(world.layout, "up", "without:patch-one", beside=True).path
    assert side is not None
    (side / "b.py").write_bytes(b"mine\n")
    git(side, "commit", "--quiet", "--all", "-m", "Mine")
    export(world.layout, "up", "without:patch-one")
    assert world.names() == ["patch-one", "patch-two", "mine"]
    assert git(side, "status", "--porcelain") == "" and (side / "b.py").read_bytes() == b"mine\n"
    apply(world.layout, "up")
    assert (world.checkout / "b.py").read_bytes() == b"mine\n"


def test_a_change_that_the_rest_of_the_series_cannot_follow(world: World) -> None:
    applied(world)
    world.commit({"b.py": b"one\n"}, "One")
    world.commit({"b.py": b"two\n"}, "Two")
    export(world.layout, "up")
    apply(world.layout, "up", "upto:one")
    (world.checkout / "b.py").write_bytes(b"other\n")
    git(world.checkout, "commit", "--quiet", "--all", "--amend", "--no-edit")
    before = patch_bytes(world)
    with pytest.raises(PatchConflict, match=r"two\.patch does not match.*b\.py") as caught:
        export(world.layout, "up")
    assert "--variant all" in caught.value.remedy and patch_bytes(world) == before


# -- patches/ changed since the apply (a pull) ------------------------------------------------------------------


def pulled(world: World, change: str) -> None:
    """What a colleague's change to patches/ is: made in the checkout, exported, and the checkout put back to before it."""
    state = world.checkout / ".git" / "tunefork" / "primary.json"
    held, head = state.read_bytes(), git(world.checkout, "rev-parse", "HEAD")
    if change == "new":
        world.commit({"theirs.txt": b"theirs\n"}, "Theirs")
    elif change == "gone":
        git(world.checkout, "reset", "--quiet", "--hard", "HEAD~1")
    else:
        (world.checkout / f"{change}.txt").write_bytes(b"theirs\n")
        git(world.checkout, "add", "--all")
        git(world.checkout, "commit", "--quiet", "--amend", "--no-edit")
    export(world.layout, "up")
    git(world.checkout, "reset", "--quiet", "--hard", head)
    git(world.checkout, "update-ref", "refs/tunefork/applied/tunefork/all", head)
    state.write_bytes(held)


def test_a_pulled_patch_is_not_lost(world: World) -> None:
    series_of(world, "one", "two")
    pulled(world, "new")
    world.commit({"b.py": b"mine\n"}, "Mine")
    export(world.layout, "up")
    assert sorted(world.names()) == ["mine", "patch-one", "patch-two", "theirs"]
    settled(world)
    assert (world.checkout / "theirs.txt").exists() and (world.checkout / "b.py").read_bytes() == b"mine\n"


@pytest.mark.slow
def test_a_pulled_change_of_a_patch_is_not_put_back(world: World) -> None:
    series_of(world, "one", "two")
    pulled(world, "two")
    theirs = (world.series / "patch-two.patch").read_bytes()
    world.commit({"b.py": b"mine\n"}, "Mine")
    export(world.layout, "up")
    assert (world.series / "patch-two.patch").read_bytes() == theirs and world.names() == ["patch-one", "patch-two", "mine"]
    settled(world)
    assert (world.checkout / "two.txt").read_bytes() == b"theirs\n"


def test_a_patch_that_a_pull_removed_does_not_come_back(world: World) -> None:
    series_of(world, "one", "two")
    pulled(world, "gone")
    world.commit({"b.py": b"mine\n"}, "Mine")
    export(world.layout, "up")
    assert world.names() == ["patch-one", "mine"] and not (world.series / "patch-two.patch").exists()
    settled(world)


def test_a_patch_that_a_pull_removed_is_not_called_the_same(world: World) -> None:
    series_of(world, "one", "two")
    pulled(world, "gone")
    before = patch_bytes(world)
    report = export(world.layout, "up")
    assert report.pulled == ("patch-two.patch",) and not report.same and not report.writes and patch_bytes(world) == before
    apply(world.layout, "up")
    settled(world)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["two", "gone"])
def test_a_patch_changed_on_both_sides_is_refused(world: World, change: str) -> None:
    series_of(world, "one", "two")
    pulled(world, change)
    (world.checkout / "two.txt").write_bytes(b"mine\n")
    git(world.checkout, "commit", "--quiet", "--all", "--amend", "--no-edit")
    before = patch_bytes(world)
    with pytest.raises(WorkAtRisk, match="patch-two was changed in up, and (changed in patches/|taken out of the series)"):
        export(world.layout, "up")
    assert patch_bytes(world) == before


# -- dry run, foreign settings, hand edits ----------------------------------------------------------------------


def test_a_dry_run_writes_nothing_and_exits_with_1(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from tunefork.cli.main import main

    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    series_of(world, "one")
    assert main(["patch", "export", "--dry-run"]) == 0
    mine = world.commit({"b.py": b"mine\n"}, "Mine")
    before = patch_bytes(world)
    assert main(["patch", "export", "up", "--dry-run"]) == 1
    assert "added mine.patch" in capsys.readouterr().out
    assert patch_bytes(world) == before and git(world.checkout, "rev-parse", "HEAD") == mine
    assert main(["patch", "export", "up"]) == 0 and main(["patch", "export", "--dry-run", "--json"]) == 0


def test_no_setting_of_the_users_leaks_into_a_file(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    applied(world)
    world.commit({"a.py": FILES["a.py"].replace(b"line 9\n", b"line nine\n"), "crlf.txt": b"1\r\n"}, "[ROCm] One")
    expected = lock = None
    for hostile in (False, True):
        if hostile:
            home = tmp_path / "home"
            home.mkdir()
            (home / "attributes").write_text("*.py diff=nonsense -text\n")
            (home / ".gitconfig").write_text(
                HOSTILE.format(hooks=tmp_path, ignore=tmp_path / "none", attributes=home / "attributes")
                + "[color]\nui = always\n[diff]\ncontext = 1\nexternal = /bin/false\n[format]\nsubjectPrefix = X\nnumbered = true\n"
                "headers = \"X-Leak: 1\"\nnotes = true\ncoverLetter = true\nencodeEmailHeaders = true\n[log]\nshowSignature = true\n"
            )
            monkeypatch.setenv("HOME", str(home))
            monkeypatch.delenv("GIT_CONFIG_GLOBAL", raising=False)
            for key, value in {"color.ui": "always", "diff.context": "9", "log.showSignature": "true", "diff.noprefix": "true"}.items():
                git(world.checkout, "config", key, value)
        export(world.layout, "up")
        if expected is None:
            expected, lock = (world.series / "one.patch").read_bytes(), Lock.load(world.series)
        for name in ("one.patch", "series.lock"):
            (world.series / name).unlink()
        (world.series / "series").write_text("")
        git(world.checkout, "update-ref", "refs/tunefork/applied/tunefork/all", "tunefork/base")
        state = world.checkout / ".git" / "tunefork" / "primary.json"
        state.unlink()
    export(world.layout, "up")
    assert (world.series / "one.patch").read_bytes() == expected and Lock.load(world.series) == lock


def test_a_hand_edit_is_taken_in_by_lock(world: World) -> None:
    series_of(world, "one")
    path = world.series / "patch-one.patch"
    path.write_bytes(path.read_bytes().replace(b"+one\n", b"+edited\n"))
    assert not lock_series(world.layout, "up", check=True).same
    report = lock_series(world.layout, "up")
    assert report.changed == ("patch-one.patch", "series.lock")
    apply(world.layout, "up")
    assert (world.checkout / "one.txt").read_bytes() == b"edited\n"
    settled(world)




def test_patches_that_cannot_be_removed_are_said_in_one_line(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only patches/: as for a file that cannot be written. (Root may write anywhere, so the system's refusal is a stand-in.)"""
    apply(world.layout, "up")
    world.commit({"b.py": b"x\n"}, "One")
    export(world.layout, "up")
    git(world.checkout, "reset", "--quiet", "--hard", "HEAD^")
    removed = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self.suffix == ".patch":
            raise PermissionError(13, "Permission denied", str(self))
        removed(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(TuneforkError, match=r"cannot remove .*one\.patch: Permission denied") as caught:
        export(world.layout, "up")
    assert "writable" in caught.value.remedy
