"""A campaign's plan that somebody else made starts nothing before it was shown and somebody said yes."""

from __future__ import annotations

import json
import shutil
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.bench.campaign import approval, finalist, planned, run
from tunefork.bench.campaign.candidate import Candidate
from tunefork.bench.campaign.runner import Real
from tunefork.cli import campaign as command
from tunefork.cli.main import main

PROFILE = 'description = "d"\ntargets = ["cpu"]\nmodel = "fake"\nserved_name = "fake"\nport = 8000\nready_timeout_s = 60\n[server]\nmax-num-seqs = 4\n' \
          '[environment]\nLD_PRELOAD = "/tmp/theirs.so"\nHF_TOKEN = "a1b2c3d4e5"\n[[scenarios]]\nisl = 16\nosl = 8\nconc = [2]\n'


@pytest.fixture
def handed(desk: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a campaign that came from elsewhere, with its own profile; what would run it says so instead."""
    root = desk.folder / "root"
    monkeypatch.setenv("TUNEFORK_ROOT", str(root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(desk.folder / "cache"))
    where = root / "work" / "campaigns" / "theirs"
    where.mkdir(parents=True)
    (where / "profile.toml").write_text(PROFILE)
    made = desk.plan_of("theirs")
    odd = Candidate("odd\x1b[2J", "flag", "w", (("server.trust-remote-code", True), ("environment.API_KEY", "k1k2k3k4k5")))
    planned.write(where, replace(made, profile=str(where / "profile.toml"), candidates=(*made.candidates, odd), ray="10.9.8.7:6379"))

    def ran(*_args: object) -> None:
        raise BadInput("it ran", "")

    monkeypatch.setattr(run, "run", ran)
    return where


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["campaign", "run", *words]) == 2
    return capsys.readouterr().err


def test_it_is_shown_and_nothing_starts(handed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ((), ("--name", "theirs")):  # the newest, and by its name
        said = answer(capsys, *words)
        assert "it ran" not in said and "campaign theirs was not planned by this user" in said
        for part in ("LD_PRELOAD=/tmp/theirs.so", "--max-num-seqs 4", "server.trust-remote-code = true", "10.9.8.7:6379", "model fake", r"odd\x1b[2J"):
            assert part in said
        assert "a1b2c3d4e5" not in said and "k1k2k3k4k5" not in said and "\x1b" not in said
        assert "python3 build.py campaign run --name theirs --yes" in said


def test_yes_is_kept_for_this_plan_and_this_profile(handed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "it ran" in answer(capsys, "--name", "theirs", "--yes")
    assert "it ran" in answer(capsys)
    (handed / "profile.toml").write_text(PROFILE.replace("theirs.so", "other.so"))
    said = answer(capsys)
    assert "it ran" not in said and "LD_PRELOAD=/tmp/other.so" in said
    (handed / "profile.toml").write_text(PROFILE)
    assert "it ran" in answer(capsys)
    plan = json.loads((handed / planned.FILE).read_text())
    (handed / planned.FILE).write_text(json.dumps({**plan, "race": {"extra": ["--trust-remote-code"]}}))
    said = answer(capsys)
    assert "it ran" not in said and '["--trust-remote-code"]' in said


def test_what_is_edited_while_it_is_asked_about_is_not_approved(handed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer is of what was shown: the file was read again afterwards, and its new words kept as approved."""
    def edits(*_args: object, **_kw: object) -> bool:
        (handed / "profile.toml").write_text(PROFILE.replace("theirs.so", "other.so"))
        return True

    monkeypatch.setattr(command.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(command.click, "confirm", edits)
    assert "LD_PRELOAD=/tmp/theirs.so" in answer(capsys)
    monkeypatch.setattr(command.click, "confirm", lambda *_args, **_kw: False)
    assert main(["campaign", "run"]) == 130
    said = capsys.readouterr().err
    assert "it ran" not in said and "LD_PRELOAD=/tmp/other.so" in said


def test_a_profile_that_changes_under_a_campaign_starts_no_more_servers(handed: Path, tmp_path: Path) -> None:
    made = planned.read(handed)
    real = Real(Layout(tmp_path, tmp_path / "cache"), handed, made, print, approval.seen(made).digest())
    (handed / "profile.toml").write_text(PROFILE.replace("theirs.so", "other.so"))
    for begin in (lambda: real.start([], 1.0), lambda: real.pairs(made.candidates[0], 4, [0], 1.0), lambda: real.final(made.candidates[0], 1.0)):
        with pytest.raises(BadInput, match="has changed since this campaign began"):
            begin()


def test_a_terminal_is_asked(handed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [False, True]
    monkeypatch.setattr(command.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(command.click, "confirm", lambda *_args, **_kw: answers.pop(0))
    assert main(["campaign", "run"]) == 130 and "it ran" not in capsys.readouterr().err
    assert "it ran" in answer(capsys) and "it ran" in answer(capsys) and answers == []


def test_what_was_planned_here_runs_unasked_also_after_a_move(handed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    plan = ["campaign", "plan", "--hours", "0.3", "--profile", "smoke-campaign", "--name", "mine", "--seed", "1", "--client", "builtin"]
    assert main([*plan, "--space", "smoke", "--start-minutes", "0.4"]) == 0
    capsys.readouterr()
    assert "it ran" in answer(capsys, "--name", "mine")
    shutil.move(handed.with_name("mine"), handed.with_name("renamed"))
    assert "it ran" in answer(capsys, "--name", "renamed")
    monkeypatch.setenv("TUNEFORK_CACHE", str(handed / "cache"))  # another user
    assert "it ran" not in answer(capsys, "--name", "renamed")


def test_a_plan_whose_name_is_no_name(handed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = json.loads((handed / planned.FILE).read_text())
    (handed / planned.FILE).write_text(json.dumps({**plan, "name": "../../elsewhere"}))
    assert "its name is '../../elsewhere'" in answer(capsys, "--yes")


def test_a_candidates_name_adds_no_line_to_the_proposal(handed: Path) -> None:
    made = planned.read(handed)
    odd = Candidate('x\n[environment]\nLD_PRELOAD = "/tmp/x"\n#', "flag", "w", (("server.max-num-seqs", 8),))
    text = finalist.text(replace(made, candidates=(odd,)), (odd.name,))
    assert tomllib.loads(text)["environment"]["LD_PRELOAD"] == "/tmp/theirs.so" and tomllib.loads(text)["server"] == {"max-num-seqs": 8}


def test_a_profile_of_ours_is_no_part_of_it(desk: Any) -> None:
    assert approval.seen(desk.plan_of()).given() == {}
