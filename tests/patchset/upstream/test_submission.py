"""tunefork/patchset/upstream/submission.py and the command: a clean branch on a newer upstream, checked there, and a text that says only what is known."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from world import FILES, TRAILERS, World, filled, git

from tunefork.cli.main import main
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export
from tunefork.patchset.series.series import Series

A = FILES["a.py"]
BODY = "Line 5 is wrong: it should say ours.\n\nLeave it out with --variant without:one.\n\n"
CHECKS = TRAILERS.replace("Verified-by: true", "Verified-by: grep -q ours $TUNEFORK_TREE_UP/a.py")


@pytest.fixture
def two(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """other (in nobody's way), one (declares nothing), top (needs one); the upstream's v2 changed another line of the same file."""

    def fill(world: World) -> None:
        apply(world.layout, "up")
        world.commit({"b.py": b"other\n"}, "[Up] Other")
        world.commit({"a.py": A.replace(b"line 5\n", b"ours 5\n")}, "[Up] One", BODY + CHECKS)
        world.commit({"a.py": A.replace(b"line 5\n", b"ours 5\n").replace(b"line 6\n", b"top 6\n")}, "[Up] Top", "Why.\n\nDepends-On: one\n" + TRAILERS)
        export(world.layout, "up")

    filled(world, fill, "two")
    commit_upstream(world, {"a.py": A.replace(b"line 50\n", b"theirs 50\n")}, "v2")
    commit_series(world)
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    return world


def commit_series(world: World) -> None:
    """The project's repository holds the patches: their commands are its own."""
    git(world.root, "init", "--quiet")
    git(world.root, "add", "patches")
    git(world.root, "commit", "--quiet", "-m", "Patches")


def commit_upstream(world: World, files: dict[str, bytes], tag: str) -> None:
    for name, data in files.items():
        (world.upstream / name).write_bytes(data)
    git(world.upstream, "commit", "--quiet", "--all", "-m", f"To {tag}")
    git(world.upstream, "tag", tag)


def place(world: World, name: str) -> Path:
    return world.layout.checkout("up", f"upstream-{name}")


def test_the_branch_holds_the_patch_and_what_it_needs_and_nothing_else(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    before = two.snapshot()
    assert main(["upstream", "top", "--onto", "v2", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    path = place(two, "top")
    assert done["branch"] == "upstream/top" and [row["name"] for row in done["patches"]] == ["one", "top"]
    assert git(path, "log", "--format=%s", "-3").split("\n") == ["[Up] Top", "[Up] One", "To v2"]
    assert (path / "a.py").read_bytes() == A.replace(b"line 5\n", b"ours 5\n").replace(b"line 6\n", b"top 6\n").replace(b"line 50\n", b"theirs 50\n")
    assert (path / "b.py").read_bytes() == FILES["b.py"]
    message = git(path, "log", "-1", "--format=%B", "HEAD^")
    assert message == BODY.join(["[Up] One\n\n", "Signed-off-by: A. User <user@example.org>"])
    assert two.snapshot() == before


@pytest.mark.slow
def test_the_check_runs_on_the_branch_and_its_failure_is_said(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upstream", "one", "--onto", "v2", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert [check["passed"] for check in done["checks"]] == [True]
    assert done["remarks"] == ["the message speaks of Tunefork: Leave it out with --variant without:one."]
    file = two.series / "one.patch"
    file.write_bytes(file.read_bytes().replace(b"grep -q ours", b"grep -q never"))
    assert main(["patch", "lock", "up"]) == 0
    commit_series(two)
    capsys.readouterr()
    assert main(["upstream", "one", "--onto", "v2"]) == 1
    assert "FAILED: grep -q never" in capsys.readouterr().out
    assert "FAILED or did not run" in (two.layout.work / "upstream-one.md").read_text()


def test_what_a_check_says_of_a_secret_is_in_no_text(two: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The text is written to be posted."""
    monkeypatch.setenv("HF_TOKEN", "hf_of-this-shell-77")
    file = two.series / "one.patch"
    file.write_bytes(file.read_bytes().replace(b"grep -q ours", b"echo I am $HF_TOKEN >&2; grep -q never"))
    assert main(["patch", "lock", "up"]) == 0
    commit_series(two)
    assert main(["upstream", "one", "--onto", "v2"]) == 1
    said, text = capsys.readouterr(), (two.layout.work / "upstream-one.md").read_text()
    assert "I am <redacted>" in text and not any("of-this-shell" in each for each in (said.out, said.err, text))


def test_the_text_says_what_was_not_done(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upstream", "one", "--onto", "v2", "--no-verify"]) == 0
    said = (two.layout.work / "upstream-one.md").read_text()
    assert said.startswith("# [Up] One\n\n## Purpose\n\nLine 5 is wrong")
    assert "No test was run on this branch." in said and "Not run on an AMD MI355X" in said and "Expected: none, a test" in said
    assert "Upstream-Status" not in said and "Signed-off-by" not in said


def test_commits_of_the_users_on_the_branch_are_kept(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upstream", "one", "--onto", "v2", "--no-verify"]) == 0
    path = place(two, "one")
    (path / "a.py").write_bytes(b"mine\n")
    assert main(["upstream", "one", "--onto", "v2", "--no-verify"]) == 3
    assert "holds uncommitted changes" in capsys.readouterr().err
    git(path, "commit", "--quiet", "--all", "-m", "Mine")
    assert main(["upstream", "one", "--onto", "v2", "--no-verify"]) == 3
    said = capsys.readouterr().err
    assert "holds commits of yours on upstream/one" in said and (path / "a.py").read_bytes() == b"mine\n"
    printed = re.findall("`(git .*?)`", said)
    assert len(printed) == 2
    for command in printed:  # as they are printed, in the folder where our commands are typed
        subprocess.run(shlex.split(command), cwd=two.root, check=True, capture_output=True)
    assert main(["upstream", "one", "--onto", "v2", "--no-verify"]) == 0
    assert git(two.checkout, "show", "my-branch:a.py") == "mine" and (path / "a.py").read_bytes() != b"mine\n"


def test_a_check_runs_in_a_python_whose_path_has_a_blank(two: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = tmp_path / "my python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    file = two.series / "one.patch"
    file.write_bytes(re.sub(rb"Verified-by: .*", b"Verified-by: python3 -c pass", file.read_bytes()))
    assert main(["patch", "lock", "up"]) == 0
    commit_series(two)
    capsys.readouterr()
    assert main(["upstream", "one", "--onto", "v2", "--json"]) == 0
    assert [check["passed"] for check in json.loads(capsys.readouterr().out)["checks"]] == [True]


@pytest.mark.slow
def test_what_upstream_has_and_what_does_not_go_on(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    commit_upstream(two, {"a.py": A.replace(b"line 5\n", b"ours 5\n")}, "v3")
    commit_upstream(two, {"a.py": A.replace(b"line 5\n", b"other 5\n")}, "v4")
    assert main(["upstream", "one", "--onto", "v3", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["branch"], done["patches"][0]["outcome"]) == ("", "upstream") and not place(two, "one").exists()
    assert main(["upstream", "one", "--onto", "v4"]) == 7
    assert "one does not go onto v4" in capsys.readouterr().err
    assert main(["upstream", "status", "--onto", "v3", "--of", "up", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["patches"]
    assert [(row["patch"], row["declared"], row["found"]) for row in rows] == [("other", "Pending", "open"), ("one", "Pending", "merged"), ("top", "Pending", "open")]
    assert main(["upstream", "status", "--onto", "v4", "--of", "up", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["patches"][1]["found"] == "stale"


@pytest.mark.slow
def test_a_conflict_waits_in_the_worktree_and_is_gone_on_with(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    commit_upstream(two, {"a.py": A.replace(b"line 5\n", b"other 5\n")}, "v3")
    assert main(["upstream", "top", "--onto", "v3", "--no-verify"]) == 7
    path = place(two, "top")
    assert b"<<<<<<< tree\nother 5\n" in (path / "a.py").read_bytes()
    assert main(["upstream", "top", "--onto", "v3"]) == 7 and "--continue; or --abort" in capsys.readouterr().err
    assert main(["upstream", "top", "--continue"]) == 7 and "conflict markers are left in a.py" in capsys.readouterr().err
    (path / "a.py").write_bytes(A.replace(b"line 5\n", b"both 5\n"))
    assert main(["upstream", "top", "--continue", "--no-verify", "--json"]) in (0, 7)
    said = capsys.readouterr()
    if "waits in" in said.err:  # the next patch stood on the same lines
        (path / "a.py").write_bytes(A.replace(b"line 5\n", b"both 5\n").replace(b"line 6\n", b"top 6\n"))
        assert main(["upstream", "top", "--continue", "--no-verify", "--json"]) == 0
        said = capsys.readouterr()
    done = json.loads(said.out)
    assert [row["name"] for row in done["patches"]] == ["one", "top"]
    assert git(path, "log", "--format=%s", "-3").split("\n") == ["[Up] Top", "[Up] One", "To v3"]
    assert "Upstream-Status" not in git(path, "log", "-2", "--format=%B")
    assert (path / "a.py").read_bytes() == A.replace(b"line 5\n", b"both 5\n").replace(b"line 6\n", b"top 6\n")
    assert main(["upstream", "top", "--continue"]) == 2


def test_damaged_notes_of_a_conflict_say_so_and_abort_keeps_the_work(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    commit_upstream(two, {"a.py": A.replace(b"line 5\n", b"other 5\n")}, "v3")
    assert main(["upstream", "top", "--onto", "v3", "--no-verify"]) == 7
    (notes,) = (two.checkout / ".git" / "tunefork").glob("upstream-*.waits")
    notes.write_text('{"onto": "v3"}')
    (place(two, "top") / "b.py").write_bytes(b"mine\n")
    capsys.readouterr()
    assert main(["upstream", "top", "--continue"]) == 2
    said = capsys.readouterr().err
    assert "is damaged: it lacks 'base'" in said and "upstream top --abort" in said
    assert main(["upstream", "top", "--abort"]) == 0
    backup = git(two.checkout, "for-each-ref", "--format=%(refname)", "refs/tunefork/backup")
    assert git(two.checkout, "show", f"{backup}:b.py") == "mine" and not place(two, "top").exists() and not notes.exists()


def test_an_aborted_conflict_leaves_nothing(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    commit_upstream(two, {"a.py": A.replace(b"line 5\n", b"other 5\n")}, "v3")
    assert main(["upstream", "one", "--onto", "v3"]) == 7
    assert main(["upstream", "one", "--abort"]) == 0
    assert not place(two, "one").exists() and git(two.checkout, "for-each-ref", "refs/heads/upstream", "refs/tunefork/upstream") == ""
    assert main(["upstream", "one", "--abort"]) == 2
    assert main(["upstream", "one", "--onto", "v2", "--no-verify"]) == 0


def test_only_an_ab_of_this_patch_counts(two: World) -> None:
    from tunefork.cli.upstream import differs_by

    series = Series.load("up", two.series)
    good = [("base", "only:one", "one"), ("without:one", "all", "top"), ("base", "only:top", "top"), ("upto:other", "upto:one", "one")]
    bad = [("base", "all", "one"), ("only:one", "base", "one"), ("base", "base", "one"), ("base", "only:top", "other"), ("http://a", "http://b", "one")]
    assert [differs_by(series, *each) for each in (*good, *bad)] == [True] * 4 + [False] * 5


def test_what_to_type_instead(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upstream", "one"]) == 2 and "--onto main" in capsys.readouterr().err
    assert main(["upstream", "nothing", "--onto", "v2"]) == 2 and "up: other, one, top" in capsys.readouterr().err


@pytest.mark.slow
def test_a_conflict_of_a_later_patch_is_gone_on_with(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    commit_upstream(two, {"a.py": A.replace(b"line 6\n", b"theirs 6\n").replace(b"line 5\n", b"ours 5\n")}, "v3")
    commit_upstream(two, {"a.py": A.replace(b"line 10\n", b"theirs 10\n")}, "v4")
    apply(two.layout, "up")
    two.commit({"a.py": A.replace(b"line 5\n", b"ours 5\n").replace(b"line 6\n", b"top 6\n").replace(b"line 10\n", b"far 10\n")}, "[Up] Far",
               "Why.\n\nDepends-On: top\n" + TRAILERS)
    export(two.layout, "up")
    assert main(["upstream", "far", "--onto", "v4", "--no-verify"]) == 7
    assert "far does not go onto v4" in capsys.readouterr().err
    path = place(two, "far")
    (path / "a.py").write_bytes((path / "a.py").read_bytes().split(b"<<<<<<<")[0] + b"resolved\n")
    assert main(["upstream", "far", "--continue", "--no-verify", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert git(path, "log", "--format=%s", "-4").split("\n") == ["[Up] Far", "[Up] Top", "[Up] One", "To v4"]
    assert [row["commit"] for row in done["patches"]] == git(path, "log", "--reverse", "--format=%H", "-3").split("\n")


def test_a_branch_that_moved_on_meanwhile_is_not_undone(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    commit_upstream(two, {"a.py": A.replace(b"line 5\n", b"other 5\n")}, "v3")
    assert main(["upstream", "one", "--onto", "main", "--no-verify"]) == 7
    base = git(two.upstream, "rev-parse", "main")
    commit_upstream(two, {"b.py": b"later\n"}, "v4")
    path = place(two, "one")
    (path / "a.py").write_bytes(A.replace(b"line 5\n", b"both 5\n"))
    capsys.readouterr()
    assert main(["upstream", "one", "--continue", "--no-verify", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["base"] == base == git(path, "rev-parse", "HEAD^")
    assert git(path, "diff", "--name-only", "HEAD^") == "a.py"


def test_work_in_the_branchs_worktree_is_not_lost(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upstream", "one", "--onto", "v2", "--no-verify"]) == 0
    path = place(two, "one")
    (path / "mine.py").write_bytes(b"mine\n")
    assert main(["upstream", "one", "--onto", "v2", "--no-verify"]) == 3
    assert "holds untracked files: mine.py" in capsys.readouterr().err and (path / "mine.py").read_bytes() == b"mine\n"
    (path / "mine.py").unlink()
    commit_upstream(two, {"a.py": A.replace(b"line 5\n", b"other 5\n")}, "v3")
    assert main(["upstream", "one", "--onto", "v3", "--no-verify"]) == 7
    (path / "a.py").write_bytes(b"half resolved\n")
    capsys.readouterr()
    assert main(["upstream", "one", "--abort", "--json"]) == 0
    ref = json.loads(capsys.readouterr().out)["backup"]
    assert git(two.checkout, "show", f"{ref}:a.py") == "half resolved"


def test_a_series_that_changed_meanwhile_is_refused(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    commit_upstream(two, {"a.py": A.replace(b"line 5\n", b"other 5\n")}, "v3")
    assert main(["upstream", "top", "--onto", "v3", "--no-verify"]) == 7
    assert main(["patch", "drop", "other"]) == 0
    capsys.readouterr()
    assert main(["upstream", "top", "--continue", "--no-verify"]) == 2
    assert "the series of up changed since top came to wait" in capsys.readouterr().err


def test_a_skip_is_no_pass_whatever_stderr_says(two: World) -> None:
    from tunefork.patchset.upstream.submission import checked

    assert not checked(two.layout, "up", "echo '1 skipped in 0.01s'; echo 'a warning' >&2", two.checkout, print).passed
    assert checked(two.layout, "up", "echo '1 passed, 1 skipped in 0.01s'; echo 'a warning' >&2", two.checkout, print).passed


def test_a_pick_is_not_handed_back(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    with (two.series / "series").open("a") as series:
        series.write(f"pick {git(two.upstream, 'rev-parse', 'v2')} fifty\n")
    assert main(["patch", "lock", "up"]) == 0
    capsys.readouterr()
    assert main(["upstream", "fifty", "--onto", "v1"]) == 2 and "there is nothing to hand on" in capsys.readouterr().err


def test_an_upstream_that_there_is_not_is_said(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upstream", "status", "--onto", "v2", "--of", "vllm"]) == 2 and "--of vllm: no such upstream" in capsys.readouterr().err
    assert main(["upstream", "status", "--onto", "v2"]) == 0, "the only upstream is meant"
    assert main(["upstream", "status", "--onto", "./gone/away"]) == 2
    said = capsys.readouterr().err
    assert "--onto ./gone/away: there is no such folder" in said and "--to " not in said
    pins = two.layout.pins.read_text()
    two.layout.pins.write_text(pins + pins.replace("upstreams.up", "upstreams.other"))
    assert main(["upstream", "status", "--onto", "v2"]) == 2
    said = capsys.readouterr().err
    assert "--of" not in said.partition("try:")[0] and "upstream status --onto v2 --of up" in said
    two.layout.pins.write_text(pins)
    assert main(["patch", "lint", "vlllm"]) == 2 and "no upstream 'vlllm' in pins.toml" in capsys.readouterr().err


def test_a_conflict_that_waits_is_no_checkout_of_a_variant(two: World, capsys: pytest.CaptureFixture[str]) -> None:
    commit_upstream(two, {"a.py": A.replace(b"line 5\n", b"other 5\n")}, "v3")
    assert main(["upstream", "one", "--onto", "v3"]) == 7
    assert main(["status", "--json"]) == 0
    assert [Path(each["path"]).name for each in json.loads(capsys.readouterr().out)["upstreams"][0]["checkouts"]] == ["up"]
    assert main(["rebase", "up", "--to", "v2"]) == 0
