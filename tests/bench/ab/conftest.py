"""Streaming servers, a profile for them, and `build.py bench ab` as its user types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[3]
STREAMER = Path(__file__).with_name("streamer.py")
PROFILE = """
description = "a server that streams at a set pace"
targets = ["cpu"]
model = "fake"
served_name = "fake"
port = 8000
ready_timeout_s = 30

[server]

[environment]

[[scenarios]]
isl = 16
osl = 8
conc = [1, 2]
"""

Bench = Callable[..., "subprocess.CompletedProcess[str]"]


def streamers() -> list[psutil.Process]:
    """Living streamers."""
    return [one for one in psutil.process_iter(["cmdline", "status"])
            if (one.info["cmdline"] or [])[1:2] == [str(STREAMER)] and one.info["status"] != psutil.STATUS_ZOMBIE]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """No server may outlive its test."""
    before = {one.pid for one in streamers()}
    yield
    left = [one for one in streamers() if one.pid not in before]
    for one in left:
        one.kill()
    assert not left, f"left behind: {left}"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project folder of its own, with a profile called pace."""
    (tmp_path / "pace.toml").write_text(PROFILE)
    return tmp_path


def server_command(pace_ms: float, fault: str = "good") -> str:
    """A command for --server-cmd."""
    return f"{sys.executable} {STREAMER} {{port}} {pace_ms} {fault}"


def words(root: Path, a: str, b: str, *more: str) -> list[str]:
    """`build.py bench ab` over two commands, with the builtin client."""
    return [sys.executable, str(ROOT / "build.py"), "--no-venv", "bench", "ab", "--server-cmd-a", a, "--server-cmd-b", b, "--client", "builtin",
            "--profile", str(root / "pace.toml"), "--num-prompts", "6", "--port", "0", "--json", *more]


def environment(root: Path) -> dict[str, str]:
    return {**os.environ, "TUNEFORK_ROOT": str(root), "TUNEFORK_CACHE": str(root / "cache")}


@pytest.fixture
def bench(root: Path) -> Bench:
    """bench(a, b, more...): run to the end."""

    def run(a: str, b: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words(root, a, b, *more), env=environment(root), capture_output=True, text=True, timeout=300, check=False)

    return run


def outcome(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found
