"""What every command prints with: JSON on request, otherwise a table; steps go to stderr so that stdout stays data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click


def say(line: str) -> None:
    """One line about a step, on stderr."""
    click.echo(line, err=True)


def plain(value: Any) -> Any:
    """A dataclass, path or tuple as what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def print_json(value: Any) -> None:
    """A result as indented JSON on stdout."""
    click.echo(json.dumps(plain(value), indent=2))


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout. rich is imported here because a no-op command must not pay for it."""
    from rich.console import Console
    from rich.table import Table

    grid = Table(header_style="bold", box=None, pad_edge=False)
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*row)
    click.secho(title, bold=True)
    Console().print(grid)
