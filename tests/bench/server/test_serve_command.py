"""`build.py serve` with a fake server in the place of vLLM: what it prints, how it ends, and with which exit code."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FAKE = Path(__file__).with_name("fake_server.py")

# Runs the command with an installed variant that is the fake server, whatever this machine has installed.
DRIVER = """
import sys
from pathlib import Path
from tunefork.develop import variants
from tunefork.patchset.checkout.applied import AppliedTree
tree = AppliedTree("vllm", "all", Path("/nowhere"), "sdist", "0" * 40, "0" * 40, "0" * 40, ())
variants.environment = lambda layout, variant, say: variants.VariantEnvironment(
    Path(sys.argv[1]), {}, tree, "0.29.0+fake", sys.argv[2])
from tunefork.develop import installed
installed.installed_target = lambda: sys.argv[2]
from tunefork.cli.main import main
sys.exit(main(sys.argv[3:]))
"""

Serve = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """serve(behaviour, arguments...): build.py serve in a process of its own."""
    started: list[subprocess.Popen[str]] = []

    def start(behaviour: str, *arguments: str, target: str = "cpu") -> subprocess.Popen[str]:
        python = tmp_path / "python"
        python.write_text(f"#!{sys.executable}\nimport os, sys\nport = sys.argv[sys.argv.index('--port') + 1]\n"
                          f"os.execv({sys.executable!r}, ['python', {str(FAKE)!r}, port, {behaviour!r}])\n")
        python.chmod(0o755)
        environment = {**os.environ, "TUNEFORK_ROOT": str(tmp_path), "TUNEFORK_CACHE": str(tmp_path / "cache")}
        process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, str(python), target, "serve", "--model", "/weights", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def until(process: subprocess.Popen[str], word: str) -> list[str]:
    """What was said on stderr up to a line with a word in it."""
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line.rstrip())
        if word in line:
            return lines
    raise AssertionError(f"{word!r} was never said:\n" + "\n".join(lines))


CURL = """#!{python}
import sys, urllib.request
url, _, header, _, data = sys.argv[1:]
assert sys.argv[2::2] == ["-H", "-d"]
print(urllib.request.urlopen(urllib.request.Request(url, data.encode(), dict([header.split(": ")]))).read().decode())
"""


def pasted(line: str, folder: Path) -> str:
    """What a shell says to a line with curl in it, where curl need not be installed."""
    folder.mkdir()
    (folder / "curl").write_text(CURL.format(python=sys.executable))
    (folder / "curl").chmod(0o755)
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(line, shell=True, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_foreground_until_stopped(serve: Serve, port: int, tmp_path: Path, how: signal.Signals) -> None:
    process = serve("good", "--port", str(port))
    said = until(process, "try: curl")
    assert said[0].startswith("starting vLLM 0.29.0+fake (all) for profile smoke; log: ")
    assert said[-2].startswith(f"ready: http://127.0.0.1:{port}  model tiny  variant all  vllm 0.29.0+fake")
    shown = pasted(said[-1].split("try: ")[1], tmp_path / "bin")
    assert json.loads(shown)["choices"][0]["text"] == "This is a story of!", "the line to paste works"
    process.send_signal(how)
    rest = until(process, "stopped in")
    assert rest[-1].endswith(f"no process left, port {port} free")
    assert process.wait(timeout=30) == 0


def test_json_says_what_is_served(serve: Serve, port: int) -> None:
    process = serve("good", "--port", str(port), "--json")
    until(process, "try: curl")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    said = json.loads(out)
    assert said["base_url"] == f"http://127.0.0.1:{port}"
    assert (said["model"], said["variant"], said["version"]) == ("tiny", "all", "0.29.0+fake")
    assert said["seconds_to_ready"] > 0
    assert Path(said["log"]).is_file()


def test_stopped_before_ready_is_130(serve: Serve, port: int) -> None:
    process = serve("mute", "--port", str(port))
    until(process, "starting vLLM")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130


def test_a_server_that_dies_is_9_with_the_logs_end(serve: Serve, port: int) -> None:
    _, errors = (process := serve("dies", "--port", str(port))).communicate(timeout=20)
    assert process.returncode == 9
    assert "error: the server ended before it was ready (exit code 1)" in errors
    assert "the engine cannot start: no such device" in errors
    assert "try: read " in errors


def test_a_server_that_dies_later_is_9_too(serve: Serve, port: int) -> None:
    process = serve("late", "--port", str(port))
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 9
    assert "ready:" in errors
    assert "the server ended by itself" in errors


def test_the_wait_has_an_end(serve: Serve, port: int) -> None:
    process = serve("mute", "--port", str(port), "--ready-timeout", "1")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 9
    assert "did not answer within 1 s" in errors


def test_a_taken_port_is_9_and_its_holder_named(serve: Serve, port: int) -> None:
    with socket.create_server(("127.0.0.1", port)):
        process = serve("good", "--port", str(port))
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 9
    assert f"is taken by pid {os.getpid()}" in errors


def test_port_zero_is_any_free_one(serve: Serve) -> None:
    process = serve("good", "--port", "0")
    said = until(process, "ready:")
    assert "127.0.0.1:0 " not in said[-1]


def test_the_port_can_come_from_the_environment(serve: Serve, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEFORK_PORT", str(port))
    assert f"127.0.0.1:{port} " in until(serve("good"), "ready:")[-1]


@pytest.mark.parametrize(("arguments", "target", "says"), [
    (("--profile", "nothing"), "cpu", "no profile 'nothing'"),
    (("--tp", "0"), "cpu", "--tp 0"),
    (("--", "--port", "1"), "cpu", "--port after `--`"),
    (("--", "--served_model_name=x"), "cpu", "--served-model-name after `--`"),
])
def test_bad_input_is_2(serve: Serve, arguments: tuple[str, ...], target: str, says: str) -> None:
    process = serve("good", *arguments, target=target)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 2
    assert says in errors


def test_a_profile_of_another_target_is_6(serve: Serve) -> None:
    process = serve("good", "--profile", "seed", target="cpu")
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 6
    assert "profile seed is served by an install for gfx950; this one is for cpu" in errors


@pytest.mark.parametrize("name", ["smoke", "seed", "stage2"])
def test_a_dry_run_needs_nothing_installed_and_starts_nothing(serve: Serve, tmp_path: Path, name: str) -> None:
    process = serve("good", "--profile", name, "--tp", "2", "--dry-run", "--json", "--", "--max-num-seqs", "3")
    out, errors = process.communicate(timeout=20)
    assert process.returncode == 0, errors
    said = json.loads(out)
    assert said["argv"][1:5] == ["-m", "vllm.entrypoints.cli.main", "serve", "/weights"]
    assert said["argv"][said["argv"].index("--tensor-parallel-size") + 1] == "2"
    assert said["argv"][-2:] == ["--max-num-seqs", "3"]
    assert "vLLM is not applied here" in errors
    assert sorted(path.name for path in tmp_path.iterdir()) == ["python"], "no folder made"


def test_a_dry_run_shows_what_comes_from_the_shell(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "DEBUG")
    monkeypatch.setenv("HF_TOKEN", "secret")
    out, errors = serve("good", "--dry-run").communicate(timeout=20)
    assert "from your shell, not from the profile: VLLM_LOGGING_LEVEL=DEBUG" in errors
    assert "secret" not in out + errors
    assert out.startswith("cd ")


def test_a_derived_profile_says_how_it_differs(serve: Serve) -> None:
    out, errors = serve("good", "--profile", "inferencex-8k1k-tp4", "--dry-run").communicate(timeout=20)
    assert "inferencex-8k1k-tp4 differs from its base: server.tensor-parallel-size: 4 (its ladder has TP 4" in errors
    assert "--tensor-parallel-size 4" in out and "--max-model-len 9472" in out


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_dry_run_tells_no_secret(serve: Serve, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "key-of-the-shell")
    out, errors = serve("good", "--dry-run", *form, "--", "--api-key", "key-typed-here", "--max-num-batched-tokens", "8192").communicate(timeout=20)
    assert "key-of-the-shell" not in out + errors and "key-typed-here" not in out + errors
    assert "<redacted>" in out and "8192" in out and "VLLM_API_KEY" in out + errors
