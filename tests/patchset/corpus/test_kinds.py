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


@pytest.mark.slow
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


@pytest.mark.slow
def test_quilt_makes_the_same_trees(base: tuple[Path, str], tmp_path: Path) -> None:
    if shutil.which("quilt") is None:
        pytest.skip("quilt is not installed: its trees were NOT made here, only compared with those of kinds.TREES (apt install quilt)")
    kinds = [kind for kind in KINDS if QUILT in kind.tools and kind.expect == "tree"]
    made = {kind.name: oracles.quilt(*base, written(kind, tmp_path / str(number))).tree for number, kind in enumerate(kinds)}
    assert made == TREES


# dpkg-source runs patch with -E, which deletes what is left empty: the note says so. It knows no context diff, no -R and no -pN.
BY_DPKG = ["diff -N deletion", "orig", "two names of a new file", "the folder's own name within a path", "lines at the top, without any around them"]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*BY_DPKG, "emptied, not deleted", "context diff", "the file ends in the middle of a line, quilt", "-p0"])
def test_dpkg_source_makes_the_same_tree(name: str, base: tuple[Path, str], tmp_path: Path) -> None:
    if shutil.which("dpkg-source") is None:
        pytest.skip("dpkg-source is not installed: its trees were NOT made here (apt install dpkg-dev)")
    kind = next(each for each in KINDS if each.name == name)
    mine, theirs = (tool(*base, written(kind, tmp_path)) for tool in (oracles.ours, oracles.dpkg_source))
    if name in BY_DPKG:
        assert mine.tree is not None and mine.tree == theirs.tree, theirs.said
    else:
        assert (theirs.tree is None) == (name != "emptied, not deleted"), theirs.said
        assert mine.tree != theirs.tree or mine.tree is None
        assert name != "emptied, not deleted" or "dpkg-source would delete it" in mine.said
