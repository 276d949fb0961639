"""`bench profile`: where the time of a decode step goes."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.output import print_json, say, table

if TYPE_CHECKING:
    from tunefork.bench.trace.summary import MeanStep

OTHER_SHARE = 0.02
LONGEST_HEAD = 20


@click.command(epilog="Exit codes: 0 profiled; 2 bad arguments, or a trace without decode steps; 9 the server did not start, answer or profile.")
@click.option("--a", "a", metavar="V", help="A variant; default: the one that work/vllm holds.")
@click.option("--b", "b", metavar="V", help="A second variant, beside the first.")
@click.option("--from", "traces", type=click.Path(path_type=Path, exists=True, dir_okay=False), multiple=True, metavar="TRACE",
              help="Read a trace that is there (vLLM's .pt.trace.json.gz, rocprofv3's _kernel_trace.csv) and start nothing; two stand beside each other.")
@options.profile()
@options.isl("Prompt tokens; default: the profile's first load.")
@click.option("--conc", type=int, help="Streams that decode together; default: that load's first.")
@click.option("--steps", type=click.IntRange(1, 1000), help="Decode steps to profile.  [default: 10; with --from all]")
@click.option("--kernels", "count", type=click.IntRange(0), default=10, show_default=True, help="How many of the largest kernels to name.")
@options.tp()
@options.model()
@options.port("0: any free one.", default=0, show_default=True)
@options.ready_timeout()
@options.out_folder("Where traces go. Default: work/profiles/<time>.")
@options.as_json("Print the profiles as JSON.")
@options.vllm_arguments()
def profile(a: str | None, b: str | None, traces: tuple[Path, ...], steps: int | None, count: int, out: Path | None, as_json: bool,
            **options: Any) -> int:
    """Time of a decode step by kernel class (MoE, attention, GEMM, norm, all-reduce, sampling, gaps), of one variant or of two side by side.

    The server runs with vLLM's torch profiler; CONC streams decode, and N steps of them are recorded. A profile says where time goes; whether
    a variant is faster is `bench ab`'s question, without the profiler's cost.

    \b
    python3 build.py bench profile --a base --b all --profile stage2 --conc 4
    rocprofv3 --kernel-trace --output-format csv -- ...; python3 build.py bench profile --from out_kernel_trace.csv --steps 64
    """
    from tunefork.bench.trace import summary
    from tunefork.bench.trace.trace import read

    if traces:
        if a or b or len(traces) > 2:
            raise BadInput("--from reads one trace, or two to compare, and starts no variant", "--from A.json.gz --from B.json.gz")
        found = {path.name if len({one.name for one in traces}) == len(traces) else str(path): [summary.mean_step(read(path, steps), steps)]
                 for path in traces}
    else:
        found = live(Layout.here(), a, b, steps or 10, out, options)
    show(found, count, as_json=as_json)
    return 0


def live(layout: Layout, a: str | None, b: str | None, steps: int, out: Path | None, options: dict[str, Any]) -> dict[str, list[MeanStep]]:
    """Start each variant, profile it, stop it: its ranks' profiles by variant."""
    from tunefork.bench.load import load
    from tunefork.bench.machine import devices
    from tunefork.bench.profiles import rules
    from tunefork.bench.run import settings as configure
    from tunefork.bench.run.session import check_first, session, subject
    from tunefork.bench.trace import summary
    from tunefork.bench.trace.live import check_length, decode, server_arguments
    from tunefork.bench.trace.trace import read

    isl, conc = options.pop("isl"), options.pop("conc")
    made, _ = configure.settings(options, {})
    chosen = configure.profile(made)
    first = chosen.scenarios[0]
    one = load.scenario(isl or first.isl, first.osl, conc or first.conc[0], rules.load(chosen).load)
    longest = chosen.server.get("max-model-len")
    longest = int(longest) if longest is not None else None
    check_length(one, steps, longest)
    out = (out or layout.work / "profiles" / time.strftime("%Y%m%d-%H%M%S")).resolve()
    check_first(chosen, made, client="builtin", gate=False, conc=one.conc)
    subjects = {}
    for variant in dict.fromkeys([a, b] if b else [a]):
        under_test = subject(layout, made.model_copy(update={"variant": variant}), say)
        assert under_test.environment is not None
        subjects[under_test.environment.tree.variant] = under_test
    found = {}
    for name, under_test in subjects.items():
        folder = out / name.replace(":", "-")
        folder.mkdir(parents=True)
        own = made.model_copy(update={"extra": (*made.extra, *server_arguments(folder, steps))})
        with devices.machine(layout.cache, say), session(layout, chosen, own, under_test, say) as target:
            say(f"profiling {steps} decode steps of CONC {one.conc} after {one.isl} prompt tokens")
            written = decode(target, one, steps, folder, longest)
        found[name] = [summary.mean_step(read(path), steps) for path in written]
        described = {"variant": name, "version": under_test.version, "tree": under_test.tree, "isl": one.isl, "conc": one.conc,
                     "server": target.server.model_dump(mode="json"), "ranks": [asdict(rank) for rank in found[name]]}
        (folder / "profile.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
        say(f"traces and profile.json: {folder}")
    return found


def show(found: dict[str, list[MeanStep]], count: int, *, as_json: bool) -> None:
    """A table of the first rank; of more ranks the JSON has all."""
    from tunefork.bench.trace import summary

    if as_json:
        print_json({"profiles": [{"name": name, "ranks": ranks} for name, ranks in found.items()]})
        return
    firsts = [ranks[0] for ranks in found.values()]
    heads = [name if len(name) <= LONGEST_HEAD else letter for name, letter in zip(found, "AB", strict=False)]
    for name, head, one in zip(found, heads, firsts, strict=True):
        title = name if head == name else f"{head} = {name}"
        left = f"; {one.left_out} of other sizes left out" if one.left_out else ""
        batch = f" of {one.conc} request{'s' if one.conc != 1 else ''}" if one.conc else ""
        say(f"{title}: mean of {one.steps} decode steps{batch}{left}; {len(found[name])} rank{'s' if len(found[name]) != 1 else ''}")
    kind = "kernels" if firsts[0].device else "operators of the CPU backend (no GPU's times)"
    table(f"a decode step, by class of {kind}", summary.columns(heads), summary.rows(firsts))
    for name, one in zip(heads, firsts, strict=True):
        if count:
            table(f"{name}: the largest", ("class", "us", "name"), summary.largest(one, count))
        if one.classes["other"] > OTHER_SHARE * one.wall:
            table(f"{name}: no class knows these", ("class", "us", "name"), summary.largest(one, 5, "other"))
