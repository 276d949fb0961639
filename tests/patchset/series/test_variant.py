"""tunefork/patchset/series/variant.py: the subsets of a series."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from test_mail import patch

from tunefork.base.errors import BadInput
from tunefork.patchset.series.series import Series
from tunefork.patchset.series.variant import LONGEST, choose


def series(**needs: str) -> Series:
    """a, b, c, d with what each depends on."""
    return Series("up", Path("/none"), {name: patch(b"Why.\n\nDepends-On: %s\n" % needs[name].encode() if name in needs else b"Why.\n") for name in "abcd"})


@pytest.mark.parametrize(
    ("spec", "names", "exact"),
    [
        ("base", "", True), ("all", "abcd", True), (" all ", "abcd", True), ("upto:b", "ab", True), ("upto:d.patch", "abcd", True),
        ("only:a", "a", True), ("only:b", "b", False), ("only:b,a", "ab", True), ("without:d", "abc", True), ("without:a", "bcd", False),
        ("without:a,b.patch,", "cd", False), ("without:a,b,c,d", "", True),
    ],
)  # fmt: skip
def test_subsets(spec: str, names: str, exact: bool) -> None:
    found = choose(spec, series())
    assert found.names == tuple(names) and found.exact is exact and found.note == ""


def test_dependencies_are_followed_and_told() -> None:
    chain = series(c="b", b="a")
    assert choose("only:c", chain).names == ("a", "b", "c")
    assert choose("only:c", chain).note == "only:c also takes what it depends on: a, b"
    assert choose("without:a", chain).names == ("d",)
    assert choose("without:a", chain).note == "without:a also leaves out what depends on it: b, c"
    assert choose("only:a", series(a="b", b="a")).names == ("a", "b")  # a circle ends


@pytest.mark.parametrize("spec", ["", "nothing", "only", "only:", "base:a", "all:a", "upto:a,b", "upto:", "ONLY:a", "only:z", "without:z", ":a"])
def test_what_is_no_variant(spec: str) -> None:
    with pytest.raises(BadInput) as caught:
        choose(spec, series())
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("spec", "meant"),
    [("onyl:slow-step", "only:slow-step"), ("onyl:slow-stp", "only:slow-step"), ("ONLY:fast-path", "only:fast-path"), ("without:slow_step", "slow-step"),
     ("witout:slow-step,fast-pth", "without:slow-step,fast-path"), ("bas", "base"), ("slow-step", "only:slow-step"), ("up-to:fast-path", "upto:fast-path")],
)  # fmt: skip
def test_a_misspelt_one_is_answered_with_the_nearest(spec: str, meant: str) -> None:
    named = Series("up", Path("/none"), {name: patch(b"Why.\n") for name in ("slow-step", "fast-path")})
    with pytest.raises(BadInput) as caught:
        choose(spec, named)
    assert (caught.value.remedy or "").startswith(f"did you mean {meant}? ")


def test_slugs_name_folders_and_branches() -> None:
    assert choose("only:a,b", series()).slug == "only-a-b"
    names = [f"{'long' * 10}{number}" for number in range(9)]
    many = Series("up", Path("/none"), {name: patch() for name in names})
    slugs = {choose(f"only:{','.join(names[:count])}", many).slug for count in range(1, 9)}
    assert len(slugs) == 8 and all(len(slug) <= LONGEST and re.fullmatch(r"[A-Za-z0-9._+-]+", slug) for slug in slugs)
