"""Programs that are run for a result: what comes back, and that nothing of them stays whatever ends the wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tunefork.base import process
from tunefork.base.errors import BuildError
from tunefork.base.guarded import alive

# A child with two grandchildren, as a shell starts them: one that Ctrl-C does not end, one that not even SIGTERM does.
# It writes their process numbers and then waits for ever.
FAMILY = r"""
(trap '' INT; exec sleep 600) &
first=$!
(trap '' INT TERM; while :; do sleep 600; done) &
echo $$ $first $! > "$1.tmp" && mv "$1.tmp" "$1"
echo ready
wait
"""


def family(tmp_path: Path) -> tuple[list[str], Path]:
    """The command, and the file that will name its processes."""
    pids = tmp_path / "pids"
    return ["bash", "-c", FAMILY, "family", str(pids)], pids


def members(pids: Path) -> list[psutil.Process]:
    """The living processes of a family."""
    found = []
    for pid in map(int, pids.read_text().split()):
        try:
            found.append(psutil.Process(pid))
        except psutil.NoSuchProcess:
            continue
    return [one for one in found if alive(one)]


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return met


@pytest.fixture(autouse=True)
def short_grace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A family ends soon, and with the test where that fails."""
    monkeypatch.setattr(process, "GRACE_S", 0.3)
    yield
    for left in members(tmp_path / "pids") if (tmp_path / "pids").is_file() else []:
        left.kill()


@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_grandchild_is_gone_when_a_step_is_broken_off(tmp_path: Path, error: type[BaseException]) -> None:
    argv, pids = family(tmp_path)

    def stop(_line: str) -> None:
        assert len(members(pids)) == 3
        raise error

    with pytest.raises(error):
        process.run(argv, log=tmp_path / "log", on_line=stop)
    assert members(pids) == []


@pytest.mark.slow
def test_a_grandchild_is_gone_when_a_question_takes_too_long(tmp_path: Path) -> None:
    argv, pids = family(tmp_path)
    with pytest.raises(subprocess.TimeoutExpired):
        process.ask(argv, timeout=2.0)
    assert members(pids) == []


CALLER = """
import sys
from pathlib import Path
from tunefork.base import process
process.GRACE_S = 0.3
process.run(sys.argv[2:], log=Path(sys.argv[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_caller_ends_the_family_and_then_the_caller(tmp_path: Path, number: signal.Signals) -> None:
    argv, pids = family(tmp_path)
    root = Path(process.__file__).parents[2]
    command = [sys.executable, "-P", "-c", CALLER, str(tmp_path / "log"), *argv]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(root)}, stderr=subprocess.DEVNULL) as caller:
        assert wait_for(pids.is_file)
        family_was = members(pids)
        caller.send_signal(number)
        assert caller.wait(60) == -number
    assert len(family_was) == 3
    assert members(pids) == []


def test_a_second_interrupt_does_not_wait_for_the_grace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    argv, pids = family(tmp_path)
    sleep, naps = time.sleep, 0

    def impatient(seconds: float) -> None:
        nonlocal naps
        naps += 1
        if naps == 3:
            raise KeyboardInterrupt
        sleep(seconds)

    def stop(_line: str) -> None:
        monkeypatch.setattr(time, "sleep", impatient)
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "GRACE_S", 300.0)
    with pytest.raises(KeyboardInterrupt):
        process.run(argv, log=tmp_path / "log", on_line=stop)
    assert members(pids) == []


def test_a_daemon_that_a_finished_step_leaves_on_purpose_stays(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    process.run(["bash", "-c", 'sleep 600 >/dev/null 2>&1 & echo $! > "$1"', "daemon", str(pids)], log=tmp_path / "log")
    (daemon,) = members(pids)
    daemon.kill()


def test_a_step_returns_what_it_printed_and_its_log_keeps_it(tmp_path: Path) -> None:
    heard: list[str] = []
    out = process.run(["bash", "-c", "echo one; echo two >&2"], log=tmp_path / "made" / "log", on_line=heard.append)
    assert (out, heard) == ("one\ntwo\n", ["one", "two"])
    assert "$ bash -c" in (log := (tmp_path / "made" / "log").read_text()) and log.endswith("one\ntwo\n")


def test_a_step_that_fails_shows_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="(?s)ended with exit code 3:.*    why") as caught:
        process.run(["bash", "-c", "echo why; exit 3"], log=tmp_path / "log")
    assert caught.value.remedy == f"read {tmp_path / 'log'}"


def test_an_answer_comes_with_its_exit_code_and_both_streams() -> None:
    done = process.ask(["bash", "-c", "cat; echo no >&2; exit 3"], words="asked")
    assert (done.returncode, done.stdout, done.stderr) == (3, "asked", "no\n")
    assert process.ask(["no-such-program-here"]).returncode == 127


@pytest.mark.parametrize(("data", "mode", "code"), [(b"garbage\0", 0o755, 126), (b"#!/bin/sh\n", 0o644, 126), (b"#!/nowhere/sh\n", 0o755, 127), (b"\x7fELF of another machine", 0o755, 126)])
def test_a_program_that_cannot_be_started_answers_as_a_shell_does(data: bytes, mode: int, code: int, tmp_path: Path) -> None:
    """A compiler, an smi or an llvm-mca that is broken was a traceback of whatever asked it."""
    program = tmp_path / "program"
    program.write_bytes(data)
    program.chmod(mode)
    done = process.ask([program, "--version"], words="in")
    assert (done.returncode, done.stdout) == (code, "") and str(program) in done.stderr


def test_signals_are_as_they_were_after_a_program() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)]
    process.ask(["true"])
    assert [signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM)] == before
