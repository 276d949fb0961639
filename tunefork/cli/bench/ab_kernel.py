"""`bench ab --kernel`: decide between two configurations or implementations of a kernel."""

from __future__ import annotations

import importlib.util
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

from tunefork.base.errors import BadInput, MissingTool
from tunefork.base.extras import installing
from tunefork.base.layout import Layout
from tunefork.cli.output import echo, print_json, say, table

GPU_ROUNDS, CPU_ROUNDS = 24, 4
# What an A/B of serving takes and one of a kernel has no use for.
SERVING = ("isl", "osl", "conc", "num_prompts", "model", "port", "gpus", "ready_timeout_s", "client_timeout_s", "extra", "base_url_a", "base_url_b",
           "server_cmd_a", "server_cmd_b", "each_patch", "accuracy", "over")


def kernel_ab(op: str, a: str, b: str, *, tp: int | None, tokens: tuple[int, ...], cpu_timer: bool, pairs: int, threshold: float, seed: int | None,
              name: str, given: dict[str, Any], as_json: bool) -> int:
    """Carry it out and show the verdict. MissingTool without a GPU, unless the CPU's clock was asked for."""
    from tunefork.bench.ab import experiment, kernel

    if op not in kernel.OPERATIONS:
        raise BadInput(f"--kernel {op}: expected {', '.join(kernel.OPERATIONS)}", f"--kernel {kernel.OPERATIONS[0]}")
    useless = [key for key in SERVING if given.get(key)]
    if useless:
        raise BadInput(f"--kernel starts no server: --{useless[0].replace('_', '-')} means nothing to it", "leave it out; --tp and --tokens name the problems")
    missing = [word for word in ("torch", "triton") if importlib.util.find_spec(word) is None]
    if missing:
        raise MissingTool(f"bench ab --kernel needs {', '.join(missing)}, not installed here",
                          f"python3 build.py develop, and {installing('kernels')}")
    import torch

    if not cpu_timer and not torch.cuda.is_available():
        raise MissingTool("no GPU: a kernel's time cannot be taken here",
                          "a machine with one; --cpu-timer --a torch --b reference tries the method on this CPU and says nothing of a GPU")
    layout = Layout.here()
    where = experiment.folder(layout, name)
    if (where / experiment.FILE).exists():
        raise BadInput(f"experiment {name} is one of serving", "another --name")
    wanted = kernel.KernelPlan(name, op, kernel.arm(a), kernel.arm(b), tp or 8, tokens or (1, 8, 64), secrets.randbelow(2**31) if seed is None else seed,
                               CPU_ROUNDS if cpu_timer else GPU_ROUNDS, "cpu" if cpu_timer else "gpu", threshold)
    planned = kernel.begin(where, wanted)
    say(f"experiment {name}: {op}, B = {b} against A = {a}, {pairs} pairs; resume with --name {name}")
    found = kernel.outcome(planned, kernel.run(layout, where, planned, pairs, say))
    # The names that were typed, for people; the plan has the configurations.
    typed = replace(found, plan=replace(planned, a=Path(a).name, b=Path(b).name))
    if as_json:
        print_json(kernel.as_json(found))
        return 0
    show(typed)
    return 0


def show(found: Any) -> None:
    """A table, with what it is of in its title."""
    from tunefork.bench.ab import kernel
    from tunefork.bench.ab.outcome import interval, ratio

    rows = []
    for count, one in found.judgements.items():
        a, b = found.medians.get(count, (float("nan"), float("nan")))
        more = f", {one.more_pairs} more should settle it" if one.verdict == "inconclusive" and one.more_pairs else ""
        p = "-" if one.p_holm is None else f"{one.p_holm:.3g}"
        rows.append((f"TP{found.plan.tp} M {count}", f"{a:.2f}", f"{b:.2f}", ratio(one.ratio), interval(one), p, str(one.pairs), f"{one.verdict}{more}"))
    table(f"{found.plan.op}: B = {found.plan.b} against A = {found.plan.a}: {found.verdict}  ({', '.join(found.chips)})",
          ("problem", "A us", "B us", "B/A", "95 %", "p (Holm)", "pairs", "verdict"), rows)
    say(kernel.NOTES[found.plan.timer])
    for bad in found.rejected:
        echo(f"  pair {bad.pair + 1} left out: {bad.reason}", err=True)
