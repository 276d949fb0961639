"""`kernels compare`: our GEMMs beside AITER's own Triton A16W4 kernel, both compiled for gfx950 by the same Triton in the same run.

    python3 build.py kernels compare              AITER at the pinned commit, out of work/aiter
    python3 build.py kernels compare --tree DIR   another AITER checkout, as it lies there (patched or not)

Exit code 1 where ours takes more than 0.7 of AITER's modelled cycles per weight byte. Modelled by llvm-mca, never measured on an MI355X.
"""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path

import click

from tunefork.base.errors import BadInput, MissingTool, SourceError, TuneforkError
from tunefork.base.layout import Layout
from tunefork.base.upstream_facts.aiter import TRITON
from tunefork.cli import options
from tunefork.cli.extras import require_kernels
from tunefork.cli.output import print_json, say, table
from tunefork.patchset.git import Git
from tunefork.patchset.sources import pins


def pinned(into: Path) -> Path:
    """AITER's Triton folder at the pinned commit, written below ``into``. Errors: SourceError without a checkout that holds it."""
    layout = Layout.here()
    tree, commit = layout.checkout("aiter"), pins.load(layout)["aiter"].commit
    if not (tree / ".git").exists():
        raise SourceError(f"{tree} holds no AITER", "python3 build.py apply (needs AITER's git repository), or give --tree")
    archive = Git(tree).run("archive", commit, TRITON)  # which runs no filter of the checkout's
    if archive.code:
        raise SourceError(f"{tree} lacks AITER's pinned commit {commit[:12]}: {archive.err.strip()}", "python3 build.py apply, or give --tree")
    subprocess.run(["tar", "-x", "-C", str(into)], input=archive.out, check=True)
    return into


@click.command("compare")
@click.option("--tree", type=click.Path(exists=True, file_okay=False, path_type=Path), help="An AITER checkout (default: the pinned commit).")
@options.tps(default=("8", "1"), show_default=True)
@click.option("--tokens", type=click.IntRange(1, 16), default=16, show_default=True, help="M; AITER's block is 16 rows up to here.")
@options.as_json("Print JSON.")
def compare(tree: Path | None, tps: tuple[str, ...], tokens: int, as_json: bool) -> int:
    """Modelled cycles per weight byte, ours beside AITER's Triton kernel; exit 1 where the ratio is above 0.7."""
    require_kernels()
    from tunefork.kernels.amdgcn import against
    from tunefork.kernels.amdgcn.errors import Gfx950Error
    from tunefork.kernels.amdgcn.model import absent, find_tool

    tool = find_tool()
    if tool is None:
        raise MissingTool(absent(), "apt install llvm-22, then run it again")
    if tree is not None and not (tree / TRITON).is_dir():
        raise BadInput(f"{tree} is no AITER checkout: it has no {TRITON}", "give the folder that holds aiter/")
    try:
        with ExitStack() as stack:
            place = tree or pinned(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tunefork-aiter-"))))
            rows = against.compare(place, tool, tps=[int(tp) for tp in tps], tokens=tokens)
    except Gfx950Error as error:
        raise TuneforkError(error.message, error.remedy) from error
    if as_json:
        print_json([row.as_dict() for row in rows])
    else:
        columns = ("TP", "GEMM", "M", "ours: loop", "AITER: loop", "ours: main part", "AITER: main part", "ratio", "AITER's best case")
        table("Modelled cycles per KiB of weights, one wave (llvm-mca; not validated on an MI355X)", columns,
              [(str(row.tp), row.gemm, str(row.tokens), cell(row.ours.loop), cell(row.aiter.loop), cell(row.ours.main_part), cell(row.aiter.main_part),
                f"{row.ratio:.2f}", row.aiter_case) for row in rows])  # fmt: skip
    for row in rows:
        if not row.ok:
            say(f"TP{row.tp} {row.gemm}: ratio {row.ratio:.2f}, the limit is {against.LIMIT}", "failed: ", fg="red", bold=True)
    return 0 if all(row.ok for row in rows) else 1


def cell(value: float | None) -> str:
    """A loop that is unrolled away has no number."""
    return "unrolled" if value is None else f"{value:.1f}"
