"""`bench ab`: decide between two variants."""

from __future__ import annotations

import secrets
import shutil
import time
from typing import TYPE_CHECKING, Any

import click

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.extras import require
from tunefork.cli.output import aside, echo, print_json, say, table, tabs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tunefork.bench.ab.accuracy import AccuracyDifference
    from tunefork.bench.ab.arms import Kind
    from tunefork.bench.ab.experiment import Comparison
    from tunefork.bench.ab.outcome import Outcome
    from tunefork.bench.machine.spread import Local, Ray


@click.command(epilog="Exit codes: 0 the experiment was carried out, whatever its verdict, 2 bad arguments, 9 a server did not start, "
                      "13 an arm failed twice in a row, 130 stopped (the same command goes on).")
@click.option("--a", "a", default="base", show_default=True, metavar="V", help="Arm A: a variant, or profile:NAME.")
@click.option("--b", "b", default="all", show_default=True, metavar="V", help="Arm B: likewise; the same as A calibrates.")
@click.option("--each-patch", is_flag=True, help="Every patch of the series: alone, left out, cumulative.")
@click.option("--kernel", metavar="OP", help="Not servers but a kernel: --a and --b are `shipped`, a configuration's .json or a peer's name.")
@click.option("--tokens", type=click.IntRange(1, 16384), multiple=True, metavar="M", help="With --kernel: tokens of a problem.  [default: 1, 8, 64]")
@click.option("--cpu-timer", is_flag=True, help="With --kernel, without a GPU: tries the method on CPU implementations, labelled so.")
@click.option("--base-url-a", metavar="URL", help="Arm A is a server that runs already; goes with --base-url-b.")
@click.option("--base-url-b", metavar="URL", help="Arm B likewise.")
@click.option("--server-cmd-a", metavar="COMMAND", help="Arm A is this command, with {port} in it; goes with --server-cmd-b.")
@click.option("--server-cmd-b", metavar="COMMAND", help="Arm B likewise.")
@click.option("--client", type=click.Choice(["vllm", "builtin"]), default="vllm", show_default=True,
              help="`vllm bench serve`, or our own streaming client, which needs no vLLM.")
@click.option("--accuracy", is_flag=True, help="Also compare the accuracy: the profile's task, once per arm, question by question.")
@options.profile()
@click.option("--spread", "over", metavar="local|ray|ADDRESS", help="Pairs beside each other: each on GPUs of its own, of this machine or a Ray cluster's.")
@click.option("--pairs", type=click.IntRange(1, 1000), default=6, show_default=True, help="Pairs of trials: 4 and more for a verdict; add once.")
@options.isl("Only this input length; goes with --osl.")
@options.osl("Only this output length.")
@options.conc("Only these concurrencies, such as 4,8.")
@click.option("--num-prompts", type=int, help="Requests per configuration; default: the profile's.")
@options.tp()
@options.model()
@options.port()
@options.gpus("GPUs that a server of --base-url or --server-cmd uses.")
@options.ready_timeout()
@options.client_timeout("Default: from the load.")
@click.option("--metric", default="total_token_throughput", show_default=True, help="What decides; the others are judged beside it.")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="Least relative difference that matters.")
@click.option("--seed", type=int, help="Of the plan; default: drawn.")
@click.option("--name", help="Name of the experiment; the same name again resumes it, or adds pairs.")
@options.as_json("Print the outcome as JSON.")
@options.vllm_arguments()
@click.pass_context
def ab(ctx: click.Context, /, a: str, b: str, *, each_patch: bool, over: str | None, client: str, accuracy: bool, pairs: int, metric: str, threshold: float,
       seed: int | None, name: str | None, as_json: bool, **options: Any) -> int:
    """Decide between two variants: better, worse, no difference or inconclusive.

    Trials (one server start each) run in pairs, in a drawn order; both variants are made ready first. Stop at any time: the same command with
    the same --name goes on. Which test, which threshold, and what the verdicts are worth: docs/statistics.md.

    \b
    python3 build.py bench ab --a base --b only:moe-pad-once --profile stage2       one patch
    python3 build.py bench ab --a base --b base                                     A/A: how much noise there is
    python3 build.py bench ab --a profile:stage2 --b profile:stage2-a16w4-triton    two profiles, each with the whole series
    python3 build.py bench ab --each-patch --pairs 4                                the whole series
    python3 build.py bench ab --kernel moe_a16w4 --b mine.json --tp 8               a kernel's configuration against the shipped one
    python3 build.py bench ab --base-url-a http://h:8000 --base-url-b http://h:8001 --client builtin
    """
    require("ab")
    from tunefork.bench.ab import answers, arms, evidence, experiment, profile_arms, run
    from tunefork.bench.ab.judge import LEAST_PAIRS
    from tunefork.bench.ab.judgement import refuse_unless_served
    from tunefork.bench.ab.outcome import outcomes
    from tunefork.bench.ab.trial import settle
    from tunefork.bench.records.schema import Record
    from tunefork.bench.records.store import default_store
    from tunefork.bench.run.session import check_first

    name = name or f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    kernel = {key: options.pop(key) for key in ("kernel", "tokens", "cpu_timer")}
    if kernel["kernel"]:
        from tunefork.cli.bench.ab_kernel import kernel_ab

        return kernel_ab(kernel["kernel"], *(word if typed(ctx, side) else "shipped" for side, word in (("a", a), ("b", b))), tp=options["tp"],
                         tokens=kernel["tokens"], cpu_timer=kernel["cpu_timer"], pairs=pairs, threshold=threshold, seed=seed, name=name,
                         given={**options, "each_patch": each_patch, "accuracy": accuracy, "over": over}, as_json=as_json)
    if kernel["tokens"] or kernel["cpu_timer"]:
        raise BadInput(f"--{'tokens' if kernel['tokens'] else 'cpu-timer'} goes with --kernel", "--kernel moe_a16w4")
    refuse_unless_served(metric)
    layout = Layout.here()
    servers = {key: options.pop(key) for key in ("base_url_a", "base_url_b", "server_cmd_a", "server_cmd_b")}
    profiles = profile_arms.named(a, b)
    if profiles:
        if typed(ctx, "profile") or each_patch or any(servers.values()):
            raise BadInput(f"--a {a} --b {b} names both servers: no --profile, --each-patch, --base-url or --server-cmd beside it", profile_arms.EXAMPLE)
        options["profile"] = profiles[0]
    settings, profile = settle(options)
    if profiles:
        profile_arms.check(settings, a, b)
    kind, comparisons = ("profile", (experiment.Comparison("", a, b),)) if profiles else compared(layout, a, b, servers, each_patch=each_patch)
    place = placed(over, kind) if over else None
    answers.check(profile, asked=accuracy)
    check_first(profile, settings, client=client, gate=accuracy, own=kind in ("variant", "profile"),
                urls=[url for one in comparisons for url in (one.a, one.b)] if kind == "url" else ())
    where = experiment.folder(layout, name)
    # The seed is the plan's; 0 stands here in plans of before.
    fixed = {**settings.model_dump(mode="json"), "seed": 0, "client": client, "accuracy": accuracy, "kind": kind}
    planned = experiment.begin(where, experiment.Experiment(
        name, profile.name, comparisons, pairs, secrets.randbelow(2**31) if seed is None else seed, metric, threshold, fixed))
    if seed is not None and planned.seed != seed:
        raise BadInput(f"experiment {name} was planned with seed {planned.seed}", f"another --name, or --seed {planned.seed}")
    if planned.pairs < LEAST_PAIRS:
        say(f"fewer than {LEAST_PAIRS} pairs give no verdict: --pairs {LEAST_PAIRS} and more do")
    if len(planned.looks) > 1:
        say("lengthened more than once: these pairs narrow the interval and give no verdict (docs/statistics.md)")
    say(f"experiment {name}: {len(comparisons)} comparison{'s' if len(comparisons) > 1 else ''} x {planned.pairs} pairs; "
        f"resume with --name {name}")
    store = default_store(layout)
    trials = arms.trials(layout, store, where, planned, comparisons, say)  # here too where they are spread: what cannot work is told now
    if place is None:
        run.run(layout, store, where, planned, trials.scenarios(), trials, profile.gpus, say)
    else:
        run.run_spread(layout, store, where, planned, trials.scenarios(), profile.gpus, place, say)
    own = [one for one in store.records() if isinstance(one, Record) and one.labels.get("experiment") == name]
    found = outcomes(map(evidence.of, own), decides=metric, threshold=threshold)
    show_all(found, where, comparisons, as_json=as_json)
    return 0


def show_all(found: list[Outcome], where: Path, comparisons: Sequence[Comparison], *, as_json: bool) -> None:
    """The outcomes, with the answers' differences. AccuracyUnknown, after the outcomes: a sample that cannot be read hides no hours of measuring."""
    from tunefork.bench.ab import answers
    from tunefork.bench.errors import AccuracyUnknown

    try:
        asked = answers.differences(where, comparisons)
    except AccuracyUnknown:
        if not as_json:  # whose answer is one object: the error's
            show(found, {}, as_json=False)
        raise
    show(found, asked, as_json=as_json)


def typed(ctx: click.Context, name: str) -> bool:
    """Whether an option was given."""
    return ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def placed(over: str, kind: Kind) -> Local | Ray:
    """Where pairs run beside each other."""
    from tunefork.bench.machine import devices
    from tunefork.bench.machine.spread import Local, Ray

    if kind == "url":
        raise BadInput("--spread starts servers where GPUs are free; those of --base-url run where they run", "leave out --spread")
    if over != "local":
        return Ray("auto" if over == "ray" else over)
    gpus = devices.visible()
    if not gpus:
        raise BadInput("--spread local: no GPU is seen on this machine", "leave out --spread; HIP_VISIBLE_DEVICES may hide them")
    return Local(gpus)


def compared(layout: Layout, a: str, b: str, servers: dict[str, str | None], *, each_patch: bool) -> tuple[Kind, tuple[Comparison, ...]]:
    """What kind of arms, and the comparisons that were asked for."""
    from tunefork.base.ports import same_server
    from tunefork.bench.ab.experiment import Comparison
    from tunefork.bench.ab.experiment import each_patch as every_patch
    from tunefork.bench.run.settings import address
    from tunefork.patchset.series.series import Series
    from tunefork.patchset.series.variant import choose

    given = {key for key, value in servers.items() if value}
    if given not in (set(), {"base_url_a", "base_url_b"}, {"server_cmd_a", "server_cmd_b"}):
        words = " ".join(f"--{key.replace('_', '-')}" for key in sorted(given))
        raise BadInput(f"{words}: expected both arms of one kind", "--base-url-a URL --base-url-b URL")
    if given:
        first, second = (servers[key] or "" for key in sorted(given))
        if "base_url_a" in given:
            first, second = address("--base-url-a", first), address("--base-url-b", second)
        if "base_url_a" in given and same_server(first, second):
            both = first if first == second else f"one server, {first} and {second}"
            raise BadInput(f"both arms are {both}: what the first trial left in its prefix cache would speed up the second",
                           "two servers; or --server-cmd-a and -b, or --a base --b base, which start one for every trial")
        return ("url" if "base_url_a" in given else "command"), (Comparison("", first, second),)
    series = Series.load("vllm", layout.series_dir("vllm"))
    if each_patch:
        return "variant", every_patch(series)
    return "variant", (Comparison("", choose(a, series).spec, choose(b, series).spec),)


def show(found: list[Outcome], accuracy: dict[str, AccuracyDifference], *, as_json: bool) -> None:
    """The outcome: one comparison as an object, several as a list."""
    from tunefork.bench.ab.answers import said
    from tunefork.bench.ab.outcome import as_json as plain_outcome
    from tunefork.bench.ab.outcome import rows
    from tunefork.bench.ab.words import headline
    from tunefork.bench.report import forest

    if as_json:
        objects = [{**plain_outcome(one), "accuracy": accuracy.get(one.comparison)} for one in found]
        print_json(objects[0] if len(objects) == 1 else {"comparisons": objects})
        return
    for one in found:
        aside(headline(one), bold=True)
        title = f"{one.comparison + ': ' if one.comparison else ''}B = {one.b} against A = {one.a}: {one.verdict}"
        table(f"{title}  ({', '.join(one.chips)})", ("scenario", "metric", "B/A", "95 %", "p (Holm)", "pairs", "verdict"), rows(one))
        for line in forest.text([one], shutil.get_terminal_size((100, 24)).columns) if not tabs() else ():
            echo(line)
        if one.comparison in accuracy:
            aside(f"accuracy, {said(accuracy[one.comparison])}")
        for note in one.notes():
            say(f"  {note}")
        for scenario in one.scenarios:
            if scenario.uneven:
                say(f"  {scenario.name}: no verdict: spoiled trials are not alike (A {scenario.lost[0]}, B {scenario.lost[1]}), "
                    "so the pairs left are a selection")
            for bad in scenario.rejected:
                say(f"  {scenario.name}: pair {bad.pair + 1} left out: {bad.reason}")
