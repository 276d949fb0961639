"""What the importing study times: the whole import and git am, to one tree."""

from __future__ import annotations

from pathlib import Path

from studies.series import importing


def test_both_end_at_one_tree(tmp_path: Path) -> None:
    git = importing.Git(tmp_path / "repository")
    git.directory.mkdir()
    git("init", "--quiet", "--initial-branch=main", ".")
    for number in range(4):
        (git.directory / "f").write_text("".join(f"line {line}\n" for line in range(number * 3 + 3)))
        git("add", "f")
        git("commit", "--quiet", "-m", f"Commit {number}")
    (tmp_path / "scratch").mkdir()
    count, found = importing.measure(git.directory, "main~3", "main", tmp_path / "scratch", rounds=2)
    assert count == 3 and len(found) == 2 and all(ours > 0 and theirs > 0 for ours, theirs in found)
