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
from tunefork.bench.errors import ConfigurationsFailed
from tunefork.bench.profiles import profile as profiles
from tunefork.cli import options
from tunefork.cli.output import clean, print_json, problem, say
from tunefork.cli.serve import on_signal, stop_like_ctrl_c

if TYPE_CHECKING:
    from tunefork.bench.run.run import Run
    from tunefork.bench.run.settings import Settings

MODES = ("acc", "perf", "submit")


@click.command(epilog="Exit codes: 0 everything passed; 9 the server did not start, answer or stop; 10 the accuracy gate was missed; "
                      "11 the accuracy could not be measured; 12 some configurations failed; 13 all failed; 14 a result may not be "
                      "submitted; 15 the leaderboard did not take one; 16 it is not known whether it did; 17 a record could not be "
                      "written; 130 stopped.")
@options.profile(f"{', '.join(profiles.names())}, or a TOML file.")
@click.option("--mode", type=click.Choice(MODES), default="perf", show_default=True,
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
@options.server_log()
@options.client_timeout("For one configuration. Default: what five tokens a second per request would take.")
@options.out_folder("Where batch directories go. Default: work/bench.")
@click.option("--resume", type=click.Path(path_type=Path, exists=True, file_okay=False), multiple=True, metavar="BATCH",
              help="Go on with this batch, verifying what it has; its own settings hold.")
@options.team("For --mode submit.", envvar="TEAM_NAME_ENV", show_envvar=True)
@options.yes("Submit without asking.")
@options.no_baseline("Submit configurations without a baseline too, with empty ratios.")
@options.all_or_nothing("Submit only where every configuration passed and has a baseline.")
@options.leaderboard("Submit there instead of to the profile's leaderboard.", envvar="LB_URL_OVERRIDE", show_envvar=True)
@options.as_json()
@click.argument("extra", nargs=-1, type=click.UNPROCESSED, metavar="[acc|perf|submit [TEAM]] [-- VLLM_ARGUMENT...]")
@click.pass_context
def run(ctx: click.Context, /, out: Path | None, resume: tuple[Path, ...], team: str | None, yes: bool, no_baseline: bool, all_or_nothing: bool,
        url: str | None, as_json: bool, **options: Any) -> int:
    """Measure a profile's configurations on one variant: the accuracy gate once per server, then every CONC.

    The competition's variables MODEL PORT TP MAX_MODEL_LEN ISL OSL CONC RANDOM_RANGE_RATIO NUM_PROMPTS RESULT_FILENAME GPU_MEMORY_UTIL
    BLOCK_SIZE SERVER_LOG GSM8K_BASELINE_METRIC GSM8K_TOL are read where the option is not given; each one that is set is named, with what
    became of it. The mode may also stand as a word, with the team after `submit`, as the guide's commands have it.

    \b
    python3 build.py bench run --profile smoke                          the whole loop, on any machine
    python3 build.py bench run --profile seed --isl 1024 --osl 1024     one pair of the competition's
    python3 build.py bench run --profile stage2 --mode submit --team "us"
    python3 build.py bench run --profile seed submit "us" -isl 1024 -osl 1024
    python3 build.py bench run --resume work/bench/batch_isl1024_osl1024_20261122_101500
    """
    from tunefork.bench.run import run as runs
    from tunefork.bench.run.settings import left_out, settings

    on_signal(stop_like_ctrl_c)
    layout = Layout.here()
    out = out or layout.work / "bench"
    team = guides_words(ctx, options, team)
    typed = {name: value for name, value in options.items()
             if not resume or ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    if resume and typed:
        raise BadInput(f"--resume goes on with the batch's own settings; --{next(iter(typed)).replace('_', '-')} would change them",
                       "leave it out, or start a new batch")
    asked, taken = settings(options if not resume else {"profile": "smoke"}, {} if resume else os.environ)
    used, unused = ([], {}) if resume else of_submitting(ctx, asked.mode, team)
    for name, value in {**taken, **{name: os.environ[name] for name in used}}.items():
        say(f"from the environment: {name}={value}")
    for name, why in {**({} if resume else left_out(options, os.environ)), **unused}.items():
        say(f"from the environment, not used: {name}={os.environ[name]} ({why})")
    submitting: dict[str, Any] = {"yes": yes, "no_baseline": no_baseline, "all_or_nothing": all_or_nothing, "url": url}
    if asked.mode == "submit":
        submittable(asked, team, **submitting)
    planned = runs.start(layout, asked, out.resolve(), say, tuple(folder.resolve() for folder in resume))
    if resume and planned.settings.mode == "submit":
        submittable(planned.settings, team, **submitting)
    done = runs.execute(planned, out.resolve())
    answer = runs.report(done)
    show(done, as_json=as_json)
    code = done.code
    if done.settings.mode == "submit" and code and (all_or_nothing or not isinstance(done.error, ConfigurationsFailed)):
        say("nothing was submitted")
    elif done.settings.mode == "submit":
        from tunefork.cli.bench.submit import grave, send

        assert team is not None
        records = [record for _key, record in sorted(done.records.items()) if record.status == "passed"]
        answer["submissions"] = send(layout, done.store, done.rules, records, team, **submitting, fresh=timedelta(hours=24), dry_run=False, again=False)
        code = max(code, grave(answer["submissions"]))
    if as_json:
        print_json(answer)
    return code


def guides_words(ctx: click.Context, options: dict[str, Any], team: str | None) -> str | None:
    """Take the mode and the team that stand as words, as after the guide's ./gptoss_benchmark, out of the arguments; the team."""
    words = options["extra"]
    if not words or words[0] not in MODES:
        return team
    if ctx.get_parameter_source("mode") is click.core.ParameterSource.COMMANDLINE:
        raise BadInput(f"the mode is said twice: {words[0]} and --mode {options['mode']}", "leave one out")
    mode, *rest = words
    if mode == "submit" and rest and not rest[0].startswith("-"):
        if ctx.get_parameter_source("team") is click.core.ParameterSource.COMMANDLINE:
            raise BadInput(f"the team is said twice: {rest[0]} and --team {team}", "leave one out")
        team = rest.pop(0)
    options.update(mode=mode, extra=tuple(rest))
    return team


def of_submitting(ctx: click.Context, mode: str, team: str | None) -> tuple[list[str], dict[str, str]]:
    """Which of the guide's variables of a submission took effect, and why those that are set and did not. team: that goes out."""
    used, unused = [], {}
    for name, option in (("TEAM_NAME_ENV", "team"), ("LB_URL_OVERRIDE", "url")):
        if ctx.get_parameter_source(option) is click.core.ParameterSource.ENVIRONMENT:
            if mode != "submit":
                unused[name] = "--mode submit sends"
            elif option == "team" and team != ctx.params[option]:
                unused[name] = f"the team was typed: {team}"
            else:
                used.append(name)
    return used, unused


def submittable(asked: Settings, team: str | None, *, yes: bool, no_baseline: bool, all_or_nothing: bool, url: str | None) -> None:
    """Refuse now what could not be submitted after the measurement."""
    from tunefork.bench.profiles import rules
    from tunefork.bench.run import settings as configure
    from tunefork.bench.submit.submit import refuse_early

    profile = configure.profile(asked)
    without = refuse_early(rules.load(profile), profile, team, url=url, no_baseline=no_baseline, all_or_nothing=all_or_nothing)
    if without:
        say(f"measured and not submitted, since no baseline was published: {', '.join(without)} (--no-baseline submits it with empty ratios)")
    if not yes and not sys.stdin.isatty():
        raise BadInput("nobody is here to say yes before the results go out", "--yes submits without asking")


def show(done: Run, *, as_json: bool) -> None:
    """The table, unless stdout is for JSON, and why it did not pass."""
    from tunefork.bench.run.summary import COLUMNS, accuracy_lines, notes, row
    from tunefork.cli.output import table

    if not as_json:
        rows = [row(batch, entry, done.of(batch).get(entry.conc)) for batch in done.batches for entry in batch.state.entries]
        for line in accuracy_lines(done.accuracy, done.rules):
            say(line)
        if rows:
            table(f"{done.profile.name}: {done.subject.version or done.settings.base_url}",
                  COLUMNS, rows)
        for line in dict.fromkeys(line for batch in done.batches for line in notes(batch, done.rules, done.of(batch))):
            say(line)
        for batch in done.batches:
            say(f"results: {batch.folder}")
    if done.error is not None:
        problem(done.error.message, clean(done.error.remedy))
