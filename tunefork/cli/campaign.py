"""`campaign`: a GPU day, planned, run and reported."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.extras import require
from tunefork.cli.options import Decorator
from tunefork.cli.output import aside, clean, print_json, say, table

if TYPE_CHECKING:
    from tunefork.bench.campaign.planned import Planned
    from tunefork.bench.campaign.result import Result

EXAMPLE = "python3 build.py campaign plan --hours 3 --profile stage2 --name my-day"


def name_of() -> Decorator:
    return click.option("--name", metavar="NAME", help="Which campaign; default: the last one that was planned.")


@click.command(epilog="Exit codes: 0 planned, 2 bad arguments, or hours too few for one candidate.")
@click.option("--hours", type=click.FloatRange(min=0, min_open=True, max=1000), required=True, help="On the machine, from the first `campaign run` on.")
@options.profile("The reference, by name or as a TOML file.")
@options.gpus("GPUs of the campaign; default: those seen here, else the profile's.")
@click.option("--ray", metavar="ADDRESS", help="Starts on the GPUs of a Ray cluster (`auto`: of this machine's); goes with --gpus.")
@click.option("--space", "spaces", multiple=True, metavar="NAME|FILE", help="Flags and variables to try; default: all of ours but parallelism.")
@click.option("--against", type=click.Choice(["base", "all"]), default="base", show_default=True, help="Each patch alone on the pin, or left out of all.")
@click.option("--only", multiple=True, metavar="TEXT", help="Only candidates whose name contains this.")
@options.isl("The race's input length; goes with --osl. Default: the profile's first load, its middle CONC.")
@options.osl("The race's output length.")
@options.conc("The race's concurrencies, such as 4,32.")
@click.option("--num-prompts", type=int, help="Requests of the race's load; default: the profile's.")
@options.model()
@click.option("--client", type=click.Choice(["vllm", "builtin"]), default="vllm", show_default=True, help="`vllm bench serve`, or our own.")
@click.option("--metric", default="total_token_throughput", show_default=True, help="What decides; throughput counts per GPU.")
@click.option("--threshold", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="Least relative gain that matters.")
@click.option("--confirm", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True, help="Keep time to confirm the finalist.")
@click.option("--aa", type=click.IntRange(0, 100), help="Starts of the reference before the race; default: 3, 2 where arms run side by side, 0 on a CPU.")
@click.option("--start-minutes", type=click.FloatRange(min=0, min_open=True), help="Of a warm start with its load; default: by records.")
@click.option("--tune", "tune", type=click.Choice(options.TPS), multiple=True, help="Tune the kernel tables of this tensor-parallel size first.")
@click.option("--seed", type=int, help="Of all orders; default: drawn.")
@click.option("--name", metavar="NAME", help="Of the campaign; default: the time.")
@options.as_json("Print the plan as JSON.")
def plan(*, hours: float, profile: str, gpus: int | None, ray: str | None, spaces: tuple[str, ...], against: str, only: tuple[str, ...], client: str,
         metric: str, threshold: float, confirm: Any, aa: int | None, start_minutes: float | None, tune: tuple[str, ...], seed: int | None, name: str | None,
         as_json: bool, **load: Any) -> None:
    """Plan a day: which candidates fit into the hours, in which order, how long each step takes and what it decides.

    \b
    python3 build.py campaign plan --hours 3 --profile stage2                      every patch alone, and flags
    python3 build.py campaign plan --hours 8 --profile stage2 --against all        every patch left out
    python3 build.py campaign plan --hours 0.2 --profile smoke-campaign --confirm always     12 minutes on a CPU
    """
    require("ab")
    from tunefork.bench.campaign import approval, planned
    from tunefork.bench.campaign.make import make

    layout = Layout.here()
    name = name or time.strftime("day-%Y%m%d-%H%M%S")
    where = planned.folder(layout, name)
    if (where / planned.FILE).exists():
        raise BadInput(f"campaign {name} is planned already", f"another --name, or python3 build.py campaign run --name {name}")
    made = make(layout, name=name, hours=hours, profile=resolved(profile), gpus=gpus, spaces=spaces, against=against, only=only, load=load, client=client,
                metric=metric, threshold=threshold, seed=seed, confirm=confirm, aa=aa, tune=tune, start=start_minutes, ray=ray or "")
    planned.write(where, made)
    approval.seen(planned.read(where)).approve(layout)
    path = show_page(where, made, "")
    if as_json:
        print_json({"campaign": name, "hours": hours, "lanes": made.rules.lanes, "candidates": made.rules.candidates, "left_out": made.left_out,
                    "rejected": made.rejected, "steps": made.steps, "costs": made.costs, "page": path})
        return
    show_plan(made)
    aside(f"page: {path}\nnext: python3 build.py campaign run --name {name}")


def resolved(profile: str) -> str:
    """A profile's file by its whole path: `campaign run` may be called elsewhere."""
    return str(Path(profile).resolve()) if Path(profile).is_file() else profile


def show_plan(made: Planned) -> None:
    """The plan as a picture and a table."""
    from tunefork.bench.campaign import picture

    own = made.rules
    aside(f"campaign {made.name}: {made.hours:g} hours, {len(own.candidates)} candidates, {own.lanes} start{'s' if own.lanes > 1 else ''} at a time; "
          f"a start {made.costs.start:.1f} min, its first {made.costs.warm:.1f} more ({made.costs.source})", bold=True)
    for line in picture.lines(made.steps, made.minutes):
        aside(line)
    known = {one.name: one for one in made.candidates}
    table("candidates, in order", ("candidate", "kind", "decides", "why"),
          [(name, known[name].kind, known[name].decides, known[name].why) for name in own.candidates])
    if not own.confirm:
        aside("no confirmation: it would take too much of these hours; the result is a proposal with its certainty (--confirm always)")
    for name in made.left_out:
        aside(f"does not fit: {name}")
    for one in made.rejected:
        aside(f"not tried: {one.name}: {one.reason}")


@click.command(epilog="Exit codes: 0 there is a result, 2 no such campaign, or a plan that nobody approved, 13 the machine cannot do it (doctor, develop), "
                      "130 stopped (the same command goes on).")
@name_of()
@options.yes("Run a plan that was not made here without asking; it is kept that it was approved.")
@options.as_json("Print the result as JSON.")
def run(*, name: str | None, yes: bool, as_json: bool) -> None:
    """Do what is planned, until the hours end. Stop or kill it at any time: the same command goes on, and measures nothing twice.

    A plan that this user did not make, or whose profile was changed since, is shown first.

    \b
    python3 build.py campaign run
    """
    require("ab")
    from tunefork.bench.campaign import planned
    from tunefork.bench.campaign import run as going
    from tunefork.bench.campaign.runner import Real

    layout = Layout.here()
    where = folder(layout, name)
    made = planned.read(where)
    digest = approved(layout, made, where.name, yes=yes)

    def show(now: going.Going, what: str) -> None:
        from tunefork.bench.campaign import page

        page.write(where, made, now.journal.rows, going.conclude(now, ""), now.clock.used_s() / 60, what)

    say(f"page: {where / 'index.html'}")
    runner = Real(layout, where, made, say, digest)
    found = going.run(where, made, runner, say, show)
    path = write_report(where, made, found, runner)
    tell(made, found, path, as_json=as_json)


def approved(layout: Layout, made: Planned, name: str, *, yes: bool) -> str:
    """Show what a plan of somebody else's would run, and ask; BadInput where nobody is there to answer. The digest of what was approved."""
    from tunefork.bench.campaign import approval

    seen = approval.seen(made)
    if seen.known(layout):
        return seen.digest()
    what = f"campaign {name} was not planned by this user, or its profile has changed since"
    listed = "\n".join(f"    {clean(line).replace(chr(10), ' ')}" for line in seen.lines())
    if not yes and not sys.stdin.isatty():
        raise BadInput(f"{what}; it would run:\n{listed}", f"read it; then python3 build.py campaign run --name {name} --yes")
    say(f"{what}; it would run, for up to {made.hours:g} hours:\n{listed}")
    if not yes and not click.confirm("Run it, now and later?", err=True):
        raise click.exceptions.Abort
    seen.approve(layout)
    return seen.digest()


def write_report(where: Path, made: Planned, found: Result, runner: Any) -> Path:
    """report.md."""
    from tunefork.base.files import write_atomically
    from tunefork.bench.campaign import clock, report
    from tunefork.bench.campaign.run import CLOCK

    path = where / "report.md"
    text = report.document(made, found, runner.confirmed(), runner.mine.all(), clock.peek(where / CLOCK) / 60)
    write_atomically(path, text.encode())
    return path


def tell(made: Planned, found: Result, path: Path, *, as_json: bool) -> None:
    """The result on stdout."""
    from tunefork.bench.campaign.page import interval, percent, proposal

    if as_json:
        print_json({"campaign": made.name, "arm": found.arm, "verdict": found.verdict, "certainty": found.certainty, "gain": found.gain, "low": found.low,
                    "high": found.high, "accepted": found.accepted, "why": found.why, "noise": found.noise, "candidates": found.lines, "report": path})
        return
    aside(proposal(found), bold=True)
    table("", ("candidate", "advice", "gain", "95 %", "starts", "min to decide", "why"),
          [(one.name, one.advice, percent(one.gain), interval(one), str(one.starts), "" if one.minutes is None else f"{one.minutes:.0f}", one.why)
           for one in found.lines])
    aside(f"report: {path}")


@click.command()
@name_of()
@options.as_json("Print it as JSON.")
def status(*, name: str | None, as_json: bool) -> None:
    """Where a campaign stands: hours used, what was measured, the best so far. Disturbs nothing, also while it runs."""
    require("ab")
    from tunefork.bench.campaign import clock, planned
    from tunefork.bench.campaign.run import CLOCK
    from tunefork.bench.campaign.runner import Real

    layout = Layout.here()
    where = folder(layout, name)
    made = planned.read(where)
    found, rows = looked(where, made, Real(layout, where, made, say))
    used = clock.peek(where / CLOCK) / 60
    counted = sum(key.startswith("start:") for key in rows)
    if as_json:
        print_json({"campaign": made.name, "minutes": made.minutes, "used": used, "starts": counted, "pairs": sum(key.startswith("pair:") for key in rows),
                    "arm": found.arm, "certainty": found.certainty, "verdict": found.verdict, "candidates": found.lines, "page": where / "index.html"})
        return
    aside(f"campaign {made.name}: {used:.0f} of {made.minutes:.0f} minutes, {counted} starts that count", bold=True)
    tell(made, found, where / "index.html", as_json=False)


@click.command()
@name_of()
@options.as_json("Print the result as JSON.")
def report(*, name: str | None, as_json: bool) -> None:
    """One page: what to merge, what to drop, what is undecided and what it would cost to decide; and the pull request's table."""
    require("ab")
    from tunefork.bench.campaign import planned
    from tunefork.bench.campaign.runner import Real

    layout = Layout.here()
    where = folder(layout, name)
    made = planned.read(where)
    runner = Real(layout, where, made, say)
    found, _ = looked(where, made, runner)
    path = write_report(where, made, found, runner)
    tell(made, found, path, as_json=as_json)


def folder(layout: Layout, name: str | None) -> Path:
    """The campaign that is meant."""
    from tunefork.bench.campaign import planned

    if name is None:
        there = planned.names(layout)
        if not there:
            raise BadInput("no campaign is planned here", EXAMPLE)
        name = there[0]
    return planned.folder(layout, name)


def looked(where: Path, made: Planned, runner: Any) -> tuple[Result, Any]:
    """The result by what is on the disk."""
    from tunefork.bench.campaign import book, result

    rows = book.rows(where)
    return result.result(made, book.day(made, rows), runner.confirmed(), rows.get("step:final"), str(rows.get("finish", {}).get("why", ""))), rows


def show_page(where: Path, made: Planned, now: str) -> Path:
    from tunefork.bench.campaign import book, page, result

    return page.write(where, made, {}, result.result(made, book.day(made, {}), None, None, "not begun"), 0.0, now)
