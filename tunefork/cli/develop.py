"""`develop`: build and install the applied trees."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.base.typed import typed
from tunefork.cli import options
from tunefork.cli.output import aside, clean, echo, print_json, say, styled, table, tabs
from tunefork.develop import install
from tunefork.develop.gfx950.compile_only.unit import UPSTREAMS
from tunefork.develop.machine import probe
from tunefork.develop.targets import AUTO, GFX950, TARGETS

if TYPE_CHECKING:
    from tunefork.develop.gfx950.compile_only.compile_only import FileResult, Report


@click.command(epilog="Exit codes: 1 with --compile-only, a file that compiled before does not, or one that --only names; 5 a step failed (its last lines are "
               "shown), 6 this machine lacks what the target needs.")
@click.option("--target", type=click.Choice(TARGETS), default=AUTO, show_default=True, help="What to build for; auto says why.")
@click.option("--arch", "architectures", multiple=True, metavar="GFX", help="gfx950 target: build for these GPUs (repeatable).")
@click.option("--prebuild", type=click.IntRange(0, 3), help="gfx950 target: AITER's PREBUILD_KERNELS (0: all at first use).")
@options.dry_run("Print the ordered steps and run none.")
@click.option("--everything", is_flag=True, help="With --dry-run: the gfx950 plan as if nothing were installed yet.")
@click.option("--compile-only", "compile_only", is_flag=True, help="gfx950 target, needs no GPU and no ROCm: compile the native sources, install nothing.")
@click.option("--upstream", "upstreams", multiple=True, type=click.Choice(UPSTREAMS), help="With --compile-only: of this upstream alone (repeatable).")
@click.option("--only", multiple=True, metavar="FILE", help="With --compile-only: these sources, by name, end of the name or pattern (repeatable).")
@click.option("--jobs", type=click.IntRange(min=1), help="With --compile-only: compilers at once (default: one per core), as far as memory goes.")
@options.as_json()
def develop(
    target: str, architectures: tuple[str, ...], prebuild: int | None, dry_run: bool, everything: bool, compile_only: bool,
    upstreams: tuple[str, ...], only: tuple[str, ...], jobs: int | None, as_json: bool,
) -> None:
    """Install the applied vLLM (and, for gfx950, AITER), editable, into this environment.

    cpu: exact requirements, the patched source, its compiled operators from a hash-pinned wheel. gfx950: AITER and vLLM compiled
    against the machine's ROCm torch. Only what is missing is done; a second call does nothing. Edits of Python files need no develop.

    \b
    python3 build.py develop
    python3 build.py develop --target gfx950 --dry-run
    python3 build.py develop --target gfx950 --arch gfx942 --arch gfx950
    python3 build.py develop --target gfx950 --compile-only --upstream vllm --only csrc/rocm/skinny_gemms.cu
    """
    layout = Layout.here()
    if compile_only:
        if target != GFX950 or architectures or dry_run or prebuild is not None:
            raise BadInput("--compile-only compiles the native sources for gfx950, and nothing else", "develop --target gfx950 --compile-only")
        native_report(layout, upstreams, only, jobs, as_json=as_json)
        return
    if upstreams or only or jobs is not None:
        raise BadInput("--upstream, --only and --jobs go with --compile-only", "add --compile-only")
    if everything and not dry_run:
        raise BadInput("--everything only changes what --dry-run shows", "add --dry-run")
    if dry_run:
        plan = install.plan(layout, target, architectures=architectures, prebuild=prebuild, everything=everything)
        show_plan(plan, as_json=as_json)
        return
    done = install.develop(layout, target, architectures=architectures, prebuild=prebuild, say=say)
    if as_json:
        print_json(done)
        return
    echo(f"vLLM {done.version}")
    echo(f"  path    {done.path}")
    echo(f"  series  {done.series_hash} (variant {done.variant})")
    echo(f"  target  {done.target}")
    echo(f"{', '.join(done.rebuilt) + ' rebuilt' if done.rebuilt else 'nothing to rebuild'}; {done.seconds:.1f} s")


def show_plan(plan: install.Plan, *, as_json: bool) -> None:
    """The steps of a plan, as JSON or as numbered commands that could be pasted."""
    if as_json:
        steps = [step.described() for step in plan.steps]
        print_json({"target": plan.target, "why": plan.why, "architectures": plan.architectures, "log": plan.log, "steps": steps})
        return
    echo(f"target {plan.target}: {plan.why}; log {plan.log}")
    if not plan.steps:
        echo("nothing to do")
    for number, step in enumerate(plan.steps, 1):
        click.echo(f"\n{number}. {styled(step.title, bold=True)}\n   # {step.why}\n   cd {typed(step.cwd)}")
        for line in step.command.splitlines():
            echo(f"   {line}")


def native_report(layout: Layout, upstreams: tuple[str, ...], only: tuple[str, ...], jobs: int | None, *, as_json: bool) -> None:
    """--compile-only: compile, print, and exit with 1 where something is lost."""
    from tunefork.develop.gfx950.compile_only import compile_only as native

    report = native.compile_only(layout, probe(), upstreams=upstreams, only=only, jobs=jobs, say=say)
    if as_json:
        print_json({"toolchain": report.toolchain, "missing": report.missing, "files": [one.as_dict() for one in report.files]})
    else:
        show_native(report)
    if report.lost or (only and not all(one.ok for one in report.files)) or not any(one.ok for one in report.files):
        sys.exit(1)


def show_native(report: Report) -> None:
    """The table of what compiled, then a line for each file that did not."""
    columns = ("file", "state", "CPU s", "GiB", "kernels", "VGPRs", "spilling", "scratch", "LDS")
    table(f"gfx950 code by {report.toolchain}", columns, [native_row(one) for one in report.files if one.ok])
    for one in report.files:
        if not one.ok:
            click.echo(styled("LOST: " if one.lost else f"{one.state}: ", fg="red" if one.lost else "yellow") + clean(f"{one.name}: {one.why}"), err=tabs())
    for name in report.missing:
        aside(f"no longer listed: {name}")
    good = [one for one in report.files if one.ok]
    before, with_stand_ins = sum(one.state == "cached" for one in good), sum(bool(one.stand_ins) for one in good)
    aside(f"{len(good)} of {len(report.files)} compiled, {before} of them before; {with_stand_ins} (*) with a stand-in of hipCUB; "
          f"{len(report.files) - len(good)} not, of which {len(report.lost)} did before")


def native_row(one: FileResult) -> tuple[str, ...]:
    """A file's row; a fact that was another in the last good compilation shows both."""
    facts, before = one.facts, one.before.facts if one.before else None
    assert facts is not None
    now = {name: getattr(facts, name) for name in ("kernels", "vgprs", "spilling", "scratch", "lds")}
    was = {name: getattr(before or facts, name) for name in now}
    shown = [str(now[name]) if was[name] == now[name] else f"{was[name]} -> {now[name]}" for name in now]
    return (one.name + (" *" if one.stand_ins else ""), one.state, f"{one.seconds:.1f}", f"{one.peak / 2**30:.2f}", *shown)
