"""`doctor`: check this machine and say what to change."""

from __future__ import annotations

import sys

import click

from tunefork.base.layout import Layout
from tunefork.cli import options
from tunefork.cli.output import clean, print_json, styled, table, tabs
from tunefork.develop.doctor.check import Check
from tunefork.develop.doctor.doctor import examine
from tunefork.develop.targets import AUTO, TARGETS


@click.command(epilog="Exit codes: 0 nothing is wrong, 1 something is. What does not apply here is neither.")
@click.option("--target", type=click.Choice(TARGETS), default=AUTO, show_default=True, help="What the machine is to be right for.")
@options.as_json("Print the checks as a JSON list; ok is null where one does not apply.")
def doctor(target: str, as_json: bool) -> None:
    """Check Python, tools, room, ROCm, GPU, firmware, torch, VLLM_* variables, what shadows the install, and the pins.

    \b
    python3 build.py doctor
    python3 build.py doctor --target gfx950
    python3 build.py doctor --json
    """
    checks = examine(Layout.here(), target="" if target == AUTO else target)
    if as_json:
        print_json(checks)
    else:
        table("", ("", "check", "found", "wanted"), [(state(one), one.check, one.found, one.wanted) for one in checks])
        for one in checks:
            if one.ok is False:
                click.echo(styled(f"{one.check}: ", bold=True) + clean(one.remedy), err=tabs())
    if any(one.ok is False for one in checks):
        sys.exit(1)


def state(check: Check) -> str:
    """A check's verdict as the table's first column."""
    return {True: "ok", False: "WRONG", None: "skipped"}[check.ok]
