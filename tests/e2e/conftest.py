"""A developed checkout for the end-to-end tests, and `build.py` as its user types it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tunefork.cli.test import as_it_is

ROOT = Path(__file__).resolve().parents[2]

Build = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session", autouse=True)
def target_cpu() -> None:
    """These tests state what target cpu serves; an environment for a GPU is neither replaced nor built for an hour on their behalf."""
    if why := as_it_is():
        pytest.skip(f"NOT TESTED: {why}, and the end-to-end tests need target cpu; `python3 build.py bench run --profile smoke` goes that way here")


@pytest.fixture(scope="module")
def one_process_less() -> Iterator[None]:
    """vLLM runs the model in the engine's own process: each start saves a third import of torch and vLLM, 10 to 40 s. For what counts no processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        yield


@pytest.fixture(scope="session")
def build() -> Build:
    """build(arguments..., root=): `python3 build.py ...` on the project in ``root``; its output shows where it fails."""

    def run(*arguments: str, root: Path = ROOT, timeout_s: float = 900) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([sys.executable, str(ROOT / "build.py"), *arguments], env={**os.environ, "TUNEFORK_ROOT": str(root)},
                              cwd=root, capture_output=True, text=True, timeout=timeout_s, check=False)
        assert done.returncode == 0, f"build.py {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def developed(build: Build) -> Path:
    """This checkout, applied and installed. TUNEFORK_E2E_READY=1 takes it as it is."""
    if os.environ.get("TUNEFORK_E2E_READY") != "1":
        build("apply")
        build("develop")
    return ROOT
