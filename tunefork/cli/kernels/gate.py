"""`kernels list` and `kernels gate`: the shipped kernels, and the gfx950 gate over them without a GPU.

    python3 build.py kernels list
    python3 build.py kernels gate                 compile, count, model, execute; exit code 1 where a budget does not hold
    python3 build.py kernels gate --only gemm1 --static
    python3 build.py kernels gate --triton 3.9.0  under another Triton, fetched for this alone
    python3 build.py kernels gate --native        vLLM's HIP kernels out of the applied source, compiled and executed

The gate verifies gfx950 machine code instruction by instruction in an executor on the CPU. It is not validated on an MI355X, and
modelled cycles are no time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from tunefork.base.errors import BadInput, MissingTool, SourceError, TuneforkError
from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.extras import require_kernels
from tunefork.cli.output import print_json, say, table

if TYPE_CHECKING:
    from tunefork.kernels.amdgcn.gate import GateRow
    from tunefork.kernels.amdgcn.native.gate import NativeRow
    from tunefork.kernels.shipped import Shipped


def entries(only: str | None) -> list[Shipped]:
    """The shipped kernels whose label contains ``only``, described without torch or triton. Errors: BadInput where nothing matches."""
    from tunefork.kernels import registry

    chosen = [entry for entry in registry.shipped() if only is None or only in entry.label]
    if not chosen:
        raise BadInput(f"no shipped kernel's name contains {only!r}", "python3 build.py kernels list")
    return chosen


@click.command("list")
@options.only_kernels()
@options.as_json("Print JSON.")
def list_kernels(only: str | None, as_json: bool) -> None:
    """List every shipped kernel, configuration and shape class."""
    rows = entries(only)
    if as_json:
        print_json(
            [
                {"kernel": row.kernel, "config": row.config, "shape": row.shape, "grid": row.grid, "options": dict(row.options)}
                for row in rows
            ]
        )
        return
    table("Shipped kernels", ("kernel", "configuration", "shape"), [(row.kernel, row.config, row.shape) for row in rows])


@click.command("gate")
@options.only_kernels()
@click.option("--static", is_flag=True, help="Compile and count only; execute nothing.")
@click.option("--idle", is_flag=True, help="Also compile without each Triton option, and name those that change nothing.")
@click.option("--native", is_flag=True, help="Instead, kernels of the applied vLLM's HIP sources: compiled by --compile-only, executed here.")
@click.option("--triton", metavar="VERSION", help="Another Triton than the installed one; pip fetches it into the cache.")
@options.workers()
@click.option("--record", is_flag=True, help="Write what passes as the last good values of the budgets.")
@options.as_json("Print JSON.")
def gate_kernels(only: str | None, static: bool, idle: bool, native: bool, triton: str | None, workers: int | None, record: bool, as_json: bool) -> int:
    """Compile the shipped kernels for gfx950, check their budgets, execute them on the CPU.

    Instruction-level functional verification: not validated on an MI355X, no statement about time.
    """
    require_kernels()
    from tunefork.kernels.ratchet import versions

    if triton is not None and (native or record):
        raise BadInput("--triton goes neither with --native, which has no Triton, nor with --record: the last good values are the installed one's",
                       f"kernels gate --triton {triton}")  # fmt: skip
    if triton is not None and triton != versions.installed():
        return gate_under(triton, only, workers, {"--static": static, "--idle": idle, "--json": as_json})
    if native:
        if static or record or idle:
            raise BadInput("--native executes, and has neither budgets to record nor Triton's options", "kernels gate --native")
        return gate_native(only, workers, as_json=as_json)
    return gate_here(only, workers, static=static, idle=idle, record=record, as_json=as_json)


def gate_under(triton: str, only: str | None, workers: int | None, flags: Mapping[str, bool]) -> int:
    """The same command under another Triton; its exit code."""
    from tunefork.kernels.ratchet import versions

    say(f"under Triton {triton}; {versions.installed()} is installed")
    above = click.get_current_context().find_root().params
    asked = ["-v"] * bool(above.get("verbose")) + ["--plain"] * bool(above.get("plain"))
    given = [*(["--only", only] if only else []), *(["--workers", str(workers)] if workers else [])]
    return versions.command(triton, [*asked, "kernels", "gate", *given, *(flag for flag, on in flags.items() if on)])


def gate_here(only: str | None, workers: int | None, *, static: bool, idle: bool, record: bool, as_json: bool) -> int:
    """Compile, count, model and execute under the installed Triton; 1 where a row fails."""
    chosen = entries(only)
    from tunefork.kernels.amdgcn import gate as room
    from tunefork.kernels.amdgcn.budget import without_kernel
    from tunefork.kernels.amdgcn.errors import Gfx950Error
    from tunefork.kernels.amdgcn.model import absent, find_tool

    if find_tool() is None:
        say(absent())
    try:
        rows = room.gate(chosen, execute=not static, workers=workers, say=say)
        if record:
            say(f"recorded {room.record(rows)} rows as last good")
        unheard = room.idle(chosen, workers=workers) if idle else []
    except Gfx950Error as error:
        raise TuneforkError(error.message, error.remedy) from error
    if as_json:
        print_json([row.as_dict() for row in rows])
    else:
        show(rows)
    for row in rows:
        for line in row.failures:
            say(line, "failed: ", fg="red", bold=True)
    for line in unheard:  # no failure: a family of kernels states some options for all, and Triton's own choice differs by version
        say(line, "note: ", fg="yellow")
    stale = without_kernel({row.kernel for row in rows}) if only is None else []
    for path in stale:
        say(f"{path.name} is the budget of no shipped kernel: remove or rename it", "failed: ", fg="red", bold=True)
    missing = sum(not row.executed for row in rows)
    if missing:
        say(f"{missing} of {len(rows)} rows were not executed" + (" (--static)" if static else ""))
    return 0 if all(row.ok for row in rows) and not stale else 1


def gate_native(only: str | None, workers: int | None, *, as_json: bool) -> int:
    """Compile the sources that the cases need, execute the kernels. Without a compiler or without vLLM: skipped, and said loudly."""
    from tunefork.develop.gfx950.compile_only import compile_only as sources
    from tunefork.develop.machine import probe
    from tunefork.kernels.amdgcn.native import cases
    from tunefork.kernels.amdgcn.native import gate as room

    chosen = [case for case in cases.cases() if only is None or only in case.label]
    if not chosen:
        raise BadInput(f"no native kernel's name contains {only!r}", "python3 build.py kernels gate --native")
    needed = sorted({case.source for case in chosen})
    try:
        report = sources.compile_only(Layout.here(), probe(), upstreams=("vllm",), only=needed, jobs=workers, say=say)
    except (MissingTool, SourceError) as error:
        say(f"no native kernel was compiled or executed: {error.message} (try: {error.remedy})", "SKIPPED: ", fg="yellow", bold=True)
        return 0
    rows = room.gate(chosen, {one.name: one.code or one.why for one in report.files}, workers=workers, say=say)
    if as_json:
        print_json([row.as_dict() for row in rows])
    else:
        show_native(rows, {one.name for one in report.files if one.stand_ins}, report.toolchain)
    for row in rows:
        if row.failure:
            say(row.failure, "failed: ", fg="red", bold=True)
    return 0 if all(row.ok for row in rows) else 1


def show_native(rows: Sequence[NativeRow], stand_ins: set[str], toolchain: str) -> None:
    """The native gate as a table."""
    def most(row: NativeRow, name: str) -> str:
        return str(max((facts[name] for facts in row.facts), default=0))

    columns = ("kernel", "shape", "VGPR", "spills", "LDS", "instructions", "error", "ok")
    table(
        f"gfx950 native gate, code by {toolchain} (not validated on an MI355X)",
        columns,
        [
            (row.kernel + (" *" if row.source in stand_ins else ""), row.shape, *[most(row, name) for name in ("vgprs", "spills", "lds")],
             str(row.instructions), f"{row.error:.1e}" if row.error is not None else "not executed", "yes" if row.ok else "NO")
            for row in rows
        ],
    )  # fmt: skip
    if stand_ins:
        say("* its source is compiled with a stand-in of hipCUB")


def show(rows: Sequence[GateRow]) -> None:
    """The gate as a table."""
    columns = ("kernel", "configuration", "shape", "VGPR", "spills", "waves", "barriers", "MFMA", "cycles/weight KiB (modelled)", "error", "ok")

    def number(row: GateRow, name: str, times: int = 1) -> str:
        return format(times * row.measures[name], ".3g") if name in row.measures else "-"

    names = ("vgprs", "spills", "occupancy", "barriers_per_iteration", "mfma_per_iteration")
    table(
        "gfx950 gate (not validated on an MI355X)",
        columns,
        [
            (
                row.kernel,
                row.config,
                row.shape,
                *[number(row, name) for name in names],
                number(row, "modelled_cycles_per_weight_byte", 1024),
                f"{row.error:.1e}" if row.error is not None else "not executed",
                "yes" if row.ok else "NO",
            )
            for row in rows
        ],
    )
