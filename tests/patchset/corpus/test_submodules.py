"""A submodule's bump, addition and removal as plain ``git format-patch`` writes them: the index line is abbreviated, the hunk has the whole commit."""

from __future__ import annotations

from pathlib import Path

import oracles
import pytest

ONE, TWO = "1234567890" * 4, "abcdef0123" * 4


@pytest.mark.parametrize("option", ["--no-full-index", "--full-index"])
def test_a_submodule_moves_comes_and_goes(option: str, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "g").write_bytes(b"only\n")
    place = tmp_path / "repository"
    oracles.repository(place, tmp_path / "files")
    base = ""
    for word in (("--cacheinfo", f"160000,{ONE},sub"), ("--cacheinfo", f"160000,{TWO},sub"), ("--force-remove", "sub"), ("--cacheinfo", f"160000,{ONE},again")):
        oracles.must(["git", "update-index", "--add", *word], place)
        oracles.must(["git", "commit", "--quiet", "-m", "Submodule"], place)
        base = base or oracles.must(["git", "rev-parse", "HEAD"], place)
    oracles.must(["git", "format-patch", "--quiet", option, "-o", str(tmp_path / "patches"), base], place)
    mine, theirs = oracles.ours(place, base, tmp_path / "patches"), oracles.git_am(place, base, tmp_path / "patches")
    assert mine.tree is not None and mine.tree == theirs.tree == oracles.must(["git", "rev-parse", "HEAD^{tree}"], place), (mine.said, theirs.said)
