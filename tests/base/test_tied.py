"""A pool whose owner is killed leaves no worker; every pool of ours is such a one."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).resolve().parents[2]
OWNER = """
import os, signal, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from tunefork.base.tied import tied
if __name__ == "__main__":
    with ProcessPoolExecutor(2, mp_context=get_context(sys.argv[1]), initializer=tied) as pool:
        for future in [pool.submit(os.getpid) for _ in range(8)]:
            future.result()
        print(*pool._processes, flush=True)
        sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fork", "forkserver", "spawn"])
def test_no_worker_stays(context: str, tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(OWNER)
    with subprocess.Popen([sys.executable, str(script), context], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}) as owner:
        assert owner.stdout is not None
        workers = [psutil.Process(int(word)) for word in owner.stdout.readline().split()]
        owner.kill()
        owner.wait()
        _, left = psutil.wait_procs(workers, timeout=30)
        for one in left:
            one.kill()
    assert len(workers) == 2 and not left


@pytest.mark.slow
def test_every_pool_of_ours_is_tied() -> None:
    bare = [f"{path}:{node.lineno}" for folder in ("tunefork", "vllm_overrides") for path in sorted((ROOT / folder).rglob("*.py"))
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("ProcessPoolExecutor") and not any(
                word.arg == "initializer" and ast.unparse(word.value) in ("tied", "tied_to_a_core") for word in node.keywords)]
    assert bare == []
