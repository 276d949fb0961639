"""tunefork/patchset/upstream/approval.py and the command: a command that a stranger's patch brings runs only once somebody said so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from test_submission import commit_series, commit_upstream
from world import FILES, TRAILERS, World, applied, git

from tunefork.cli import upstream as command
from tunefork.cli.main import main
from tunefork.patchset.checkout.export import export

RUN = ["upstream", "one", "--onto", "v2"]


@pytest.fixture
def stranger(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A committed series, onto which a patch was put that nobody committed; its check leaves a file."""
    applied(world)
    git(world.root, "init", "--quiet")
    git(world.root, "commit", "--quiet", "--allow-empty", "-m", "Begin")
    told = TRAILERS.replace("Verified-by: true", f"Verified-by: echo ran >> {world.root}/ran; printf 'said\\033[2J'")
    world.commit({"b.py": b"one\n"}, "[Up] One", "Why.\n\n" + told)
    export(world.layout, "up")
    commit_upstream(world, {"a.py": FILES["a.py"].replace(b"line 50\n", b"theirs 50\n")}, "v2")
    monkeypatch.setenv("TUNEFORK_ROOT", str(world.root))
    monkeypatch.setenv("TUNEFORK_CACHE", str(world.layout.cache))
    return world


def ran(world: World) -> int:
    file = world.root / "ran"
    return len(file.read_text().splitlines()) if file.exists() else 0


def test_nobody_there_means_no(stranger: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(RUN) == 2 and ran(stranger) == 0
    said = capsys.readouterr().err
    assert "one brings commands" in said and "echo ran" in said and f"{' '.join(RUN)} --yes" in said
    assert not stranger.layout.checkout("up", "upstream-one").exists()  # asked before anything is made
    assert main([*RUN, "--no-verify"]) == 0 and ran(stranger) == 0


@pytest.mark.slow
def test_yes_runs_it_and_is_kept_for_that_very_command(stranger: World, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "--yes"]) == 0 and ran(stranger) == 1
    assert main(RUN) == 0 and ran(stranger) == 2
    said = capsys.readouterr()
    assert "\x1b[2J" not in said.out + said.err and "\x1b[2J" not in (stranger.layout.work / "upstream-one.md").read_text()
    patch = stranger.series / "one.patch"
    patch.write_bytes(patch.read_bytes().replace(b"echo ran >>", b"echo again >>"))
    assert main(["patch", "lock", "up"]) == 0 and main(RUN) == 2 and ran(stranger) == 2
    patch.write_bytes(patch.read_bytes().replace(b"echo again >>", b"echo ran >>"))
    (stranger.layout.cache / "approved.json").write_text("{damaged")
    assert main(["patch", "lock", "up"]) == 0 and main(RUN) == 2 and ran(stranger) == 2


def test_a_terminal_is_asked(stranger: World, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [False, True]
    monkeypatch.setattr(command.sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(command.click, "confirm", lambda *_args, **_kw: answers.pop(0))
    assert main(RUN) == 130 and ran(stranger) == 0
    assert main(RUN) == 0 and ran(stranger) == 1
    assert main(RUN) == 0 and answers == []


def test_what_a_commit_of_this_repository_holds_runs_unasked(stranger: World) -> None:
    commit_series(stranger)
    assert main(RUN) == 0 and ran(stranger) == 1
    assert not (stranger.layout.cache / "approved.json").exists()


@pytest.mark.slow
def test_a_check_has_a_deadline(stranger: World, capsys: pytest.CaptureFixture[str]) -> None:
    patch = stranger.series / "one.patch"
    patch.write_bytes(patch.read_bytes().replace(b"echo ran >>", b"sleep 600; echo ran >>"))
    assert main(["patch", "lock", "up"]) == 0
    capsys.readouterr()
    assert main([*RUN, "--yes", "--deadline", "1", "--json"]) == 1 and ran(stranger) == 0
    check = json.loads(capsys.readouterr().out)["checks"][0]
    assert not check["passed"] and "did not end within" in check["said"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_command_leaves_no_check_running(stranger: World, number: signal.Signals) -> None:
    patch = stranger.series / "one.patch"
    pid = stranger.root / "pid"
    patch.write_bytes(patch.read_bytes().replace(b"echo ran >>", f"echo $$ > {pid}; sleep 600; echo ran >>".encode()))
    assert main(["patch", "lock", "up"]) == 0
    child = subprocess.Popen([sys.executable, "-m", "tunefork.cli.main", *RUN, "--yes"], cwd=Path(__file__).parents[3], env=dict(os.environ),
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    while not (pid.exists() and pid.read_text().strip()):
        assert child.poll() is None
        time.sleep(0.05)
    check = psutil.Process(int(pid.read_text()))
    child.send_signal(number)
    child.wait()
    psutil.wait_procs([check], timeout=60)
    assert not check.is_running() and ran(stranger) == 0
