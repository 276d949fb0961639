"""`kernels tune`: choose configurations by measuring on the GPUs at hand, or by the static model for gfx950 where there is none.

    python3 build.py kernels tune                        on the MI355X machine: measures every size and bucket on all its GPUs
    python3 build.py kernels tune --static --tp 8        without a GPU: compiles for gfx950 and estimates
    python3 build.py kernels tune --take                 puts what was tuned into kernels/moe_a16w4/configs/<arch>.json

Resumable: every result is on disk before the next begins; the same command goes on after a crash or a kill.
"""

from __future__ import annotations

import os
from pathlib import Path

import click

from tunefork.base.errors import BadInput, MissingTool
from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.output import print_json, say, table
from tunefork.kernels.amdgcn.model import OLDEST, find_tool
from tunefork.kernels.arch import GFX950


@click.command("tune")
@options.tps("Tensor-parallel sizes (default: 8, 4, 2 and 1).")
@click.option("--tokens", type=int, multiple=True, help="Upper ends of the buckets of M (default: those of the shipped table).")
@click.option("--static", is_flag=True, help="Estimate for gfx950 from compiled code; nothing is timed and rows say so.")
@click.option("--gpus", help="GPUs to use, as in 0,1,2 (default: all that are visible).")
@options.workers("Processes with --static (default: one per core).")
@click.option("--ray", "ray_address", help='Spread over a Ray cluster: its address, or "auto" (needs the extra `ray`).')
@options.out_folder("Folder of the journals and of the table (default: work/tune).")
@click.option("--take", "take_it", is_flag=True, help="Put the chosen rows into the shipped table.")
@options.as_json("Print the chosen rows as JSON.")
def tune(
    tps: tuple[str, ...], tokens: tuple[int, ...], static: bool, gpus: str | None, workers: int | None, ray_address: str | None,
    out: Path | None, take_it: bool, as_json: bool,
) -> int:  # fmt: skip
    """Choose the MoE layer's configurations: measured on the GPUs at hand, or (--static) modelled for gfx950."""
    try:
        import torch

        from tunefork.bench.kernels import cases, sweep
        from tunefork.bench.machine import devices
        from tunefork.bench.machine.spread import Local, Ray
    except ModuleNotFoundError as error:
        raise MissingTool(f"tuning needs {error.name}, which this Python lacks", "python3 build.py develop") from error
    if not static and ray_address is None and not torch.cuda.is_available():
        raise MissingTool("no GPU: nothing can be measured here", "python3 build.py kernels tune --static (estimates for gfx950), or run it on the GPU machine")
    if static and find_tool() is None:
        raise MissingTool(f"--static needs llvm-mca {OLDEST} or newer on PATH", f"apt install llvm-{OLDEST} (Debian), then the same command")
    if any(count < 1 or count > 16384 for count in tokens):
        raise BadInput(f"--tokens {', '.join(map(str, tokens))}: M goes from 1 to 16384", "leave --tokens out for the shipped buckets")
    arch = GFX950.name
    if not static and torch.cuda.is_available():
        from tunefork.kernels.moe_a16w4.device import target

        arch = target().arch
    here = Layout.here()
    sizes = tuple(cases.INTERMEDIATE // int(tp) for tp in (tps or options.TPS))
    asked = sweep.Sweep(arch, sizes, tokens or sweep.BUCKETS, (out or here.work / "tune").resolve(), static)
    if ray_address:
        place: Local | Ray = Ray(ray_address)
    else:
        place = Local(() if static else tuple(gpus.split(",")) if gpus else devices.visible(), workers or os.cpu_count() or 1)
    rows = sweep.run(asked, place, say)
    if as_json:
        print_json([{"intermediate": row.intermediate, "tokens": row.tokens, "config": row.config, "source": row.source} for row in rows])
    else:
        title = f"Configurations of {arch} ({'modelled: never measured' if static else 'measured'})"
        table(title, ("I", "M up to", "order", "source"), [(str(row.intermediate), str(row.tokens), row.config.order, row.source) for row in rows])
    say(f"written: {asked.table}")
    if take_it:
        say(f"{sweep.take(arch, rows)} rows of configs/{arch}.json changed; run `kernels gate --record` and commit both")
    return 0
