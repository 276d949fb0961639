"""`bench run`: measure a profile on one variant."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.bench.profiles import profile as profiles
from tunefork.cli import options
from tunefork.cli.output import clean, print_json, say
from tunefork.cli.serve import on_signal, stop_like_ctrl_c

if TYPE_CHECKING:
    from tunefork.bench.run.run import Run
    from tunefork.bench.run.settings import Settings


@click.command(epilog="Exit codes: 0 everything passed; 9 the server did not start, answer or stop; 10 the accuracy gate was missed; "
                      "11 the accuracy could not be measured; 12 some configurations failed; 13 all failed; 14 a result may not be "
                      "submitted; 15 the leaderboard did not take one; 16 it is not known whether it did; 17 a record could not be "
                      "written; 130 stopped.")
@options.profile(f"{', '.join(profiles.names())}, or a TOML file.")
@click.option("--mode", type=click.Choice(["acc", "perf", "submit"]), default="perf", show_default=True,
              help="acc: the gate only; perf: the gate, then the load; submit: also send the results.")
@options.isl("Input tokens per request; with --osl. Default: all of the profile's pairs.")
@options.osl("Output tokens per request.")
@options.conc("Concurrent requests, such as 4,8. Default: the profile's.")
@options.variant()
@options.tp()
@options.model("Serve these weights instead of the profile's.")
@options.port(envvar="TUNEFORK_PORT", show_envvar=True)
@click.option("--base-url", metavar="URL", help="Measure a server that runs already; nothing is started.")
@options.gpus("With --base-url: how many GPUs that server uses.")
@click.option("--seed-divisor", is_flag=True, help="Divide throughput by 8 GPUs whatever is used, as the seed's harness does (labelled).")
@click.option("--seed", type=int, help="Of the prompts; every load draws its own from it. Default: drawn, and kept in the records.")
@options.ready_timeout()
@options.client_timeout("For one configuration. Default: what five tokens a second per request would take.")
@options.out_folder("Where batch directories go. Default: work/bench.")
@click.option("--resume", type=click.Path(path_type=Path, exists=True, file_okay=False), multiple=True, metavar="BATCH",
              help="Go on with this batch, verifying what it has; its own settings hold.")
@options.team("For --mode submit.")
@options.yes("Submit without asking.")
@options.no_baseline("Submit configurations without a baseline too, with empty ratios.")
@options.leaderboard("Submit there instead of to the profile's leaderboard.")
@options.as_json()
@options.vllm_arguments()
@click.pass_context
def run(ctx: click.Context, /, out: Path | None, resume: tuple[Path, ...], team: str | None, yes: bool, no_baseline: bool, url: str | None,
        as_json: bool, **options: Any) -> int:
    """Measure a profile's configurations on one variant: the accuracy gate once per server, then every CONC.

    The competition's variables MODEL PORT TP MAX_MODEL_LEN ISL OSL CONC RANDOM_RANGE_RATIO NUM_PROMPTS RESULT_FILENAME GPU_MEMORY_UTIL
    BLOCK_SIZE are read where the option is not given; each one that takes effect is named.

    \b
    python3 build.py bench run --profile smoke                          the whole loop, on any machine
    python3 build.py bench run --profile seed --isl 1024 --osl 1024     one pair of the competition's
    python3 build.py bench run --profile stage2 --mode submit --team "us"
    python3 build.py bench run --resume work/bench/batch_isl1024_osl1024_20261122_101500
    """
    from tunefork.bench.run import run as runs
    from tunefork.bench.run.settings import settings

    on_signal(stop_like_ctrl_c)
    layout = Layout.here()
    out = out or layout.work / "bench"
    typed = {name: value for name, value in options.items()
             if not resume or ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    if resume and typed:
        raise BadInput(f"--resume goes on with the batch's own settings; --{next(iter(typed)).replace('_', '-')} would change them",
                       "leave it out, or start a new batch")
    asked, taken = settings(options if not resume else {"profile": "smoke"}, {} if resume else os.environ)
    if asked.mode == "submit":
        submittable(asked, team, yes=yes, no_baseline=no_baseline, url=url)
    for name, value in taken.items():
        say(f"from the environment: {name}={value}")
    planned = runs.start(layout, asked, out.resolve(), say, tuple(folder.resolve() for folder in resume))
    if resume and planned.settings.mode == "submit":
        submittable(planned.settings, team, yes=yes, no_baseline=no_baseline, url=url)
    done = runs.execute(planned, out.resolve())
    answer = runs.report(done)
    show(done, as_json=as_json)
    code = done.code
    if done.settings.mode == "submit" and code:
        say("nothing was submitted")
    elif done.settings.mode == "submit":
        from tunefork.cli.bench.submit import grave, send

        assert team is not None
        records = [done.records[key] for key in sorted(done.records)]
        answer["submissions"] = send(layout, done.store, done.rules, records, team, yes=yes, no_baseline=no_baseline, url=url,
                                     fresh=timedelta(hours=24), dry_run=False, again=False)
        code = grave(answer["submissions"])
    if as_json:
        print_json(answer)
    return code


def submittable(asked: Settings, team: str | None, *, yes: bool, no_baseline: bool, url: str | None) -> None:
    """Refuse now what could not be submitted after the measurement."""
    from tunefork.bench.profiles import rules
    from tunefork.bench.run import settings as configure
    from tunefork.bench.submit.submit import refuse_early

    profile = configure.profile(asked)
    refuse_early(rules.load(profile), profile, team, url=url, no_baseline=no_baseline)
    if not yes and not sys.stdin.isatty():
        raise BadInput("nobody is here to say yes before the results go out", "--yes submits without asking")


def show(done: Run, *, as_json: bool) -> None:
    """The table, unless stdout is for JSON, and why it did not pass."""
    from tunefork.bench.run.summary import COLUMNS, accuracy_lines, notes, row
    from tunefork.cli.output import table

    if not as_json:
        rows = [row(batch, entry, done.of(batch).get(entry.conc)) for batch in done.batches for entry in batch.state.entries]
        for line in accuracy_lines(done.accuracy):
            say(line)
        if rows:
            table(f"{done.profile.name}: {done.subject.version or done.settings.base_url}",
                  COLUMNS, rows)
        for line in dict.fromkeys(line for batch in done.batches for line in notes(batch, done.rules, done.of(batch))):
            say(line)
        for batch in done.batches:
            say(f"results: {batch.folder}")
    if done.error is not None:
        click.echo(click.style("error: ", fg="red", bold=True) + clean(done.error.message), err=True)
        if done.error.remedy:
            click.echo(click.style("  try: ", fg="green") + clean(done.error.remedy), err=True)
