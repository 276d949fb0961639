"""`bench`: measure a variant, compare variants, ask the records, submit. Each subcommand is imported only when it is called."""

from __future__ import annotations

import importlib

import click

# name -> (module in cli/bench/, what `--help` says); the command itself is `<name>` there.
COMMANDS = {
    "run": ("run", "measure a profile: accuracy gate, then every configuration"),
    "ab": ("ab", "decide whether variant B is better than A"),
    "profile": ("profile", "where the time of a decode step goes"),
    "kernels": ("kernels", "the MoE layer against its peers and the floor, on the GPU at hand"),
    "report": ("report", "one HTML file over the records"),
    "compare": ("report", "two records beside each other"),
    "query": ("query", "SQL over the records"),
    "submit": ("submit", "send measured results to the leaderboard"),
}


class BenchCommands(click.Group):
    """A group that knows its commands' names and summaries without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        found = getattr(importlib.import_module(f"tunefork.cli.bench.{COMMANDS[name][0]}"), name)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry[1]) for name, entry in COMMANDS.items()])


@click.group(cls=BenchCommands)
def bench() -> None:
    """Measure, compare and submit; every measurement leaves a record in work/records/."""
