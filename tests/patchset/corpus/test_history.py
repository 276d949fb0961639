"""A real history, this project's own last commits, as ``git format-patch`` writes them: our tree and our commits are git am's."""

from __future__ import annotations

import shutil
from pathlib import Path

import oracles
import pytest

ROOT = Path(__file__).resolve().parents[3]
COMMITS = 20


@pytest.mark.slow
def test_our_own_history(tmp_path: Path) -> None:
    code, said = oracles.call(["git", "rev-list", "--first-parent", f"--max-count={COMMITS + 1}", "HEAD"], ROOT)
    if code or shutil.which("git") is None or len(said.split()) < 2:
        pytest.skip("NOT TESTED: no history of this project here (not a clone, or a shallow one)")
    base = said.split()[-1]
    oracles.must(["git", "clone", "--quiet", "--shared", "--no-checkout", str(ROOT), str(tmp_path / "clone")], tmp_path)
    patches = tmp_path / "patches"
    oracles.must(["git", "format-patch", "--quiet", "--binary", "-o", str(patches), f"{base}..HEAD"], tmp_path / "clone")
    mine, theirs = oracles.ours(tmp_path / "clone", base, patches), oracles.git_am(tmp_path / "clone", base, patches)
    assert theirs.tree is not None and (mine.tree, mine.log) == (theirs.tree, theirs.log), mine.said
