"""tunefork/patchset/series/series.py: the order file and the files it names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_mail import patch

from tunefork.base.errors import BadInput
from tunefork.patchset.series.series import Series


def folder(tmp_path: Path, order: bytes, *names: str, body: bytes = b"Why.\n") -> Path:
    for name in names:
        (tmp_path / f"{name}.patch").write_bytes(patch(body))
    (tmp_path / "series").write_bytes(order)
    return tmp_path


def test_order_comments_and_endings(tmp_path: Path) -> None:
    where = folder(tmp_path, b"# the top\n\nb.patch  # why\r\na\n  c-1.2+x_y.patch", "a", "b", "c-1.2+x_y")
    series = Series.load("up", where)
    assert series.names == ["b", "a", "c-1.2+x_y"]
    assert series.files["a"] == patch() and series.patches["a"].subject == "[Up] Do it"
    assert series.resolve("b.patch") == series.resolve("b") == "b"


def test_a_folder_without_an_order_is_an_empty_series(tmp_path: Path) -> None:
    assert Series.load("up", tmp_path / "nowhere").names == []


@pytest.mark.parametrize(
    ("order", "why", "remedy"),
    [
        (b"a.patch\na\n", "series:2: a is named twice", "delete one"),
        (b"a.patch\n\nnobody.patch\n", "series:3: names nobody.patch, and there is no file", "delete the line"),
        (b"../a.patch\n", "'../a.patch' is no name of a patch", "git mv"),
        (b"sub/a.patch\n", "is no name of a patch", "git mv"),
        (b"a b.patch\n", "is no name of a patch", "git mv"),
        (b"a..b.patch\n", "is no name of a patch", "git mv"),
        (b"a.lock.patch\n", "is no name of a patch", "git mv"),
        (b"a,b.patch\n", "is no name of a patch", "git mv"),
        (b"-rf.patch\n", "is no name of a patch", "git mv"),
        (b"caf\xe9.patch\n", "is no name of a patch", "git mv"),
        (b".patch\n", "is no name of a patch", "git mv"),
    ],
)
def test_lines_that_cannot_be_taken(tmp_path: Path, order: bytes, why: str, remedy: str) -> None:
    with pytest.raises(BadInput, match=re.escape(why)) as caught:
        Series.load("up", folder(tmp_path, order, "a"))
    assert remedy in caught.value.remedy


def test_a_name_that_is_not_in_the_series(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="up has no patch 'z'; its series: a, b"):
        Series.load("up", folder(tmp_path, b"a\nb\n", "a", "b")).resolve("z")


def test_dependencies(tmp_path: Path) -> None:
    where = folder(tmp_path, b"a\nb\nc\n", "a", "b", "c", body=b"Why.\n\nDepends-On: a, b.patch\nDepends-On: a\n")
    assert Series.load("up", where).depends_on("c") == ["a", "b", "a"]
    (where / "series").write_text("a\nc\n")
    with pytest.raises(BadInput, match=r"c\.patch depends on b, which the series does not have") as caught:
        Series.load("up", where).depends_on("c")
    assert "Depends-On" in caught.value.remedy


@pytest.mark.parametrize("name", ["", "series", "series.lock"])
def test_a_series_that_is_a_link_is_not_written_through(tmp_path: Path, name: str) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "patches" / "up"
    folder.parent.mkdir()
    if name:
        folder.mkdir()
        (folder / "series").write_text("") if name != "series" else None
        (folder / name).symlink_to(outside)
    else:
        outside.mkdir()
        folder.symlink_to(outside)
    with pytest.raises(BadInput, match="is a link"):
        Series.load("up", folder)
