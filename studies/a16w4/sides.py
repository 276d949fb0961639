"""Runs jobs against AITER as of a commit: a worker process for each side, and what came back as data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from studies.a16w4.case import Case
from studies.a16w4.tree import extract
from tunefork.base.layout import user_cache

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Job:
    """A case, compiled for gfx950 and, with ``execute``, run."""

    case: Case
    execute: bool = False


@dataclass(frozen=True)
class Result:
    """What one side made of a job.

    config: what the launcher picked, with ``grid`` (work-groups).  facts: of the GEMM's machine code (facts.read).
    fault: why it could not be executed to the end; then what follows is empty.
    error: largest difference from the fp32 reference, over the reference's root mean square.
    launches: kernels.  executed: wave instructions of all of them.  x_bytes, w_bytes: asked for by the GEMM's lanes.
    w_unique: distinct bytes of W that it read.  y: (rows, columns) fp32.
    """

    config: dict[str, Any]
    facts: dict[str, Any]
    fault: str = ""
    error: float = 0.0
    launches: int = 0
    executed: int = 0
    x_bytes: int = 0
    w_bytes: int = 0
    w_unique: int = 0
    y: torch.Tensor | None = None


def run(tree: Path, jobs: Sequence[Job]) -> list[Result]:
    """Results of jobs against a tree that ``extract`` wrote. Errors: RuntimeError with the end of the worker's traceback."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TRITON_", "AMDGCN_"))}
    env["TRITON_CACHE_DIR"] = str(user_cache() / "triton-a16w4")
    with tempfile.TemporaryDirectory() as out:
        done = subprocess.run(
            [sys.executable, "-m", "studies.a16w4.worker", str(tree), out],
            cwd=ROOT,
            input=json.dumps([asdict(job) for job in jobs]),
            env=env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the worker on {tree} failed: {done.stderr[-2000:]}")
        found = json.loads((Path(out) / "results.json").read_text())
        values = [Path(out) / f"{number}.pt" for number in range(len(found))]
        return [Result(**one, y=torch.load(at) if at.exists() else None) for one, at in zip(found, values, strict=True)]


def run_at(checkout: Path, commit: str, jobs: Sequence[Job]) -> list[Result]:
    """Results of jobs against AITER as of a commit of a checkout."""
    with tempfile.TemporaryDirectory() as folder:
        return run(extract(checkout, commit, Path(folder)), jobs)
