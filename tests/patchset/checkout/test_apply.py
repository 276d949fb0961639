"""tunefork/patchset/checkout/apply.py on real git: pure, incremental, and never over a user's work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from world import FILES, World, filled, git, make

from tunefork.base.errors import BadInput, LockMismatch, PatchConflict, WorkAtRisk
from tunefork.patchset.checkout.apply import Applied, apply
from tunefork.patchset.checkout.export import export
from tunefork.patchset.checkout.status import status

LINES = FILES["a.py"].splitlines(keepends=True)


def edited(number: int, text: str) -> bytes:
    """a.py with one line replaced."""
    return b"".join(f"{text}\n".encode() if at == number else line for at, line in enumerate(LINES, 1))


def three_patches(world: World) -> Applied:
    """A series of three in a fresh world, applied: two on a.py far apart, one with everything that is not plain text."""
    filled(world, make_three_patches, "three patches")
    return apply(world.layout, "up")


def make_three_patches(world: World) -> None:
    """The same, by commits and an export."""
    apply(world.layout, "up")
    world.commit({"a.py": edited(5, "first")}, "[Up] Change line five")
    both = edited(5, "first").replace(b"line 50\n", b"second\n")
    world.commit({"a.py": both}, "[Up] Change line fifty")
    git(world.checkout, "mv", "pkg/c.py", "pkg/d ü.py")
    (world.checkout / "run.sh").chmod(0o755)
    world.commit(
        {
            "crlf.txt": b"one\r\nTWO\r\nthree\r\n",
            "latin.txt": "caf\xe9\nL\xednea\n".encode("latin-1"),
            "noeol.txt": b"still no end of line",
            "blob.bin": bytes(reversed(range(256))) * 3,
            "empty": None,
            "new-empty": b"",
            "pkg/d ü.py": b"value = 4\n",
            "run.sh": b"#!/bin/sh\necho hi\n",
        },
        "[Up] Change what is not plain text",
    )
    export(world.layout, "up")
    apply(world.layout, "up")


def test_first_apply_checks_out_the_pin(world: World) -> None:
    done = apply(world.layout, "up")
    assert (world.checkout / "a.py").read_bytes() == FILES["a.py"]
    assert done.tree == done.base_tree and done.source == "git"
    assert git(world.checkout, "status", "--porcelain") == ""


def test_round_trip_of_every_kind_of_file(world: World) -> None:
    done = three_patches(world)
    assert world.names() == ["change-line-five", "change-line-fifty", "change-what-is-not-plain-text"]
    shutil.rmtree(world.checkout)
    again = apply(world.layout, "up")
    assert (again.tree, again.commit) == (done.tree, done.commit)
    assert (world.checkout / "latin.txt").read_bytes() == "caf\xe9\nL\xednea\n".encode("latin-1")
    assert (world.checkout / "crlf.txt").read_bytes() == b"one\r\nTWO\r\nthree\r\n"
    assert (world.checkout / "noeol.txt").read_bytes() == b"still no end of line"
    assert (world.checkout / "blob.bin").read_bytes() == bytes(reversed(range(256))) * 3
    assert (world.checkout / "new-empty").read_bytes() == b"" and not (world.checkout / "empty").exists()
    assert (world.checkout / "pkg/d ü.py").read_bytes() == b"value = 4\n" and not (world.checkout / "pkg/c.py").exists()
    assert (world.checkout / "run.sh").stat().st_mode & 0o111
    assert export(world.layout, "up", dry_run=True).same


def test_a_second_apply_touches_nothing(world: World) -> None:
    three_patches(world)
    before = world.snapshot()
    done = apply(world.layout, "up")
    assert done.changed == 0 and {patch.state for patch in done.patches} == {"kept"}
    assert world.snapshot() == before


def test_switching_variants_touches_only_what_differs(world: World) -> None:
    three_patches(world)
    before = world.snapshot()
    done = apply(world.layout, "up", "upto:change-line-fifty")
    assert [patch.state for patch in done.patches] == ["kept", "kept", "left out"]
    after = world.snapshot()
    assert after["a.py"] == before["a.py"] and after["pkg/c.py"][0] == FILES["pkg/c.py"]
    assert apply(world.layout, "up", "base").tree == done.base_tree
    assert {name: data for name, (data, _) in world.snapshot().items()} == FILES


def test_only_and_without_merge_what_is_independent(world: World) -> None:
    three_patches(world)
    apply(world.layout, "up", "only:change-line-fifty")
    assert (world.checkout / "a.py").read_bytes() == FILES["a.py"].replace(b"line 50\n", b"second\n")
    apply(world.layout, "up", "without:change-line-five")
    assert b"line 5\n" in (world.checkout / "a.py").read_bytes() and b"second\n" in (world.checkout / "a.py").read_bytes()


def test_an_undeclared_dependency_is_named(world: World) -> None:
    apply(world.layout, "up")
    world.commit({"a.py": edited(5, "first")}, "[Up] One")
    world.commit({"a.py": edited(5, "second")}, "[Up] Two")
    export(world.layout, "up")
    with pytest.raises(PatchConflict, match=r"only:two: .*a\.py conflicts.*two needs a patch") as caught:
        apply(world.layout, "up", "only:two")
    assert "Depends-On" in caught.value.remedy
    assert b"second\n" in (world.checkout / "a.py").read_bytes()  # as it was


def test_a_declared_dependency_is_followed(world: World) -> None:
    from world import TRAILERS

    apply(world.layout, "up")
    world.commit({"a.py": edited(5, "first")}, "[Up] One")
    world.commit({"a.py": edited(5, "second")}, "[Up] Two", "Why.\n\n" + TRAILERS + "\nDepends-On: one")
    export(world.layout, "up")
    said: list[str] = []
    done = apply(world.layout, "up", "only:two", say=said.append)
    assert [patch.state for patch in done.patches] != ["left out", "applied"] and any("one" in line for line in said)
    assert apply(world.layout, "up", "without:one").tree == done.base_tree


def test_variants_stand_side_by_side(world: World) -> None:
    done = three_patches(world)
    aside = apply(world.layout, "up", "base", beside=True)
    assert aside.path == world.layout.checkout("up", "base") and aside.tree == aside.base_tree
    assert apply(world.layout, "up").tree == done.tree and apply(world.layout, "up").changed == 0
    third = apply(world.layout, "up", "only:change-line-five", beside=True)
    assert third.path == world.layout.checkout("up", "only-change-line-five")
    assert [each.variant for each in status(world.layout, "up").checkouts] == ["all", "base", "only:change-line-five"]


def test_the_first_checkout_of_all_may_stand_beside(world: World) -> None:
    """Nothing is there yet: the primary is made at the pin, and the unpatched variant beside it."""
    aside = apply(world.layout, "up", "base", beside=True)
    assert aside.path == world.layout.checkout("up", "base") and (aside.path / "a.py").read_bytes() == FILES["a.py"]
    assert [each.variant for each in status(world.layout, "up").checkouts] == ["base", "base"]


@pytest.mark.parametrize("spec", ["nonsense", "only:", "only:nobody", "upto:change-line-five,change-line-fifty"])
def test_a_variant_that_cannot_be_understood(world: World, spec: str) -> None:
    three_patches(world)
    with pytest.raises(BadInput) as caught:
        apply(world.layout, "up", spec)
    assert caught.value.remedy


# -- the lock ---------------------------------------------------------------------------------------------------


def test_a_tampered_patch_is_refused(world: World) -> None:
    three_patches(world)
    path = world.series / "change-line-five.patch"
    path.write_bytes(path.read_bytes().replace(b"+first", b"+evil!"))
    before = world.snapshot()
    with pytest.raises(LockMismatch, match=r"change-line-five\.patch is not the file"):
        apply(world.layout, "up")
    assert world.snapshot() == before


@pytest.mark.parametrize("fresh", [False, True])
def test_a_tampered_lock_is_refused(world: World, fresh: bool) -> None:
    three_patches(world)
    lock = world.series / "series.lock"
    lines = lock.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(":"))
    fields = lines[at].split(" ")
    fields[3] = "1" * 40
    lines[at] = " ".join(fields)
    lock.write_text("\n".join(lines) + "\n")
    if fresh:
        shutil.rmtree(world.checkout)
    with pytest.raises(LockMismatch, match="than series.lock records"):
        apply(world.layout, "up")


def test_a_changed_order_is_refused(world: World) -> None:
    three_patches(world)
    order = world.series / "series"
    order.write_text("\n".join(reversed(order.read_text().split())) + "\n")
    with pytest.raises(LockMismatch, match="their order"):
        apply(world.layout, "up")


def test_patches_without_a_lock_are_refused(world: World) -> None:
    three_patches(world)
    (world.series / "series.lock").unlink()
    with pytest.raises(LockMismatch, match=r"no series\.lock"):
        apply(world.layout, "up")


# -- a user's work ----------------------------------------------------------------------------------------------


def test_uncommitted_work_is_not_overwritten(world: World) -> None:
    three_patches(world)
    (world.checkout / "a.py").write_bytes(b"mine\n")
    with pytest.raises(WorkAtRisk, match=r"uncommitted changes.*a\.py") as caught:
        apply(world.layout, "up", "base")
    assert (world.checkout / "a.py").read_bytes() == b"mine\n"
    assert all(word in caught.value.remedy for word in ("export", "stash", "--discard"))


def test_work_elsewhere_in_the_tree_is_carried_along(world: World) -> None:
    three_patches(world)
    (world.checkout / "b.py").write_bytes(b"mine\n")
    (world.checkout / "untracked.txt").write_bytes(b"mine too\n")
    apply(world.layout, "up", "base")
    assert (world.checkout / "b.py").read_bytes() == b"mine\n" and (world.checkout / "untracked.txt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("ignored", [False, True])
def test_an_untracked_file_is_not_overwritten(world: World, ignored: bool) -> None:
    three_patches(world)
    apply(world.layout, "up", "base")
    (world.checkout / "new-empty").write_bytes(b"mine\n")
    if ignored:
        (world.checkout / ".git" / "info").mkdir(exist_ok=True)
        (world.checkout / ".git" / "info" / "exclude").write_text("new-empty\n")
    with pytest.raises(WorkAtRisk, match="untracked files.*new-empty"):
        apply(world.layout, "up")
    assert (world.checkout / "new-empty").read_bytes() == b"mine\n"
    apply(world.layout, "up", discard=True)
    backup = git(world.checkout, "for-each-ref", "--format=%(refname)", "refs/tunefork/backup")
    assert git(world.checkout, "show", f"{backup}:new-empty") == "mine"
    assert (world.checkout / "new-empty").read_bytes() == b""


def test_unexported_commits_are_not_left_behind(world: World) -> None:
    three_patches(world)
    mine = world.commit({"b.py": b"mine\n"}, "My work")
    with pytest.raises(WorkAtRisk, match="unexported commits.*My work"):
        apply(world.layout, "up", "base")
    with pytest.raises(WorkAtRisk, match="unexported"):
        apply(world.layout, "up")
    assert git(world.checkout, "rev-parse", "HEAD") == mine


def test_discard_keeps_a_backup_of_everything(world: World) -> None:
    done = three_patches(world)
    world.commit({"b.py": b"committed\n"}, "My work")
    (world.checkout / "a.py").write_bytes(b"uncommitted\n")
    (world.checkout / "loose.txt").write_bytes(b"untracked\n")
    said: list[str] = []
    again = apply(world.layout, "up", discard=True, say=said.append)
    assert again.tree == done.tree
    backup = git(world.checkout, "for-each-ref", "--format=%(refname)", "refs/tunefork/backup")
    assert [git(world.checkout, "show", f"{backup}:{name}") for name in ("a.py", "b.py", "loose.txt")] == [
        "uncommitted", "committed", "untracked",
    ]  # fmt: skip
    assert backup in said[-1]
    assert git(world.checkout, "status", "--porcelain") == "?? loose.txt"


def test_a_git_operation_in_progress_stops_apply(world: World) -> None:
    three_patches(world)
    git(world.checkout, "checkout", "--quiet", "-b", "side", "tunefork/base")
    world.commit({"a.py": b"other\n"}, "Side")
    git(world.checkout, "checkout", "--quiet", "tunefork/all")
    git(world.checkout, "cherry-pick", "side", check=False)
    with pytest.raises(WorkAtRisk, match="cherry-pick is in progress"):
        apply(world.layout, "up", "base")


def test_a_folder_that_is_not_ours_is_left_alone(world: World) -> None:
    world.checkout.mkdir(parents=True)
    (world.checkout / "precious").write_text("x")
    with pytest.raises(WorkAtRisk, match="is no checkout of Tunefork"):
        apply(world.layout, "up")
    assert (world.checkout / "precious").read_text() == "x"


# -- the same hashes everywhere ---------------------------------------------------------------------------------

HOSTILE = """[user]
name = Somebody Else
email = else@example.org
[core]
autocrlf = true
eol = crlf
hooksPath = {hooks}
whitespace = fix
excludesFile = {ignore}
attributesFile = {attributes}
[commit]
gpgSign = true
[gpg]
program = /bin/false
[diff]
noprefix = true
mnemonicPrefix = true
algorithm = patience
[apply]
whitespace = fix
ignoreWhitespace = change
[rerere]
enabled = true
[format]
signOff = true
attach = yes
from = true
[i18n]
commitEncoding = ISO-8859-1
[init]
defaultBranch = trunk
templateDir = {hooks}
[merge]
conflictStyle = diff3
"""


def test_hashes_do_not_depend_on_whose_machine_it_is(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = three_patches(world)
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for hook in ("post-checkout", "pre-commit", "applypatch-msg", "post-index-change", "reference-transaction"):
        (hooks / hook).write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\nexit 1\n")
        (hooks / hook).chmod(0o755)
    (tmp_path / "ignore").write_text("*.py\nnew-empty\n")
    (tmp_path / "attributes").write_text("* text=auto eol=crlf\n*.py ident\n")
    home = tmp_path / "home"
    home.mkdir()
    config = HOSTILE.format(hooks=hooks, ignore=tmp_path / "ignore", attributes=tmp_path / "attributes")
    (home / ".gitconfig").write_text(config)
    other = make(tmp_path / "other")
    shutil.rmtree(other.series)
    shutil.copytree(world.series, other.series)
    (other.root / "pins.toml").write_text((world.root / "pins.toml").read_text())
    for name, value in {
        "HOME": str(home), "GIT_AUTHOR_NAME": "X", "GIT_AUTHOR_EMAIL": "x@x", "GIT_COMMITTER_DATE": "2001-01-01T00:00:00",
        "GIT_AUTHOR_DATE": "2001-01-01T00:00:00", "LC_ALL": "tr_TR.UTF-8", "TZ": "Pacific/Auckland", "GIT_DIR": "/nowhere",
        "GIT_INDEX_FILE": "/nowhere/index", "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.bare", "GIT_CONFIG_VALUE_0": "true",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    there = apply(other.layout, "up")
    assert (there.tree, there.commit) == (here.tree, here.commit)
    assert (other.checkout / "crlf.txt").read_bytes() == b"one\r\nTWO\r\nthree\r\n"
    assert (other.checkout / "a.py").read_bytes() == (world.checkout / "a.py").read_bytes()
    assert export(other.layout, "up", dry_run=True).same
    assert not (tmp_path / "hook-ran").exists()
