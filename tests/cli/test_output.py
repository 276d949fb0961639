"""tunefork/cli/output.py: data is shown as it is. It is no markup, steers no terminal and tells no secret."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from tunefork.base.errors import BadInput
from tunefork.cli import main, output

ODD = ["[rank0] started", "[/red]", "[bold]x[/bold]", "[link=file:///x]y[/link]", "[[]]", "\\[x]", ":smile:"]


@pytest.mark.parametrize("cell", ODD)
def test_a_table_shows_its_cells_and_heads(cell: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.table(f"title {cell}", (f"head {cell}", "x"), [(cell, "1"), ("plain", cell)])
    said = capsys.readouterr().out
    assert said.count(cell) == 4


@pytest.mark.parametrize("call", [output.say, output.echo, lambda text: output.table(text, (text,), [(text,)])], ids=["say", "echo", "table"])
def test_controls_are_made_visible(call, capsys: pytest.CaptureFixture[str]) -> None:
    call("a\x1b[2J\x07b\u202e")
    said = "".join(capsys.readouterr())
    assert "\x1b[2J" not in said and "\x07" not in said and "\u202e" not in said and "a\\x1b[2J\\x07b\\u202e" in said


def test_an_error_steers_nothing_and_tells_no_secret(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.report(BadInput("it said \x1b]0;x\x07 and HF_TOKEN=hf_abcdef", "try \x1b[1m"), as_json=True) == 2
    said = "".join(capsys.readouterr())
    assert "\x1b]0" not in said and "\x07" not in said and "hf_abcdef" not in said and "\\x1b]0;x\\x07" in said


def test_a_patch_goes_to_a_pipe_as_it_is_and_to_a_terminal_visibly(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    output.echo(b"+\x1b[2J\xff\n", nl=False)
    assert capfdbinary.readouterr().out == b"+\x1b[2J\xff\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    output.echo(b"+\x1b[2J\xff\n", nl=False)
    assert capfdbinary.readouterr().out == b"+\\x1b[2J\\udcff\n"


CALLS = [lambda: output.say("line", "lead: ", fg="red"), lambda: output.echo("line", bold=True), lambda: output.table("title", ("head",), [("cell",)]),
         lambda: main.report(BadInput("wrong", "right"), as_json=False)]  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=["say", "echo", "table", "error"])
def test_no_color_is_no_style_on_a_terminal(call: Callable[[], object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for stream in (sys.stdout, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    call()
    assert "\x1b[" in "".join(capsys.readouterr())
    monkeypatch.setenv("NO_COLOR", "")
    call()
    assert "\x1b[" in "".join(capsys.readouterr()), "empty says nothing"
    monkeypatch.setenv("NO_COLOR", "1")
    call()
    assert "\x1b" not in "".join(capsys.readouterr())


def test_two_tables_of_tabs_are_apart_and_nothing_else_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    with click.Context(main.tunefork) as context:
        context.params["plain"] = True
        assert output.tabs()
        output.table("first", ("a", "b"), [("1", "x y")])
        output.aside("words")
        output.table("second", ("c",), [("2\t3",)])
    assert capsys.readouterr() == ("a\tb\n1\tx y\n\nc\n2 3\n", "words\n")
    output.aside("words")
    assert capsys.readouterr() == ("words\n", "")
    assert not output.tabs()


def test_everybody_styles_in_one_place() -> None:
    folder = Path(output.__file__).parent
    found = {path.name for path in folder.rglob("*.py") if re.search(r"click\.(style|secho)\b", path.read_text(encoding="utf-8"))}
    assert found == {"output.py"}
    markup = {path.name for path in folder.rglob("*.py") if re.search(r"\[/?(green|red|yellow|bold|dim)\]|\[/\]", path.read_text(encoding="utf-8"))}
    assert not markup, "tables show it as it is"
