"""`kernels list` and `kernels gate`: the shipped kernels, and the gfx950 gate over them without a GPU.

    python3 build.py kernels list
    python3 build.py kernels gate                 compile, count, model, execute; exit code 1 where a budget does not hold
    python3 build.py kernels gate --only gemm1 --static

The gate verifies gfx950 machine code instruction by instruction in an executor on the CPU. It is not validated on an MI355X, and
modelled cycles are no time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tunefork.base.errors import BadInput, TuneforkError
from tunefork.cli import options
from tunefork.cli.extras import require_kernels
from tunefork.cli.output import print_json, say, table

if TYPE_CHECKING:
    from tunefork.kernels.amdgcn.gate import GateRow
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
@options.workers()
@click.option("--record", is_flag=True, help="Write what passes as the last good values of the budgets.")
@options.as_json("Print JSON.")
def gate_kernels(only: str | None, static: bool, workers: int | None, record: bool, as_json: bool) -> int:
    """Compile the shipped kernels for gfx950, check their budgets, execute them on the CPU.

    Instruction-level functional verification: not validated on an MI355X, no statement about time.
    """
    require_kernels()
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
    except Gfx950Error as error:
        raise TuneforkError(error.message, error.remedy) from error
    if as_json:
        print_json([row.as_dict() for row in rows])
    else:
        show(rows)
    for row in rows:
        for line in row.failures:
            say(line, "failed: ", fg="red", bold=True)
    stale = without_kernel({row.kernel for row in rows}) if only is None else []
    for path in stale:
        say(f"{path.name} is the budget of no shipped kernel: remove or rename it", "failed: ", fg="red", bold=True)
    missing = sum(not row.executed for row in rows)
    if missing:
        say(f"{missing} of {len(rows)} rows were not executed" + (" (--static)" if static else ""))
    return 0 if all(row.ok for row in rows) and not stale else 1


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
