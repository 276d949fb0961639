"""tunefork/patchset/series/commit.py: a commit that is made of a tree is the one that applying the patch makes, whichever git is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_materialise import new_repository, patch, text
from trees import commit, run

from tunefork.patchset.git import Git
from tunefork.patchset.series import mail
from tunefork.patchset.series.commit import commit_as
from tunefork.patchset.series.materialise import materialise


@pytest.mark.parametrize("name", ["A B", "Sammy Davis Jr.", ".NET Foundation", "Größe"])
def test_it_is_the_commit_that_materialise_makes(tmp_path: Path, name: str) -> None:
    """By `git commit-tree` of git 2.39 the author was "Sammy Davis Jr", of 2.47 "Sammy Davis Jr."."""
    repository = new_repository(tmp_path / "repository")
    before, after = commit(repository, {b"a": text("1")}, {b"a": text("2")})
    told = patch(repository, before, after)
    named = mail.read("p", told.data.replace(b"From: A <", f"From: {name} <".encode()))
    git = Git(repository)
    (made,) = materialise(git, before, [named])
    assert commit_as(git, f"{after}^{{tree}}", before, named, named.message) == made.commit
    assert run(repository, "log", "-1", "--format=%an", made.commit).decode().strip() == name
