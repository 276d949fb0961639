"""The gate: every shipped kernel compiles for gfx950, keeps its budgets, and computes the right thing in the executor.

What it shows is instruction-level functional verification and static facts; it is not validated on an MI355X and says nothing about time.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunefork.base.tied import tied_to_a_core
from tunefork.kernels.amdgcn.assembly import parse
from tunefork.kernels.amdgcn.budget import BUDGETS, Budget, failures, measures, weight_loads
from tunefork.kernels.amdgcn.compile import Compiled, compile_all
from tunefork.kernels.amdgcn.errors import CompileFailed
from tunefork.kernels.amdgcn.facts import Facts, facts_of
from tunefork.kernels.amdgcn.model import LoopModel, find_tool, model
from tunefork.kernels.amdgcn.provenance import widths_by_argument
from tunefork.kernels.amdgcn.silent import code_faults, idle_options, option_faults
from tunefork.kernels.shipped import Shipped

Say = Callable[[str], None]


@dataclass(frozen=True)
class GateRow:
    """One shipped kernel, configuration and shape.

    facts: what the code shows.  model: llvm-mca's view of the hot loop, None without the tool or without a loop.
    loads: argument -> bytes per lane -> loads in the whole kernel.
    measures, budgets: the numbers that were compared, and the limits as text.
    executed: whether its check ran in the executor.  error: the relative error it returned.
    failures: one line for each thing that is wrong; ok: there is none.
    """

    kernel: str
    config: str
    shape: str
    facts: Facts | None
    model: LoopModel | None
    measures: dict[str, float]
    budgets: dict[str, str]
    executed: bool
    error: float | None
    seconds: float
    failures: tuple[str, ...]
    loads: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.failures

    def as_dict(self) -> dict[str, Any]:
        """The row as `kernels gate --json` prints it."""
        from dataclasses import asdict

        return {**asdict(self), "ok": self.ok}


@dataclass(frozen=True)
class Executed:
    """What a check came to.

    mfma, replicated: matrix instructions of all its launches, and those that repeat another wave's.
    """

    error: float | None
    seconds: float
    failure: str = ""
    mfma: int = 0
    replicated: int = 0


def run_check(check: Callable[[], float]) -> Executed:
    """Run one check with kernels going to the executor; whatever it raises becomes a line."""
    from tunefork.kernels.amdgcn.driver import on_gfx950

    start = time.perf_counter()
    try:
        with on_gfx950() as device:
            error = float(check())
    except Exception as caught:  # a check may fail in any way; the gate reports it and goes on
        last = traceback.extract_tb(caught.__traceback__)[-1]
        line = f"{type(caught).__name__}: {caught} (raised at {Path(last.filename).name}:{last.lineno})"
        return Executed(None, time.perf_counter() - start, line)
    audits = [launched.launch.audit for launched in device.launches]
    counts = sum(audit.executed for audit in audits), sum(audit.replicated for audit in audits)
    return Executed(error, time.perf_counter() - start, "", *counts)


def portable(check: Callable[[], float]) -> bool:
    """Whether another process can run the check."""
    try:
        pickle.dumps(check)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    return True


def run_checks(entries: Sequence[Shipped], *, workers: int | None = None, say: Say = lambda line: None) -> list[Executed | None]:
    """Run every entry's check, in parallel where the checks can travel to another process; None where there is no check."""
    results: list[Executed | None] = [None] * len(entries)
    remote = [at for at, entry in enumerate(entries) if entry.check is not None and portable(entry.check)]
    local = [at for at, entry in enumerate(entries) if entry.check is not None and at not in set(remote)]
    count = min(workers or os.cpu_count() or 1, len(remote))
    if count <= 1:
        local, remote = sorted(local + remote), []
    if remote:
        with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("forkserver"), initializer=tied_to_a_core) as pool:
            jobs = {at: pool.submit(run_check, entries[at].check) for at in remote}  # type: ignore[arg-type] # not None above
            for at, job in jobs.items():
                try:
                    results[at] = job.result()
                except (BrokenProcessPool, ImportError):  # its module cannot be imported there; it can be here
                    local.append(at)
                else:
                    say(f"executed {entries[at].label}")
    for at in local:
        check = entries[at].check
        assert check is not None
        results[at] = run_check(check)
        say(f"executed {entries[at].label}")
    return results


def judge(entry: Shipped, code: Compiled | CompileFailed, ran: Executed | None, tool: Path | None, folder: Path) -> GateRow:
    """Compare one entry's code and execution with its budgets."""
    if isinstance(code, CompileFailed):
        line = f"{entry.label}: does not compile: {code.message}"
        return GateRow(entry.kernel, entry.config, entry.shape, None, None, {}, {}, False, None, 0.0, (line,))
    facts = facts_of(code)
    program = parse(code.text)
    loop_model = model(program, tool, arguments=entry.arguments, weights=entry.weights) if tool else None
    loads = widths_by_argument(program, program.instructions, entry.arguments)
    groups = entry.grid[0] * entry.grid[1] * entry.grid[2] if entry.grid else None
    values = measures(facts, loop_model, groups, entry.least_groups) | weight_loads(loads, entry.weights, entry.tail_loads)
    if ran and not ran.failure:
        values["replicated_mfma"] = ran.replicated
    budget = Budget.read(entry.kernel, folder)
    limits = budget.limits_for(entry.config)
    last = budget.last_good.get(f"{entry.config} | {entry.shape}", {})
    silent = option_faults(entry.options) + code_faults(code, sum(facts.mfma.values()))
    lines = failures(entry.label, values, limits, last) + [f"{entry.label}: {line}" for line in silent]
    if ran and ran.failure:
        lines.append(f"{entry.label}: {ran.failure}")
    elif ran and not (ran.error is not None and ran.error <= entry.tolerance):
        lines.append(f"{entry.label}: relative error {ran.error} against the reference, the limit is {entry.tolerance:g}")
    return GateRow(
        kernel=entry.kernel,
        config=entry.config,
        shape=entry.shape,
        facts=facts,
        model=loop_model,
        measures=values,
        budgets={fact: str(limit) for fact, limit in limits.items()},
        executed=ran is not None and not ran.failure,
        error=ran.error if ran else None,
        seconds=round(ran.seconds, 3) if ran else 0.0,
        failures=tuple(lines),
        loads=loads,
    )


def gate(
    entries: Iterable[Shipped],
    *,
    execute: bool = True,
    cache: Path | None = None,
    workers: int | None = None,
    budgets: Path = BUDGETS,
    say: Say = lambda line: None,
) -> list[GateRow]:
    """Compile, count, model and execute every entry, and compare with its budgets.

    execute: off, only the static part.  workers: processes (default: cores).  say: told of each step in one line.
    """
    listed = list(entries)
    say(f"compiling {len(listed)} kernels for gfx950")
    codes = compile_all(listed, cache=cache, workers=workers)
    ran = run_checks(listed, workers=workers, say=say) if execute else [None] * len(listed)
    tool = find_tool()
    return [judge(entry, code, done, tool, budgets) for entry, code, done in zip(listed, codes, ran, strict=True)]


def idle(entries: Iterable[Shipped], *, cache: Path | None = None, workers: int | None = None) -> list[str]:
    """A line for each option of a kernel that changes no instruction in any of its rows, with this Triton."""
    listed = list(entries)
    found = idle_options(listed, compile_all(listed, cache=cache, workers=workers), cache=cache, workers=workers)
    return [f"{kernel}: {line}" for (kernel, _, _), line in sorted(found.items(), key=str)]


def record(rows: Iterable[GateRow], folder: Path = BUDGETS) -> int:
    """Write the measures of the rows that pass as their last good values; returns how many."""
    by_kernel: dict[str, dict[str, dict[str, float]]] = {}
    for row in rows:
        if row.ok:
            by_kernel.setdefault(row.kernel, {})[f"{row.config} | {row.shape}"] = row.measures
    for kernel, values in by_kernel.items():
        Budget.read(kernel, folder).record(values)
    return sum(len(values) for values in by_kernel.values())
