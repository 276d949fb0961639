"""`bench`: measure a variant, compare variants, ask the records, submit. Each subcommand is imported only when it is called."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

# name -> (module in cli/, what `--help` says); the command itself is `<name>` there.
COMMANDS = {
    "run": ("bench_run", "measure a profile: accuracy gate, then every configuration"),
    "ab": ("bench_ab", "decide whether variant B is better than A"),
    "profile": ("bench_profile", "where the time of a decode step goes"),
    "kernels": ("bench_kernels", "the MoE layer against its peers and the floor, on the GPU at hand"),
    "report": ("bench_report", "one HTML file over the records"),
    "compare": ("bench_report", "two records beside each other"),
    "query": ("bench_query", "SQL over the records"),
    "submit": ("bench_submit", "send measured results to the leaderboard"),
}


def there() -> dict[str, tuple[str, str]]:
    """The subcommands whose module exists."""
    return {name: entry for name, entry in COMMANDS.items() if Path(__file__).with_name(f"{entry[0]}.py").is_file()}


class BenchCommands(click.Group):
    """A group that knows its commands' names and summaries without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(there())

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in there():
            return None
        found = getattr(importlib.import_module(f"tunefork.cli.{COMMANDS[name][0]}"), name)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[1]) for name, entry in there().items()])


@click.group(cls=BenchCommands)
def bench() -> None:
    """Measure, compare and submit; every measurement leaves a record in work/records/."""
