"""`build.py test`: which steps come before pytest, and what an environment with a ROCm torch (a stand-in) gets instead."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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

    def run(self, argv: list[str], **options: object) -> subprocess.CompletedProcess[bytes]:
        if "pytest" in argv:
            environment = options["env"]
            assert isinstance(environment, dict)
            self.ready = environment.get("TUNEFORK_E2E_READY")
            self.steps.append("pytest")
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
    return made


def test_without_rocm_everything_is_brought_first(started: Started) -> None:
    assert main(["test"]) == 0
    assert (started.steps, started.ready) == (["apply --variant all", "develop --target cpu", "pytest"], "1")


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
