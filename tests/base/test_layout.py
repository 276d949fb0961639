"""base/layout.py: which checkout a command acts on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunefork.base import layout
from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout, find_root, user_cache

OURS = Path(layout.__file__).resolve().parents[2]


def checkout(folder: Path) -> Path:
    (folder / "patches").mkdir(parents=True)
    (folder / "pins.toml").touch()
    return folder


@pytest.fixture(autouse=True)
def nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNEFORK_ROOT", raising=False)
    monkeypatch.setattr(layout, "BUILD_PY", [])


def test_the_nearest_checkout_upward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = checkout(checkout(tmp_path / "outer") / "work" / "inner")
    deep = inner / "work" / "vllm" / "csrc"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert find_root() == inner
    (inner / "pins.toml").unlink()
    assert find_root() == tmp_path / "outer"


def test_what_is_named_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout(tmp_path / "here"))
    assert find_root() == tmp_path / "here"
    layout.BUILD_PY[:] = [checkout(tmp_path / "called")]
    assert find_root() == tmp_path / "called"
    monkeypatch.setenv("TUNEFORK_ROOT", str(tmp_path / "named"))
    assert find_root() == tmp_path / "named"


def test_elsewhere_it_is_the_code_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_root() == OURS


def test_code_that_lies_in_no_checkout_says_what_to_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(layout, "__file__", str(tmp_path / "site" / "tunefork" / "base" / "layout.py"))
    with pytest.raises(BadInput, match="not in a Tunefork checkout") as caught:
        Layout.here()
    assert "cd into one" in caught.value.remedy and "TUNEFORK_ROOT" in caught.value.remedy


def test_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEFORK_CACHE", str(tmp_path / "named"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_cache() == tmp_path / "named"
    monkeypatch.delenv("TUNEFORK_CACHE")
    assert user_cache() == tmp_path / "xdg" / "tunefork"
