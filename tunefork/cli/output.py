"""What every command prints with: JSON on request, otherwise a table; steps go to stderr so that stdout stays data."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from tunefork.base import redact
from tunefork.base.visible import visible


def styled(text: str, **style: Any) -> str:
    """Text in a style of click's, without it where NO_COLOR says so; click takes it away itself where no terminal is."""
    return text if os.environ.get("NO_COLOR") else click.style(text, **style)


def say(line: str, lead: str = "", **style: Any) -> None:
    """One line about a step, on stderr. lead: words of ours before it, in a style of click's."""
    click.echo((styled(lead, **style) if lead else "") + clean(line), err=True)


def problem(message: str, remedy: str) -> None:
    """An error on stderr, and what to type instead where there is something; remedy: clean."""
    click.echo(styled("error: ", fg="red", bold=True) + clean(message), err=True)
    if remedy:
        click.echo(styled("  try: ", fg="green") + remedy, err=True)


def clean(text: str) -> str:
    """Text that may quote somebody else's (a patch, a server's log, a command line): no control reaches the terminal, and no secret."""
    return visible(redact.text(text))


def echo(text: str | bytes = "", *, err: bool = False, nl: bool = True, **style: Any) -> None:
    """What click.secho does, with nothing in the text that steers the terminal. Bytes (a patch, a diff) go to a file or a pipe as they are."""
    if isinstance(text, bytes) and sys.stdout.isatty():
        text = visible(text.decode("utf-8", "surrogateescape"))
    if isinstance(text, bytes):
        click.echo(text, nl=nl)
    else:
        click.echo(styled(clean(text), **style) if style else clean(text), err=err, nl=nl)


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


def tabs() -> bool:
    """Whether stdout is to have tab-separated values and nothing else (--plain)."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.find_root().params.get("plain"))


def aside(text: str = "", **style: Any) -> None:
    """A line beside a table: under --plain on stderr, so that stdout is the table alone."""
    echo(text, err=tabs(), **style)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on stdout. No word or path is broken: where a terminal is too narrow, each row is a block of `column  value` lines.

    In a pipe rows are whole lines; under --plain tab-separated, without a title and
    with an empty line between two. rich is imported here because a no-op command must not pay for it.
    """
    from rich.cells import cell_len

    heads, lines = [clean(column) for column in columns], [[clean(cell) for cell in row] for row in rows]
    if tabs():
        meta = click.get_current_context().find_root().meta
        if meta.setdefault("tables", 0):
            click.echo()  # so that a reader knows where another table begins
        meta["tables"] += 1
        for line in (heads, *lines):
            click.echo("\t".join(" ".join(cell.split()) for cell in line))
        return

    def pad(text: str, width: int) -> str:
        return text + " " * (width - cell_len(text))

    if title:
        click.echo(styled(clean(title), bold=True))
    widths = [max(map(cell_len, column)) for column in zip(heads, *lines, strict=True)]
    room = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if room is None or sum(widths) + 2 * (len(widths) - 1) <= room:
        for number, line in enumerate((heads, *lines)):
            text = "  ".join(map(pad, line, widths)).rstrip()
            click.echo(styled(text, bold=True) if number == 0 else text)
        return
    label = max(map(cell_len, heads))
    for line in lines:
        for head, cell in zip(heads, line, strict=True):
            click.echo(f"{pad(head, label)}  {cell}")
        click.echo()
