"""A program under a guardian that is itself killed: nothing of it runs on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tunefork.base.errors import ServeError
from tunefork.base.guarded import Guarded, alive

# A server whose worker leaves its session and its parent, as a daemon does, and then says who it is.
PROGRAM = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        with open(sys.argv[1] + ".part", "w") as file:
            file.write(str(os.getpid()))
        os.rename(sys.argv[1] + ".part", sys.argv[1])
        time.sleep(600)
    os._exit(0)
os.wait()
time.sleep(600)
"""


def before(guardian: psutil.Process, _program: Guarded) -> None:
    guardian.kill()
    guardian.wait(30)


def while_it_hangs(guardian: psutil.Process, program: Guarded) -> None:
    guardian.suspend()
    tell = program._tell

    def killed(words: bytes) -> None:
        tell(words)
        guardian.kill()

    program._tell = killed  # type: ignore[method-assign]


@pytest.mark.parametrize("kill", [before, while_it_hangs])
def test_a_grandchild_in_a_session_of_its_own_ends_too(tmp_path: Path, kill: Callable[[psutil.Process, Guarded], None]) -> None:
    said = tmp_path / "worker"
    program = Guarded([sys.executable, "-c", PROGRAM, str(said)], env=dict(os.environ), cwd=tmp_path, log=tmp_path / "log", grace_s=1.0)
    try:
        while not said.exists():
            program.listen(0.05)
        worker = psutil.Process(int(said.read_text()))
        guardian = psutil.Process(program.pid).parent()
        assert guardian is not None and os.getsid(worker.pid) not in (program.pid, os.getsid(guardian.pid))
        kill(guardian, program)
        program.stop()
        assert not alive(worker)
    finally:
        if said.exists() and psutil.pid_exists(int(said.read_text())):
            psutil.Process(int(said.read_text())).kill()


def test_a_guardian_that_does_not_start_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where another folder hides our package from it; what is printed then tells the same."""
    python = tmp_path / "my python"
    python.write_text("#!/bin/sh\nread task\nexit 3\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(ServeError, match="the guardian of true ended with exit code 3 before it began") as caught:
        Guarded(["true"], env=dict(os.environ), cwd=tmp_path, log=tmp_path / "log", grace_s=1.0)
    printed = caught.value.remedy.split("`")[1]
    assert subprocess.run(["bash", "-c", printed], check=False).returncode == 3
