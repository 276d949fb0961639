"""`build.py test`: which steps come before pytest, and what an environment with a ROCm torch (a stand-in) gets instead; what `--quick` and
`--long` ask for, and which tests share a worker."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import inner
import psutil
import pytest
import workers

from tunefork.cli import test as command
from tunefork.cli.main import main
from tunefork.develop import installed, machine
from tunefork.develop.installed import Mark
from tunefork.develop.machine import TorchBuild

ROOT = Path(__file__).resolve().parents[2]
ROCM, CPU = TorchBuild("2.13.0+rocm7.2", "7.2.0", None), TorchBuild("2.13.0+cpu", None, None)


class Started:
    """What `test` started. codes: exit codes by the build.py step, 0 for others."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.codes: dict[str, int] = {}
        self.ready: str | None = "pytest was not started"
        self.words: list[str] = []
        self.environment: dict[str, str] = {}

    def run(self, argv: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        if "pytest" in argv:
            environment = options["env"]
            assert isinstance(environment, dict)
            self.ready, self.environment = environment.get("TUNEFORK_E2E_READY"), environment
            self.steps.append("pytest")
            self.words = argv[argv.index("-c") + 2 :]
            return subprocess.CompletedProcess(argv, 0)
        self.steps.append(" ".join(argv[argv.index("--no-venv") + 1 :]))
        return subprocess.CompletedProcess(argv, self.codes.get(self.steps[-1], 0))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """An environment with a CPU torch and no mark; what `test` would start is noted."""
    made = Started()
    monkeypatch.setattr(command.subprocess, "run", made.run)
    monkeypatch.setattr(machine, "installed_torch", lambda: CPU)
    monkeypatch.setattr(installed, "read_mark", lambda: None)
    monkeypatch.delenv("TUNEFORK_E2E_READY", raising=False)
    monkeypatch.setattr(command.os, "sched_getaffinity", lambda _process: {0, 1, 2})
    return made


def test_without_rocm_everything_is_brought_first(started: Started) -> None:
    assert main(["test"]) == 0
    assert (started.steps, started.ready) == (["apply --variant all", "develop --target cpu", "pytest"], "1")


def test_what_python_compiles_is_kept_for_the_next_process(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    assert main(["test", "--quick"]) == 0
    assert "PYTHONDONTWRITEBYTECODE" not in started.environment and started.environment["PYTHONUNBUFFERED"] == "1"


@pytest.mark.parametrize(("users", "words", "threads"), [(None, [], "1"), (None, ["-n", "0"], None), ("3", [], "3")])
def test_workers_have_one_thread_each(started: Started, monkeypatch: pytest.MonkeyPatch, users: str | None, words: list[str], threads: str | None) -> None:
    """With two threads on two cores beside another worker, the MoE layer in the interpreter took 36 s of a core in place of 25."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if users:
        monkeypatch.setenv("OMP_NUM_THREADS", users)
    assert main(["test", "--quick", *words]) == 0
    assert started.environment.get("OMP_NUM_THREADS") == threads


def test_a_step_that_fails_ends_it(started: Started) -> None:
    started.codes["develop --target cpu"] = 5
    assert main(["test"]) == 5 and "pytest" not in started.steps


@pytest.mark.parametrize(("torch", "developed", "why"), [(ROCM, None, "a ROCm torch (2.13.0+rocm7.2)"), (None, "gfx950", "developed for gfx950")])
def test_a_gpu_environment_is_taken_as_it_is(
    started: Started, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], torch: TorchBuild | None, developed: str | None, why: str
) -> None:
    monkeypatch.setattr(machine, "installed_torch", lambda: torch)
    mark = Mark(developed, "", "", "", "", {}) if developed else None
    monkeypatch.setattr(installed, "read_mark", lambda: mark)
    assert main(["test"]) == 0
    assert (started.steps, started.ready) == (["pytest"], None)
    line, = capsys.readouterr().err.splitlines()
    assert why in line and "nothing is applied or developed" in line and "tests/e2e, which needs target cpu, skips" in line


def test_quick_starts_pytest_at_once(started: Started, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["test", "--quick", "tests/base"]) == 0
    assert (started.steps, started.ready, started.words) == (["pytest"], None, ["-n", "3", "--quick", "tests/base"])
    assert "nothing is applied or developed" in capsys.readouterr().err


def test_long_brings_everything_first(started: Started) -> None:
    assert main(["test", "--long"]) == 0
    assert started.steps[-2:] == ["develop --target cpu", "pytest"] and started.words == ["-n", "3", "--long"]


def test_quick_and_long_together_are_refused(started: Started) -> None:
    assert main(["test", "--quick", "--long"]) == 2 and started.steps == []


@pytest.mark.parametrize("words", [["-n", "0"], ["-n4"], ["--pdb"], ["-s"], ["tests/base/test_ports.py::test_free_port_can_be_had"]])
def test_what_wants_one_process_or_says_how_many_decides(started: Started, words: list[str]) -> None:
    assert main(["test", "--no-develop", *words]) == 0
    assert started.words == words


def test_one_core_is_one_process_and_many_are_eight(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, words in ((1, []), (128, ["-n", "8"])):
        monkeypatch.setattr(command.os, "sched_getaffinity", lambda _process, cores=cores: set(range(cores)))
        assert main(["test", "--no-develop"]) == 0
        assert started.words == words


FILES = {
    "e2e/test_server.py": "import pytest\npytestmark = pytest.mark.e2e\ndef test_one(where): where('server')\ndef test_two(where): where('server')\n",
    "bench/server/test_processes.py": "def test_one(where): where('stand-in')\n",
    "bench/ab/test_processes.py": "def test_one(where): where('stand-in')\n",
    "studies/test_speed.py": "def test_one(where): where('server')\n",
    "room/test_other.py": "def test_one(where): where('other')\n",
    "room/test_slow.py": "import pytest\n@pytest.mark.slow\ndef test_slow(where): where('slow')\ndef test_fast(where): where('slow')\n",
    "room/test_not_here.py": "import pytest\npytest.skip('NOT TESTED: no chattr on PATH', allow_module_level=True)\n",
    "room/test_drawn.py": "from budgets import examples\ndef test_drawn(where): where(f'drawn {examples(300)} {examples(1)}')\n",
    "room/conftest.py": """
import os, pytest
@pytest.fixture
def where():
    def write(what):
        with open(os.environ["FOUND"], "a") as file:
            file.write(f"{what}: {os.environ.get('PYTEST_XDIST_WORKER')}\\n")
    return write
""",
}


@pytest.fixture
def rooms(tmp_path: Path) -> Callable[..., tuple[str, dict[str, list[str]]]]:
    """rooms(words...): pytest on a few small files below this project's own conftest; what it says, and which workers ran each group."""
    here = FILES["room/conftest.py"]
    inner.prepare(tmp_path, {**FILES, **{f"{name}/conftest.py": here for name in ("e2e", "bench/ab", "bench/server", "studies")}})

    def run(*words: str) -> tuple[str, dict[str, list[str]]]:
        found = tmp_path / "found"
        found.unlink(missing_ok=True)
        done = inner.run(tmp_path, *words, FOUND=str(found))
        assert done.returncode == 0, done.stdout + done.stderr
        lines = [line.split(": ") for line in found.read_text().splitlines()]
        return done.stdout, {what: sorted(worker for other, worker in lines if other == what) for what, _ in lines}

    return run


@pytest.mark.slow  # pytest with its workers, started from the beginning
@pytest.mark.parametrize("words", [("-n", "3"), ("-n", "0")])
def test_a_group_shares_a_worker_and_a_file_is_not_split(rooms: Callable[..., tuple[str, dict[str, list[str]]]], words: tuple[str, ...]) -> None:
    pytest.importorskip("xdist", reason="NOT TESTED: pytest-xdist is not installed")
    said, ran = rooms(*words)
    assert {what: len(workers) for what, workers in ran.items()} == {"server": 3, "stand-in": 2, "other": 1, "slow": 2, "drawn 75 1": 1}
    assert len(set(ran["server"])) == len(set(ran["slow"])) == len(set(ran["stand-in"])) == 1
    assert (ran["server"][0] != ran["slow"][0]) == (words == ("-n", "3"))
    assert "9 passed, 1 skipped" in said and "room/test_not_here.py:2: NOT TESTED: no chattr on PATH" in said


@pytest.mark.slow
def test_in_random_order_too_a_worker_begins_with_the_longest_file(tmp_path: Path) -> None:
    pytest.importorskip("xdist", reason="NOT TESTED: pytest-xdist is not installed")
    pytest.importorskip("pytest_randomly", reason="NOT TESTED: pytest-randomly is not installed")
    many = "import pytest\npytestmark = pytest.mark.slow\n@pytest.mark.parametrize('n', range(60))\ndef test_n(n): pass\n"
    inner.prepare(tmp_path, {"room/test_long.py": many, **{f"room/test_{name}.py": "def test_one(): pass\n" for name in "abcdefgh"}})
    short, within = [], []
    for seed in (3, 4):
        done = inner.run(tmp_path, "-n", "1", "-vv", "--random", f"--randomly-seed={seed}")
        ran = re.findall(r"PASSED tests/room/(test_\w+\.py)::(\S+)", done.stdout)
        assert len(ran) == 68 and {file for file, _ in ran[:60]} == {"test_long.py"}, done.stdout
        short.append([file for file, _ in ran[60:]])
        within.append([test for _, test in ran[:60]])
    assert short[0] != short[1] and within[0] != within[1]


def test_what_drives_vllm_or_a_gpu_is_one_group() -> None:
    marked = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")
              if re.search(r"^(@|pytestmark = ).*mark\.(e2e|gpu)\b", path.read_text(), re.MULTILINE)]
    assert len(marked) >= 9 and [path for path in marked if workers.group(path) != workers.VLLM] == [], "belongs into tests/workers.py"


@pytest.mark.slow
def test_quick_leaves_out_servers_and_what_is_slow_and_long_draws_all(rooms: Callable[..., tuple[str, dict[str, list[str]]]]) -> None:
    said, ran = rooms("--quick")
    assert {what: len(workers) for what, workers in ran.items()} == {"server": 1, "stand-in": 2, "other": 1, "slow": 1, "drawn 15 1": 1}
    assert "6 passed, 1 skipped, 3 deselected" in said
    assert set(rooms("--long")[1]) == {"server", "stand-in", "other", "slow", "drawn 300 1"}


@pytest.mark.slow
def test_the_real_command_beside_a_rocm_torch(tmp_path: Path) -> None:
    """A stand-in for torch's version file, real processes: build.py, pytest, and the end-to-end tests' own look at the environment."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("")
    (tmp_path / "torch" / "version.py").write_text("__version__ = '2.13.0+rocm7.2'\nhip: Optional[str] = '7.2.0'\ncuda: Optional[str] = None\n")
    root = tmp_path / "root"  # without pins.toml, so that nothing of this project is applied or developed even where the command is wrong
    root.mkdir()
    for name in ("build.py", "pyproject.toml", "tests"):
        (root / name).symlink_to(ROOT / name)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    # READY as CI may set it: it does not make a cpu target of this environment.
    environment = {**os.environ, "PYTHONPATH": path, "TUNEFORK_ROOT": str(root), "TUNEFORK_E2E_READY": "1"}
    tests = ["tests/e2e/test_bench_profile.py", "tests/develop/test_targets.py"]
    words = [sys.executable, str(ROOT / "build.py"), "--no-venv", "test", "-q", "-p", "no:cacheprovider", *tests]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.startswith("this environment has a ROCm torch (2.13.0+rocm7.2): nothing is applied or developed")
    assert "1 skipped" in done.stdout and "passed" in done.stdout
    assert "NOT TESTED: this environment has a ROCm torch (2.13.0+rocm7.2), and the end-to-end tests need target cpu" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_command_leaves_no_pytest_running(tmp_path: Path, number: signal.Signals) -> None:
    pid = tmp_path / "pid"
    (tmp_path / "test_long.py").write_text(f"import os, time\ndef test_it():\n    open({str(pid)!r}, 'w').write(str(os.getpid()))\n    time.sleep(600)\n")
    (tmp_path / "pyproject.toml").write_text("")
    child = subprocess.Popen([sys.executable, "-m", "tunefork.cli.main", "test", "--no-develop", "-n", "0", "-p", "no:cacheprovider", "test_long.py"], cwd=ROOT,
                             env={**os.environ, "TUNEFORK_ROOT": str(tmp_path)}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    while not (pid.exists() and pid.read_text()):
        assert child.poll() is None
        time.sleep(0.05)
    running = psutil.Process(int(pid.read_text()))
    child.send_signal(number)
    child.wait()
    psutil.wait_procs([running], timeout=60)
    assert not running.is_running()
