"""Commands that start the fake server."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tunefork.base.ports import free_port
from tunefork.bench.server.command import ServeCommand

FAKE = Path(__file__).with_name("fake_server.py")


@pytest.fixture
def port() -> int:
    return free_port("127.0.0.1")


@pytest.fixture
def fake(tmp_path: Path, port: int) -> Callable[[str], ServeCommand]:
    """fake(behaviour): the command of a fake server on this test's port."""

    def command(behaviour: str) -> ServeCommand:
        return ServeCommand(
            argv=(sys.executable, str(FAKE), str(port), behaviour),
            env={"FAKE": "1"}, unset=(), cwd=tmp_path, host="127.0.0.1", port=port, served_name="tiny")

    return command


def fakes(port: int) -> list[psutil.Process]:
    """All living processes of the fake server on a port, orphans included: another run of these tests has fakes of its own."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if str(port) in words and any(word == str(FAKE) or word == "orphan-of-fake" for word in words) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


@pytest.fixture(autouse=True)
def nothing_left(port: int) -> Iterator[None]:
    """Every test must leave no process behind, whatever it tests."""
    yield
    left = fakes(port)
    for process in left:
        process.kill()
    assert not left, f"left behind: {left}"
