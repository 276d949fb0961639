"""Supervision on a fake server: ready, early death, silence, stubbornness, orphans, a taken port, and the death of the parent."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from tunefork.base import ports
from tunefork.base.errors import ServeError
from tunefork.base.guarded import alive
from tunefork.bench.server import server as server_module
from tunefork.bench.server.command import ServeCommand
from tunefork.bench.server.server import Server

pytestmark = pytest.mark.slow

Fake = Callable[[str], ServeCommand]


def make(command: ServeCommand, tmp_path: Path, *, ready_timeout_s: float = 20.0, grace_s: float = 5.0) -> Server:
    return Server(command, log=tmp_path / "logs" / "serve.log", ready_timeout_s=ready_timeout_s, grace_s=grace_s)


def test_a_server_is_ready_answers_and_stops(fake: Fake, tmp_path: Path) -> None:
    with make(fake("good"), tmp_path) as server:
        assert 0 < server.seconds_to_ready < 20
        assert server.complete("hello", 3).text == "hello!"
        assert os.getpgid(server.pid) == server.pid, "its own process group"
        assert os.getsid(server.pid) == server.pid, "its own session"
        assert [process.pid for process in server.processes()] == [server.pid]
    assert server.stopped is not None
    assert server.stopped.killed == 0
    assert "interrupted, leaving in order" in server.log.read_text()
    assert ports.is_free("127.0.0.1", server.command.port)


def test_the_log_begins_with_the_command(fake: Fake, tmp_path: Path) -> None:
    with make(fake("good"), tmp_path) as server:
        pass
    assert server.log.read_text().splitlines()[0] == f"$ {server.command.shell()}"


def test_early_death_shows_the_end_of_the_log_and_its_path(fake: Fake, tmp_path: Path) -> None:
    server = make(fake("dies"), tmp_path)
    with pytest.raises(ServeError) as caught, server:
        pass
    assert "exit code 1" in caught.value.message
    assert "the engine cannot start: no such device" in caught.value.message
    assert str(server.log) in caught.value.remedy


def test_megabytes_of_output_neither_block_nor_flood(fake: Fake, tmp_path: Path) -> None:
    server = make(fake("loud"), tmp_path)
    with pytest.raises(ServeError) as caught, server:
        pass
    assert "exit code 3" in caught.value.message
    assert "line 59999" in caught.value.message
    assert "line 59000" not in caught.value.message
    assert server.log.stat().st_size > 6_000_000


def test_a_server_that_is_never_ready_is_given_up_and_stopped(fake: Fake, tmp_path: Path) -> None:
    server = make(fake("mute"), tmp_path, ready_timeout_s=1.0)
    with pytest.raises(ServeError, match="did not answer within 1 s"), server:
        pass
    assert not psutil.pid_exists(server.pid)


def test_the_wait_is_told_with_the_logs_last_line(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands still until the server has said something, then moves a tenth at every look."""
    said: list[str] = []
    server = make(fake("mute"), tmp_path, ready_timeout_s=1.5)
    server.say = said.append
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.1 * (server.log.is_file() and "starting as mute" in server.log.read_text())
        return now

    monkeypatch.setattr(server_module, "PROGRESS_S", (0.3, 0.6))
    monkeypatch.setattr(server_module, "time", SimpleNamespace(monotonic=clock, sleep=time.sleep))
    with pytest.raises(ServeError), server:
        pass
    assert len(said) == 2
    assert "fake server starting as mute" in said[0]


def test_a_server_that_ignores_signals_is_killed(fake: Fake, tmp_path: Path) -> None:
    with make(fake("stubborn"), tmp_path, grace_s=0.5) as server:
        pass
    assert server.stopped is not None
    assert server.stopped.killed >= 1
    assert server.stopped.seconds >= 1.0, "after two graces"


def test_orphaned_grandchildren_in_other_sessions_are_found_and_stopped(fake: Fake, tmp_path: Path) -> None:
    with make(fake("brood"), tmp_path, grace_s=0.5) as server:
        brood = server.processes()
        assert len(brood) == 2, "the server and the orphan"
        assert len({os.getsid(process.pid) for process in brood}) == 2
    assert not any(alive(process) for process in brood)


def test_a_taken_port_is_refused_before_anything_starts_and_its_holder_named(fake: Fake, tmp_path: Path, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        server = make(fake("good"), tmp_path)
        with pytest.raises(ServeError) as caught, server:
            pass
    assert f"port {port} on 127.0.0.1 is taken by pid {os.getpid()}" in caught.value.message
    assert "--port" in caught.value.remedy
    assert server.pid == 0
    assert not server.log.exists()


def test_a_stranger_that_answers_on_the_port_is_not_taken_for_the_server(
    fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = fake("good")
    with make(good, tmp_path):
        monkeypatch.setattr("tunefork.base.ports.require_free", lambda *_: None)
        monkeypatch.setattr("tunefork.bench.server.server.PORT_RELEASE_S", 0.2)
        with pytest.raises(ServeError, match="not by the server that was started") as caught, make(fake("mute"), tmp_path):
            pass
    assert any("is held by" in note for note in caught.value.__notes__), "that the port stays taken is said too"


def test_another_model_on_the_port_is_refused(fake: Fake, tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="serves someone-else, expected tiny"), make(fake("other"), tmp_path):
        pass


def test_a_program_that_does_not_exist_is_a_clear_error(fake: Fake, tmp_path: Path, port: int) -> None:
    missing = ServeCommand(argv=("/nowhere/python", "-m", "vllm"), env={}, unset=(), cwd=tmp_path, host="127.0.0.1",
                           port=port, served_name="tiny")
    with pytest.raises(ServeError, match=r"cannot start /nowhere/python: .*No such file"), make(missing, tmp_path):
        pass


def test_the_end_of_a_running_server_is_noticed(fake: Fake, tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="ended by itself") as caught, make(fake("late"), tmp_path) as server:
        server.wait()
    assert "the engine died" in caught.value.message


def test_stop_works_when_the_guardian_was_killed(fake: Fake, tmp_path: Path) -> None:
    server = make(fake("brood"), tmp_path)
    server.start()
    brood = server.processes()
    guardian = psutil.Process(server.pid).parent()
    assert guardian is not None
    # It hangs and hears nothing of the stop, then dies: its tree has to be found without it.
    guardian.suspend()
    killer = subprocess.Popen(["sh", "-c", f"sleep 1; kill -9 {guardian.pid}"])
    server.stop()
    killer.wait()
    assert not any(alive(process) for process in brood)


PARENT = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from tunefork.bench.server.command import ServeCommand
from tunefork.bench.server.server import Server
command = ServeCommand(argv=tuple(sys.argv[3:]), env={}, unset=(), cwd=Path(sys.argv[1]), host="127.0.0.1",
                       port=int(sys.argv[2]), served_name="tiny")
with Server(command, log=Path(sys.argv[1]) / "log", ready_timeout_s=20, grace_s=0.5) as server:
    print(*(process.pid for process in server.processes()), flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("behaviour", ["good", "stubborn", "brood"])
def test_nothing_survives_the_parent(fake: Fake, tmp_path: Path, port: int, how: signal.Signals, behaviour: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), str(port), *fake(behaviour).argv],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tmp_path)
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == (2 if behaviour == "brood" else 1)
    processes = [psutil.Process(pid) for pid in pids]
    parent.send_signal(how)
    parent.wait(timeout=20)
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while any(alive(process) for process in processes) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(alive(process) for process in processes)
    assert ports.is_free("127.0.0.1", port)


def test_parent_and_guardian_killed_together_still_end_the_server(fake: Fake, tmp_path: Path, port: int) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path), str(port), *fake("good").argv],
                              stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    assert parent.stdout is not None
    server = psutil.Process(int(parent.stdout.readline()))
    guardian = server.parent()
    assert guardian is not None
    for pid in (guardian.pid, parent.pid):  # the other way round the guardian would hear of it first
        os.kill(pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    with contextlib.suppress(psutil.TimeoutExpired):
        server.wait(timeout=10)
    assert not alive(server)


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """A process that was started in the background of a script inherits that Ctrl-C is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_a_second_ctrl_c_while_stopping_kills_at_once(fake: Fake, tmp_path: Path) -> None:
    server = make(fake("stubborn"), tmp_path, grace_s=3600.0)  # far beyond this test's time limit
    server.start()
    impatient = subprocess.Popen(["sh", "-c", f"sleep 0.7; kill -INT {os.getpid()}"])
    server.stop()
    impatient.wait()
    assert server.stopped is not None
    assert server.stopped.killed == 1
