"""tunefork/patchset/inspect/versions.py: how a patch evolved, told from this repository's commits alone."""

from __future__ import annotations

import pytest
from world import FILES, World, git

from tunefork.base.errors import BadInput
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export
from tunefork.patchset.inspect.versions import versions

A, B = FILES["a.py"], FILES["b.py"]


def saved(world: World, subject: str) -> None:
    git(world.root, "add", "patches")
    git(world.root, "commit", "--quiet", "--allow-empty", "-m", subject)


def amend(world: World, files: dict[str, bytes], *words: str) -> None:
    for name, data in files.items():
        (world.checkout / name).write_bytes(data)
    git(world.checkout, "commit", "--quiet", "--all", "--amend", "--allow-empty", *(words or ("--no-edit",)))
    export(world.layout, "up")


def test_every_kind_of_version_newest_first(world: World) -> None:
    git(world.root, "init", "--quiet")
    apply(world.layout, "up")
    world.commit({"a.py": A.replace(b"line 5\n", b"ours 5\n").replace(b"line 50\n", b"ours 50\n"), "blob.bin": b"\0\1" * 300}, "[Up] One")
    export(world.layout, "up")
    saved(world, "Add it")
    amend(world, {"a.py": A.replace(b"line 5\n", b"better 5\n").replace(b"line 50\n", b"ours 50\n")})
    saved(world, "Better")
    message = git(world.checkout, "log", "-1", "--format=%B")
    amend(world, {}, "-m", message.replace("Why.", "Why, in more words."))
    saved(world, "Say more")
    (world.series / "one.patch").rename(world.series / "renamed.patch")
    git(world.root, "add", "--all", "patches")
    saved(world, "Rename it")
    found = versions(world.layout, "up", "renamed")
    assert [(each.what, each.subject) for each in found] == [
        ("position only", "Rename it"), ("message only", "Say more"), ("changed", "Better"), ("added", "Add it")]  # fmt: skip
    assert found[0].path.endswith("renamed.patch") and found[1].path.endswith("one.patch")
    assert "better 5" in found[2].range_diff
    assert "Why, in more words." in found[1].range_diff


def test_lines_that_only_moved_are_no_change(world: World) -> None:
    git(world.root, "init", "--quiet")
    apply(world.layout, "up")
    world.commit({"a.py": A.replace(b"line 30\n", b"ours 30\n")}, "[Up] One")
    export(world.layout, "up")
    saved(world, "Add it")
    file = world.series / "one.patch"
    file.write_bytes(file.read_bytes().replace(b"@@ -27,7 +27,7 @@", b"@@ -127,7 +127,7 @@"))
    saved(world, "Move it")
    file.unlink()
    git(world.root, "rm", "--quiet", "--cached", str(file))
    saved(world, "Drop it")
    assert [each.what for each in versions(world.layout, "up", "one")] == ["removed", "position only", "added"]


def test_no_history_is_said(world: World) -> None:
    with pytest.raises(BadInput, match="is no git repository"):
        versions(world.layout, "up", "one")
    git(world.root, "init", "--quiet")
    saved(world, "Begin")
    with pytest.raises(BadInput, match="no commit of .* holds up/one.patch"):
        versions(world.layout, "up", "one")


def test_a_merge_that_a_person_made_and_a_file_that_was_broken(world: World) -> None:
    git(world.root, "init", "--quiet", "--initial-branch=main")
    apply(world.layout, "up")
    world.commit({"a.py": A.replace(b"line 5\n", b"ours 5\n")}, "[Up] One")
    export(world.layout, "up")
    saved(world, "Add it")
    file = world.series / "one.patch"
    text = file.read_bytes()

    def write(data: bytes, subject: str) -> None:
        file.write_bytes(data)
        saved(world, subject)

    git(world.root, "checkout", "--quiet", "-b", "side")
    write(text.replace(b"+ours 5", b"+side 5"), "Side")
    git(world.root, "checkout", "--quiet", "main")
    write(text.replace(b"+ours 5", b"+main 5"), "Main")
    git(world.root, "merge", "side", check=False)
    write(text.replace(b"+ours 5", b"+both 5"), "Merge")
    write(text[:-40], "Cut it")
    write(text, "Mend it")
    found = {each.subject: each for each in versions(world.layout, "up", "one")}
    assert found["Merge"].what == "changed" and "both 5" in found["Merge"].range_diff
    assert found["Cut it"].what == "unreadable" and found["Mend it"].what == "changed"
    git(world.root, "checkout", "--quiet", "-b", "other")
    write(text.replace(b"+ours 5", b"+other 5"), "Other")
    git(world.root, "checkout", "--quiet", "main")
    git(world.root, "commit", "--quiet", "--allow-empty", "-m", "Elsewhere")
    git(world.root, "merge", "--quiet", "--no-ff", "-m", "Take the other", "other")
    assert versions(world.layout, "up", "one")[0].subject == "Other"


@pytest.mark.parametrize("mode", ["100755", "120000"])
def test_a_mode_is_a_change(world: World, mode: str) -> None:
    """``git range-diff`` writes "=" for two commits that add one file under different modes: a script that no longer runs, a link."""
    git(world.root, "init", "--quiet")
    apply(world.layout, "up")
    world.commit({"tool": b"a.py"}, "[Up] One")
    export(world.layout, "up")
    saved(world, "Add it")
    file = world.series / "one.patch"
    file.write_bytes(file.read_bytes().replace(b"new file mode 100644", b"new file mode " + mode.encode()))
    saved(world, "Another mode")
    newest = versions(world.layout, "up", "one")[0]
    assert newest.what == "changed"
    assert newest.range_diff.splitlines()[1:] == [f"    tool: mode 100644 -> mode {mode}"]


def test_a_mode_of_a_file_of_upstreams_is_a_change(world: World) -> None:
    git(world.root, "init", "--quiet")
    apply(world.layout, "up")
    world.commit({"a.py": A.replace(b"line 30\n", b"ours 30\n")}, "[Up] One")
    export(world.layout, "up")
    saved(world, "Add it")
    file = world.series / "one.patch"
    text = file.read_bytes()
    index = next(line for line in text.split(b"\n") if line.startswith(b"index "))
    file.write_bytes(text.replace(index, b"old mode 100644\nnew mode 100755\n" + index.rpartition(b" ")[0]))
    saved(world, "Let it run")
    newest = versions(world.layout, "up", "one")[0]
    assert newest.what == "changed" and "mode" in newest.range_diff
