"""studies/series/behaviour.py: what our rebase makes of the hard cases, beside git's own tools, which are always there."""

from __future__ import annotations

import json

import pytest

from studies.series.behaviour import CASES, RIGHT, WRONG, Hard, Stopped, build, compare, git_am, table, tried


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_ours_is_right(case: object) -> None:
    assert [(each.verdict, each.said) for each in compare([case], ["tunefork rebase"]) if each.verdict != RIGHT] == []  # type: ignore[list-item]


def test_git_am_patches_the_twin_without_a_word() -> None:
    rewritten = next(case for case in CASES if case.__name__ == "rewritten")
    found = compare([rewritten], ["git am -3"])
    assert [each.verdict for each in found] == [WRONG]
    assert table(found).splitlines()[-1] == "| rewritten | wrong |"


def test_a_stop_is_right_only_where_asking_is(tmp_path: object) -> None:
    """The judge itself: a tool that always stops is right in two cases, one that does nothing in none that changes a file."""
    from studies.series import behaviour

    def stops(*_: object) -> None:
        raise Stopped("no")

    behaviour.TOOLS["stops"] = ("git", stops)  # type: ignore[assignment]
    try:
        assert [tried(case(), "stops").verdict for case in CASES].count(RIGHT) == 2
    finally:
        del behaviour.TOOLS["stops"]


def test_the_fixture_is_what_it_says(tmp_path) -> None:  # type: ignore[no-untyped-def]
    case: Hard = next(case for case in CASES if case.__name__ == "renamed")()
    patches = build(tmp_path / "repository", case)
    assert (patches / "series").read_text() == "0001-Divide-by-the-length.patch\n"
    tree = git_am(tmp_path / "repository", patches, case)
    assert (tree / "new_name.py").read_text() == case.right["new_name.py"] and not (tree / "old_name.py").exists()  # type: ignore[index]


def test_json_is_all_that_is_on_stdout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from studies.series import behaviour

    monkeypatch.setattr(behaviour.shutil, "which", lambda _program: None)
    assert behaviour.main(["--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == [] and "LEFT OUT: quilt push" in said.err
