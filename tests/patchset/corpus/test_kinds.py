"""Every kind of patch in kinds.py: our tree is the tool's, or we refuse and say what; never another tree, never a traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import oracles
import pytest
from kinds import BASE, GIT, KINDS, QUILT, TREES, Kind


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A repository with the base that every kind goes onto; its commit."""
    return oracles.base(tmp_path_factory.mktemp("corpus"), BASE)


def written(kind: Kind, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in kind.files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_kind_of_patch(kind: Kind, base: tuple[Path, str], tmp_path: Path) -> None:
    repository, commit = base
    mine = oracles.ours(repository, commit, written(kind, tmp_path))
    assert (mine.tree is not None) == (kind.expect == "tree"), mine.said
    assert kind.says in mine.said
    assert kind.expect == "stop" or kind.tools != (QUILT,) or mine.tree == TREES[kind.name]
    if GIT in kind.tools and kind.expect == "tree":
        theirs = oracles.git_am(repository, commit, tmp_path)
        assert oracles.verdict(mine, theirs) == oracles.RIGHT, (mine, theirs)


def test_quilt_makes_the_same_trees(base: tuple[Path, str], tmp_path: Path) -> None:
    if shutil.which("quilt") is None:
        pytest.skip("quilt is not installed: its trees were NOT made here, only compared with those of kinds.TREES (apt install quilt)")
    kinds = [kind for kind in KINDS if QUILT in kind.tools and kind.expect == "tree"]
    made = {kind.name: oracles.quilt(*base, written(kind, tmp_path / str(number))).tree for number, kind in enumerate(kinds)}
    assert made == TREES
