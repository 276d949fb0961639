"""The command line: one entry, and one place where errors become exit codes. The commands are in registry.py."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import tempfile
from pathlib import Path

import click

from tunefork.base import redact
from tunefork.base.errors import BadInput, TuneforkError
from tunefork.base.layout import is_checkout
from tunefork.base.near import near
from tunefork.cli import defaults, registry
from tunefork.cli.output import clean, problem
from tunefork.cli.registry import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", is_flag=True, help="Show the traceback of an error.")
@click.option("-C", "folder", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Act as if called in DIR, on its checkout.")
@click.option("--plain", is_flag=True, help="Tables as tab-separated values.")
@click.version_option(package_name="tunefork")
@click.pass_context
def tunefork(ctx: click.Context, verbose: bool, folder: Path | None, plain: bool) -> None:
    """Patch series, kernels and measurements for GPT-OSS-120B on AMD MI355X.

    The main job is two commands: `python3 build.py apply && python3 build.py develop`; then `python3 build.py serve
    --profile smoke` has a server that answers. Exit codes are listed in docs/commands.md.
    """
    if folder is not None:
        enter(folder)
    ctx.default_map = defaults.default_map()


def enter(folder: Path) -> None:
    """Go to a folder, whose checkout is then the one at hand, whatever build.py this is. BadInput where it is in none."""
    whole = folder.resolve()
    root = next((one for one in (whole, *whole.parents) if is_checkout(one)), None)
    if root is None:
        raise BadInput(f"-C {folder}: not in a Tunefork checkout (a folder with pins.toml and patches/)", "name another folder")
    os.environ["TUNEFORK_ROOT"] = str(root)
    os.chdir(whole)


def program() -> str:
    """What the user typed: build.py, or the script that an installed wheel brings."""
    return "tunefork" if Path(sys.argv[0]).name == "tunefork" else "build.py"


def as_typed(remedy: str) -> str:
    """A remedy in the user's own words: an installed wheel's user may have no build.py at hand."""
    return remedy.replace("python3 build.py", "tunefork") if program() == "tunefork" else remedy


FULL = "free space there (TMPDIR is where temporary files go), then run this again: what was begun is finished or taken back"
MACHINE = {errno.ENOSPC: FULL, errno.EDQUOT: FULL, errno.EFBIG: FULL, errno.EROFS: "it is read-only: make it writable, then run this again",
           errno.EACCES: "make it readable and writable, then run this again", errno.EPERM: "make it readable and writable, then run this again",
           errno.EIO: "the disk does not answer: see `dmesg`", errno.EMFILE: "raise `ulimit -n`, then run this again"}  # fmt: skip
"""What the machine lacks and not the program, and what to do; any other OSError is a bug and shows a traceback."""


def lacking(error: OSError) -> TuneforkError | None:
    """An error of the machine's, as one of ours."""
    if (remedy := MACHINE.get(error.errno or 0)) is None:
        return None
    return TuneforkError(f"{error.strerror}: {error.filename or tempfile.gettempdir()}", remedy)


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    args = plain_first(sys.argv[1:] if argv is None else argv)
    try:
        result = tunefork.main(args=args, prog_name=program(), standalone_mode=False)
    except (TuneforkError, OSError) as error:
        told = error if isinstance(error, TuneforkError) else lacking(error)
        if told is None or "-v" in args[:1] or "--verbose" in args[:1]:
            raise
        return report(told, as_json="--json" in args)
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


def plain_first(args: list[str]) -> list[str]:
    """--plain is the program's own option, and may stand anywhere before a `--`."""
    end = args.index("--") if "--" in args else len(args)
    if "--plain" not in args[:end]:
        return args
    return ["--plain", *(word for place, word in enumerate(args) if word != "--plain" or place > end)]


def usage_remedy(error: click.UsageError, args: list[str]) -> str:
    """What to type after a usage error: the closest command, or the help of the one that was meant."""
    missing = re.match(r"No such command '([^']*)'", error.format_message())
    if missing:
        group = error.ctx.info_name if error.ctx and error.ctx.parent else registry.ROOT
        here = {row.name: row for row in registry.TABLE if row.group == group}
        # Then of any group, where it is all but that word: `submit` is `bench submit`, `bench trace` is not `kernels ratchet`.
        for known, least in ((here, 0.6), ({row.name: row for row in registry.TABLE}, 0.8)):
            if close := near(missing[1], known, least):
                row = known[close[0]]
                return f"python3 build.py {'' if row.group == registry.ROOT else f'{row.group} '}{row.name}"
    odd = re.search(r"'([^']*)' is not one of ", error.format_message())
    if odd and isinstance(error, click.BadParameter) and error.param and isinstance(error.param.type, click.Choice):
        for meant in near(odd[1], map(str, error.param.type.choices)):
            return f"{error.param.opts[0]} {meant}"
    path = error.ctx.command_path if error.ctx else program()
    return f"python3 build.py {path.partition(' ')[2]}".rstrip() + " -h"


def report(error: TuneforkError, *, as_json: bool) -> int:
    """Print an error as one message and what to type instead; under --json also as an object on stdout."""
    remedy = clean(as_typed(error.remedy))
    problem(error.message, remedy)
    if as_json:
        kind = type(error).__name__
        click.echo(json.dumps({"error": {"kind": kind, "message": redact.text(error.message), "remedy": remedy}}))
    return error.code


if __name__ == "__main__":
    sys.exit(main())
