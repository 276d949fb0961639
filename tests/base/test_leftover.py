"""A command and its guardian are both killed: the next start of a program ends what they left, and nothing else."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tunefork.base import leftover
from tunefork.base.guarded import Guarded, alive

# The program: it does not go at a SIGTERM, and its worker is in a session of its own.
PROGRAM = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child == 0:
    os.setsid()
    time.sleep(600)
with open(sys.argv[1] + ".part", "w") as file:
    file.write(f"{os.getpid()} {child} {os.getppid()}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(600)
"""
COMMAND = """
import os, sys, time
from pathlib import Path
from tunefork.base.guarded import Guarded
folder = Path(sys.argv[1])
Guarded([sys.executable, "-c", sys.argv[2], str(folder / "said")], env=dict(os.environ), cwd=folder, log=folder / "log", grace_s=1.0)
time.sleep(600)
"""


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[subprocess.Popen[bytes], list[psutil.Process]]]:
    """A command that has started a program, and: the program, its worker, its guardian."""
    monkeypatch.setenv("TUNEFORK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(leftover, "TERM_S", 0.2)
    command = subprocess.Popen([sys.executable, "-c", COMMAND, str(tmp_path), PROGRAM], cwd=Path(__file__).parents[2])
    while not (tmp_path / "said").exists():
        assert command.poll() is None
        time.sleep(0.02)
    found = [psutil.Process(int(word)) for word in (tmp_path / "said").read_text().split()]
    yield command, found
    for one in (command, *found):
        if isinstance(one, subprocess.Popen) or alive(one):
            one.kill()
    command.wait()


def kill(command: subprocess.Popen[bytes], guardian: psutil.Process) -> None:
    """Both at once: neither can end the program for the other."""
    for one in (command.pid, guardian.pid):
        os.kill(one, signal.SIGSTOP)
    for one in (command.pid, guardian.pid):
        os.kill(one, signal.SIGKILL)
    command.wait()
    psutil.wait_procs([guardian], timeout=30)


def notes() -> list[Path]:
    return list(leftover.folder().iterdir())


@pytest.mark.slow
def test_the_next_start_ends_it(started: tuple[subprocess.Popen[bytes], list[psutil.Process]], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command, (program, worker, guardian) = started
    leftover.sweep()
    assert alive(program) and alive(worker) and len(notes()) == 1, "somebody looks after it"
    kill(command, guardian)
    assert alive(program) and alive(worker)
    other = Guarded([sys.executable, "-c", ""], env=dict(os.environ), cwd=tmp_path, log=tmp_path / "log2", grace_s=1.0)
    other.stop()
    assert not alive(program) and not alive(worker) and notes() == []
    said = capfd.readouterr().err
    assert said.startswith("ending what a killed command and its killed guardian left: ") and f"({worker.pid})" in said


def test_the_name_of_a_process_steers_no_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A program names itself as it likes."""
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    monkeypatch.setattr(psutil.Process, "name", lambda _self: "\x1b]0;x\x07")
    leftover.end([process := psutil.Process(program.pid)])
    assert not alive(process)
    assert capsys.readouterr().err == f"ending what a killed command and its killed guardian left: \\x1b]0;x\\x07 ({program.pid})\n"


@pytest.mark.slow
def test_one_that_lives_holds_it(started: tuple[subprocess.Popen[bytes], list[psutil.Process]]) -> None:
    command, (program, worker, guardian) = started
    guardian.suspend()
    command.kill()
    command.wait()
    leftover.sweep()
    assert alive(program) and alive(worker), "the guardian will end it"
    guardian.resume()
    psutil.wait_procs([program, worker, guardian], timeout=60)
    assert not alive(program) and not alive(worker)
    leftover.sweep()
    assert notes() == []


@pytest.mark.slow
@pytest.mark.parametrize(("said", "stays"), [("{boot} pid:[1]\n", True), ("another-boot pid:[1]\n", False)])
def test_what_cannot_be_seen_from_here(started: tuple[subprocess.Popen[bytes], list[psutil.Process]], said: str, stays: bool) -> None:
    """Another container's processes; those of a boot that is over."""
    command, (program, _, guardian) = started
    kill(command, guardian)
    (note,) = notes()
    note.write_text(said.format(boot=leftover.here().split()[0]))
    leftover.sweep()
    assert alive(program) and note.exists() == stays


@pytest.mark.slow
def test_a_command_that_is_part_of_it_does_not_end_itself(started: tuple[subprocess.Popen[bytes], list[psutil.Process]], monkeypatch: pytest.MonkeyPatch) -> None:
    command, (program, _, guardian) = started
    kill(command, guardian)
    (note,) = notes()
    monkeypatch.setenv(leftover.MARK, note.name)
    leftover.sweep()
    assert alive(program) and note.exists()


def test_a_cache_that_cannot_be_written_hinders_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("")
    monkeypatch.setenv("TUNEFORK_CACHE", str(tmp_path / "cache"))
    program = Guarded([sys.executable, "-c", "import time; time.sleep(600)"], env=dict(os.environ), cwd=tmp_path, log=tmp_path / "log", grace_s=1.0)
    program.stop()
    assert program.exit_code is not None


def test_a_note_that_cannot_be_held_is_none_and_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(held: int, how: int) -> None:
        opened.append(held)
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    opened: list[int] = []
    monkeypatch.setenv("TUNEFORK_CACHE", str(tmp_path))
    monkeypatch.setattr(fcntl, "flock", refuse)
    assert leftover.note("mark") is None
    assert list(leftover.folder().iterdir()) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])
