"""The command line: one entry, and one place where errors become exit codes. The commands are in registry.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from tunefork.base import redact
from tunefork.base.errors import BadInput, TuneforkError
from tunefork.cli import registry
from tunefork.cli.output import clean
from tunefork.cli.registry import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", is_flag=True, help="Show the traceback of an error.")
@click.version_option(package_name="tunefork")
def tunefork(verbose: bool) -> None:
    """Patch series, kernels and measurements for GPT-OSS-120B on AMD MI355X.

    The main job is two commands: `python3 build.py apply && python3 build.py develop`; then `python3 build.py serve
    --profile smoke` has a server that answers. Exit codes are listed in docs/commands.md.
    """


def program() -> str:
    """What the user typed: build.py, or the script that an installed wheel brings."""
    return "tunefork" if Path(sys.argv[0]).name == "tunefork" else "build.py"


def as_typed(remedy: str) -> str:
    """A remedy in the user's own words: an installed wheel's user may have no build.py at hand."""
    return remedy.replace("python3 build.py", "tunefork") if program() == "tunefork" else remedy


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = sys.argv[1:] if argv is None else argv
    try:
        result = tunefork.main(args=args, prog_name=program(), standalone_mode=False)
    except TuneforkError as error:
        if "-v" in args[:1] or "--verbose" in args[:1]:
            raise
        return report(error, as_json="--json" in args)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.UsageError as error:
        return report(BadInput(error.format_message(), usage_remedy(error, args)), as_json="--json" in args)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.exceptions.Abort):
        click.echo("stopped", err=True)
        return 130
    return result if isinstance(result, int) else 0


def usage_remedy(error: click.UsageError, args: list[str]) -> str:
    """What to type after a usage error: the closest command, or the help of the one that was meant."""
    import difflib

    typed = next((word for word in args if not word.startswith("-")), "")
    if typed and typed not in (known := registry.of(registry.ROOT)) and (close := difflib.get_close_matches(typed, known, 1)):
        return f"python3 build.py {close[0]}"
    path = error.ctx.command_path if error.ctx else program()
    return f"python3 build.py {path.partition(' ')[2]}".rstrip() + " -h"


def report(error: TuneforkError, *, as_json: bool) -> int:
    """Print an error as one message and what to type instead; under --json also as an object on stdout."""
    click.echo(click.style("error: ", fg="red", bold=True) + clean(error.message), err=True)
    remedy = clean(as_typed(error.remedy))
    if remedy:
        click.echo(click.style("  try: ", fg="green") + remedy, err=True)
    if as_json:
        kind = type(error).__name__
        click.echo(json.dumps({"error": {"kind": kind, "message": redact.text(error.message), "remedy": remedy}}))
    return error.code


if __name__ == "__main__":
    sys.exit(main())
