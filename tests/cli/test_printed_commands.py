"""Every command of ours that is printed anywhere (a remedy, a hint, a help text) exists as it stands there: its name, its options, its arguments.

All strings of the package's files that name it are read, so that no raise site is left out; what an f-string puts in is a word.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tunefork.cli.main import tunefork

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "tunefork"
COMMAND = re.compile(r"python3 build\.py ([^`;()\n]*)")
ENDS = re.compile(r"\s{2}|\s['\"]|[.:,](\s|$)|\s(and|or|for|with|says|brings|writes|takes|lists|shows|makes|is|first|there|again|where|then|to|in|anew|puts|gives|prints|tells|does|needs)\s|\s&&\s|\s[|>]\s|\s#|\s—\s")


def texts() -> Iterator[tuple[str, str]]:
    """(file:line, string) of every string in the package; of an f-string with X for each value."""
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text()
        nodes: list[ast.AST] = [ast.parse(source)] if "build.py" in source else []
        while nodes:
            node = nodes.pop()
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value
            elif isinstance(node, ast.JoinedStr):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", "".join(str(part.value) if isinstance(part, ast.Constant) else "X" for part in node.values)
            else:
                nodes.extend(ast.iter_child_nodes(node))


def commands() -> Iterator[tuple[str, str]]:
    for where, text in texts():
        for match in COMMAND.finditer(text):
            words = ENDS.split(match[1] + " ", maxsplit=1)[0].strip().rstrip(".,:'\"")
            if words:
                yield where, words


PRINTED = sorted({words: where for where, words in commands()}.items())


def test_there_are_many_and_a_wrong_one_is_seen() -> None:
    assert len(PRINTED) > 110
    for wrong in ("patch edit --stop", "rebase vllm aiter other", "aply", "rebase vllm --to --check"):
        with pytest.raises(AssertionError):
            test_a_printed_command_exists(wrong, "here")


@pytest.mark.slow
@pytest.mark.parametrize(("words", "where"), PRINTED)
def test_a_printed_command_exists(words: str, where: str) -> None:
    args = [word.strip("[]") for word in shlex.split(words.replace("...", "").replace("'", "").replace('"', "")) if word not in ("…",)]
    command: click.Command = tunefork
    context = click.Context(tunefork, info_name="build.py")
    args = args[1:] if args[:1] == ["-v"] else args
    while isinstance(command, click.Group) and args and not args[0].startswith("-"):
        if set(args[0]) == {"X"}:
            return  # which one is only known where it is printed
        found = command.get_command(context, args[0])
        assert found is not None, f"{where}: `python3 build.py {words}`: there is no {args[0]}"
        command, context = found, click.Context(found, info_name=args[0], parent=context)
        args = args[1:]
    options = {name: param for param in command.params for name in (*param.opts, *param.secondary_opts)}
    for at, word in enumerate(args):
        if word == "--":
            return
        if re.match(r"--?[a-zA-Z]", word) and not word.startswith("--X") and not command.context_settings.get("ignore_unknown_options"):
            name = word.partition("=")[0]
            assert name in options or name in ("-h", "--help", "--plain"), f"{where}: `python3 build.py {words}`: {command.name} has no {name}"
            option = options.get(name)
            if isinstance(option, click.Option) and not option.is_flag and not option.count and "=" not in word and at + 1 < len(args):
                assert not args[at + 1].startswith("--"), f"{where}: `python3 build.py {words}`: {name} takes a value"
    if not any(word.startswith("-") for word in args) and isinstance(command, click.Command) and not isinstance(command, click.Group):
        most = sum(99 if param.nargs == -1 else param.nargs for param in command.params if isinstance(param, click.Argument))
        if not command.context_settings.get("allow_extra_args"):
            assert len([word for word in args if word != "X"]) <= most, f"{where}: `python3 build.py {words}`: {command.name} takes {most} arguments"
