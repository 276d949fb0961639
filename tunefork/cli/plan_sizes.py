"""`plan-sizes`: CUDA graph sizes for a workload."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from tunefork.base.errors import BadInput
from tunefork.base.upstream_facts.vllm import RELEASE
from tunefork.cli import options
from tunefork.cli.output import aside, print_json, table, tabs
from vllm_overrides.capture.cost import PADDINGS
from vllm_overrides.capture.options import Options, concurrencies
from vllm_overrides.capture.plan import Plan, make_plan
from vllm_overrides.capture.rules import Limits
from vllm_overrides.errors import OverrideError

FILE = click.Path(path_type=str, dir_okay=False)


@click.command(context_settings={"show_default": True})
@click.option("--conc", metavar="N,N,...", help="Concurrencies of the closed-loop runs to plan for.")
@options.isl("Longest prompt.", default=1024)
@options.osl("Longest answer.", default=1024)
@click.option("--range-ratio", type=float, default=1.0, help="Lengths are drawn from [ratio x longest, longest].")
@click.option("--prompts", type=int, default=0, help="Requests per run; 0: 10 per client.")
@click.option("--tokens-per-step", type=float, default=1.0, help="Tokens a request gains per decode step (speculation).")
@click.option("--trace", type=FILE, help="Plan for recorded steps: a JSON histogram, or a log with --cudagraph-metrics tables.")
@click.option("--cost", type=FILE, help="Measured seconds per step by size (JSON) in place of the byte model.")
@click.option("--padding", type=click.Choice(PADDINGS), default=PADDINGS[0], help="How rows of padding route, in the byte model.")
@click.option("--tp", type=int, default=1, help="GPUs that share the weights, in the byte model.")
@click.option("--max-num-seqs", type=int, default=Limits.max_num_seqs, help="As given to the server.")
@click.option("--max-num-batched-tokens", type=int, default=Limits.max_num_batched_tokens, help="As given to the server.")
@click.option("--num-speculative-tokens", type=int, default=0, help="As given to the server.")
@click.option("--max-graphs", type=int, help="Most sizes to capture.")
@click.option("--max-memory", type=float, metavar="MIB", help="Memory for graphs; needs --graph-memory.")
@click.option("--graph-memory", type=float, metavar="MIB", help="Memory of one size's graphs, from the server's log.")
@click.option("--price", type=float, default=0.01, help="Seconds of serving that a second of start-up is worth; 1: one run per start.")
@click.option("--graph-seconds", type=float, default=0.5, help="Start-up per size: an assumption, give your server's.")
@click.option("--compile-gain", type=float, default=0.0, help="Share of a step that a compiled size saves; 0: compile none.")
@click.option("--compile-seconds", type=float, default=10.0, help="Start-up per compiled size: an assumption, give your server's.")
@click.option("--cover", type=int, default=0, help="Requests that must find a graph, whether or not the workload has so many.")
@options.as_json("Print the plan as JSON; TUNEFORK_CAPTURE_PLAN takes a file of it.")
@click.option("--yaml", "as_yaml", is_flag=True, help="Print the file for `vllm serve --config`, and nothing else.")
def plan_sizes(as_json: bool, as_yaml: bool, **given: Any) -> None:
    """Choose which CUDA graph sizes to capture for a workload: the exact optimum under a cost model. docs/capture-plan.md.

    \b
    python3 build.py plan-sizes --conc 4,8,16
    python3 build.py plan-sizes --conc 4,8,16 --max-num-seqs 16 --yaml > sizes.yaml && vllm serve ... --config sizes.yaml
    python3 build.py plan-sizes --trace server.log --cost steps.json --max-graphs 12 --json
    """
    if as_json and as_yaml:
        raise BadInput("--json and --yaml print different documents", "one of them")
    try:
        plan = make_plan(asked(given))
    except OverrideError as error:
        raise BadInput(error.message, error.remedy) from error
    if as_json:
        print_json(plan.as_json())
    elif as_yaml:
        click.echo(plan.as_yaml(), nl=False)
    else:
        show(plan)


def asked(given: dict[str, Any]) -> Options:
    """The planner's options from the command line's."""
    names = ("max_num_seqs", "max_num_batched_tokens", "num_speculative_tokens")
    limits = Limits(**{name: given.pop(name) for name in names})
    graphs = memory_limit(given.pop("max_memory"), given.pop("graph_memory"))
    if graphs is not None:
        given["max_graphs"] = min(graphs, given["max_graphs"] or graphs)
    text = given.pop("conc")
    try:
        conc = concurrencies(text) if text else ()
    except ValueError:
        raise BadInput(f"--conc takes whole numbers, got {text!r}", "--conc 4,8,16") from None
    return replace(Options(conc=conc, limits=limits), **{name: value for name, value in given.items() if value is not None})


def memory_limit(memory: float | None, per_graph: float | None) -> int | None:
    """The number of sizes whose graphs fit a budget; both in MiB."""
    if (memory is None) != (per_graph is None):
        raise BadInput("a memory limit is a number of graphs: --max-memory and --graph-memory go together",
                       "--graph-memory: graph pool size that the server's log reports, divided by its number of sizes")
    if memory is None or per_graph is None:
        return None
    if per_graph <= 0 or memory < per_graph:
        raise BadInput(f"{memory:g} MiB hold no graph of {per_graph:g} MiB", "a larger --max-memory")
    return int(memory // per_graph)


def show(plan: Plan) -> None:
    """The plan, a table of the three lists, the YAML."""
    aside(f"capture sizes: {' '.join(map(str, plan.sizes))}")
    aside(f"compile sizes: {' '.join(map(str, plan.compile_sizes)) or 'none'}")
    lists = (("plan", plan.expected), ("default", plan.default), ("guide", plan.guide))
    rows = [
        (name, str(one.graphs), str(one.full), f"{one.rows:.2%}", f"{one.time:.2%}", f"{one.eager:.2%}", f"{one.piecewise:.2%}")
        for name, one in lists
    ]
    columns = ("list", "sizes", "decode", "padding", "time", "no graph", "piecewise")
    table("", columns, rows)
    aside("decode: sizes with a graph for decode steps; padding: rows per live row; time: what padding adds to a step;")
    aside(f"no graph, piecewise: share of decode time outside FULL graphs. default: vLLM {RELEASE}'s list for GPT-OSS.\n")
    for line in (*plan.notes, plan.workload, plan.cost):
        aside(line)
    click.echo("\n" + plan.as_yaml(), nl=False, err=tabs())
