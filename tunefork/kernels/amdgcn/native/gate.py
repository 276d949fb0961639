"""The native gate: each case's kernel executed as gfx950 code, and held to its reference.

Instruction-level functional verification of what upstream clang makes; not validated on an MI355X, and nothing about time.
"""

from __future__ import annotations

import gzip
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tunefork.base.tied import tied_to_a_core
from tunefork.kernels.amdgcn.errors import Gfx950Error
from tunefork.kernels.amdgcn.native.cases import Case, Run


@dataclass(frozen=True)
class NativeRow:
    """One case. facts: of each kernel that ran, from the metadata.  instructions: wave instructions executed.  failure: what is wrong, "" where nothing is."""

    kernel: str
    shape: str
    source: str
    proves: str
    error: float | None
    tolerance: float
    facts: tuple[dict[str, int], ...]
    instructions: int
    seconds: float
    failure: str = ""

    @property
    def ok(self) -> bool:
        return not self.failure

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


def judge(case: Case, text: str) -> NativeRow:
    """Run a case out of its source's assembly."""
    run, start, error, failure = Run(text), time.perf_counter(), None, ""
    try:
        error = case.check(run)
    except Gfx950Error as caught:
        failure = f"{case.label}: {type(caught).__name__}: {caught.message}"
    if error is not None and not error <= case.tolerance:
        failure = f"{case.label}: relative error {error:.3g} against the reference, the limit is {case.tolerance:g}"
    facts, instructions = tuple(kernel.facts for kernel in run.kernels), sum(launch.instructions for launch in run.launches)
    return NativeRow(case.kernel, case.shape, case.source, case.proves, error, case.tolerance, facts, instructions, time.perf_counter() - start, failure)


def absent(case: Case, why: str) -> NativeRow:
    """A case whose source did not compile."""
    failure = f"{case.label}: not executed, {case.source} did not compile: {why}"
    return NativeRow(case.kernel, case.shape, case.source, case.proves, None, case.tolerance, (), 0, 0.0, failure)


def _judged(case: Case, path: Path) -> NativeRow:
    """judge() in a process of its own."""
    return judge(case, gzip.decompress(path.read_bytes()).decode())


def gate(
    chosen: Sequence[Case], codes: Mapping[str, Path | str], *, workers: int | None = None, say: Callable[[str], None] = lambda line: None
) -> list[NativeRow]:
    """Run cases. codes: for each source its gzipped assembly, or as text why there is none.  workers: as many processes as cores."""
    rows: dict[str, NativeRow] = {}
    with ProcessPoolExecutor(workers or os.cpu_count() or 1, mp_context=multiprocessing.get_context("forkserver"), initializer=tied_to_a_core) as pool:
        jobs = {case.label: pool.submit(_judged, case, code) for case in chosen if isinstance(code := codes[case.source], Path)}
        for case in chosen:
            code = codes[case.source]
            rows[case.label] = absent(case, code) if isinstance(code, str) else jobs[case.label].result()
            say(f"executed {case.label}" if not rows[case.label].failure else rows[case.label].failure)
    return [rows[case.label] for case in chosen]
