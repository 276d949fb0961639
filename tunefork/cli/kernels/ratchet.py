"""`kernels ratchet`: what a Triton makes of our kernels on sm_90 and gfx950, beside what every other version made of them.

    python3 build.py kernels ratchet                        the installed Triton, against its own record
    python3 build.py kernels ratchet --triton 3.9.0         another one, fetched for this alone
    python3 build.py kernels ratchet --triton 3.9.0 --take  keep what it makes as its record

Compiled and counted on the CPU: a fact about code, no statement about time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tunefork.base.errors import BadInput
from tunefork.cli import options
from tunefork.cli.extras import require_kernels
from tunefork.cli.output import print_json, say, table
from tunefork.kernels.arch import ARCHES

if TYPE_CHECKING:
    from tunefork.kernels.ratchet.record import Damage


@click.command("ratchet")
@click.option("--arch", "arches", type=click.Choice(sorted(ARCHES)), multiple=True, help="Default: all.")
@click.option("--triton", metavar="VERSION", help="Another Triton than the installed one; pip fetches it into the cache.")
@options.only_kernels()
@options.workers()
@click.option("--take", is_flag=True, help="Write the record of this version; rows that are not compiled now keep what they have.")
@options.as_json("Print JSON.")
def ratchet(arches: tuple[str, ...], triton: str | None, only: str | None, workers: int | None, take: bool, as_json: bool) -> int:
    """Compile every shipped kernel, count loads by width, shared memory, barriers, shuffles, registers; compare with the records.

    Exit code 1: a number differs from this version's record, or, where it has none, a row is worse than with the best version on record.
    """
    require_kernels()
    from tunefork.kernels import registry
    from tunefork.kernels.ratchet import record, versions

    shown, bad = [], 0
    for arch in arches or sorted(ARCHES):
        labels = [row.label for row in registry.shipped(arch) if only is None or only in row.label]
        if not labels:
            continue

        def tell(label: str, done: int, arch: str = arch, total: int = len(labels)) -> None:
            say(f"{arch} {done} of {total}: {label}")

        now = versions.take(arch, triton, only=labels, workers=workers, tell=tell)
        held = {kept.triton: kept for kept in record.records(arch)}
        own = held.pop(now.triton, None)
        if take:
            rows = {**(own.rows if own else {}), **now.rows}
            every = {row.label for row in registry.shipped(arch)}
            say(f"wrote {record.write(dataclasses.replace(now, rows={label: row for label, row in rows.items() if label in every}))}")
        worse = record.damage(now, held.values())
        changed = record.apart(now, own) if own else []
        bad += 0 if take else len(changed) if own else len(worse)
        shown.append((arch, now.triton, len(now.rows), changed, worse))
    if not shown:
        raise BadInput(f"no shipped kernel's name contains {only!r}", "python3 build.py kernels list")
    if as_json:
        print_json([{"arch": arch, "triton": version, "rows": rows, "changed": [dataclasses.asdict(one) for one in changed],
                     "worse": [dataclasses.asdict(one) for one in worse]} for arch, version, rows, changed, worse in shown])  # fmt: skip
        return 1 if bad else 0
    for arch, version, compiled, changed, worse in shown:
        show(f"{arch}, Triton {version}: differs from its record", "on record", changed)
        show(f"{arch}, Triton {version}: worse than the best version on record", "best", worse)
        say(f"{arch}, Triton {version}: {compiled} rows compiled, {len(changed)} numbers differ from its record, "
            f"{len(worse)} are worse than the best version's")  # fmt: skip
    return 1 if bad else 0


def show(title: str, before: str, found: Sequence[Damage]) -> None:
    """A table, where there is something to show."""
    if found:
        table(title, ("kernel", "number", before, "now", "Triton of that"), [(one.label, one.number, str(one.best), str(one.now), one.of) for one in found])
