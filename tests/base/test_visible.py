"""tunefork/base/visible.py: nothing that steers a terminal gets through, and nothing else changes."""

from __future__ import annotations

import sys
import unicodedata

import pytest

from tunefork.base.visible import visible


@pytest.mark.parametrize("text", ["[rank0] plain", "Ümlaut 中文 ✓ é", "a\tb\nc", "[red]x[/red]", "back\\slash"])
def test_what_can_be_read_stays(text: str) -> None:
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("\x1b[2Jx", "\\x1b[2Jx"), ("\x9b31m", "\\x9b31m"), ("a\rb\x08", "a\\rb\\x08"), ("\u202egnp.exe", "\\u202egnp.exe"), ("\x7f\0", "\\x7f\\x00"), ("\udcff", "\\udcff")],
)
def test_controls_are_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.slow
def test_no_control_of_unicode_is_left() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert {unicodedata.category(each) for each in visible(every)} & {"Cc", "Cf", "Zl", "Zp", "Cs"} == {"Cc"}
    assert {each for each in visible(every) if unicodedata.category(each) == "Cc"} == {"\t", "\n"}
