"""`develop`: build and install the applied trees."""

from __future__ import annotations

import click

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.output import echo, print_json, say
from tunefork.develop import install
from tunefork.develop.targets import AUTO, TARGETS


@click.command(epilog="Exit codes: 5 a step failed (its last lines are shown), 6 this machine lacks what the target needs.")
@click.option("--target", type=click.Choice(TARGETS), default=AUTO, show_default=True, help="What to build for; auto says why.")
@click.option("--arch", "architectures", multiple=True, metavar="GFX", help="gfx950 target: build for these GPUs (repeatable).")
@click.option("--prebuild", type=click.IntRange(0, 3), help="gfx950 target: AITER's PREBUILD_KERNELS (0: all at first use).")
@options.dry_run("Print the ordered steps and run none.")
@click.option("--everything", is_flag=True, help="With --dry-run: the gfx950 plan as if nothing were installed yet.")
@options.as_json()
def develop(
    target: str, architectures: tuple[str, ...], prebuild: int | None, dry_run: bool, everything: bool, as_json: bool
) -> None:
    """Install the applied vLLM (and, for gfx950, AITER), editable, into this environment.

    cpu: exact requirements, the patched source, its compiled operators from a hash-pinned wheel. gfx950: AITER and vLLM compiled
    against the machine's ROCm torch. Only what is missing is done; a second call does nothing. Edits of Python files need no develop.

    \b
    python3 build.py develop
    python3 build.py develop --target gfx950 --dry-run
    python3 build.py develop --target gfx950 --arch gfx942 --arch gfx950
    """
    layout = Layout.here()
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
        click.echo(f"\n{number}. {click.style(step.title, bold=True)}\n   # {step.why}\n   cd {step.cwd}")
        for line in step.command.splitlines():
            echo(f"   {line}")
