"""--plain: a command that prints a table prints nothing else on stdout, read from the code of every command."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tunefork.cli import output

FOLDER = Path(output.__file__).parent
Place = tuple[tuple[list[ast.stmt], ast.AST], ...]
"""The blocks around a call, outermost first, each with the statement that it belongs to."""


def calls(node: ast.AST, around: Place = ()) -> Iterator[tuple[ast.Call, Place]]:
    """Every call below a node, with the blocks that it stands in."""
    for _, value in ast.iter_fields(node):
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST):
                inner = (*around, (value, node)) if isinstance(each, ast.stmt) else around
                if isinstance(each, ast.Call):
                    yield each, inner
                yield from calls(each, inner)


def called(call: ast.Call, module: str) -> str:
    """module.function, as far as the text tells: of another command's module by its name."""
    target = call.func
    if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name):
        return f"{target.value.id}.{target.attr}"
    return f"{module}.{target.id}" if isinstance(target, ast.Name) else ""


def apart(first: Place, second: Place) -> bool:
    """Whether no run comes by both: each in its own branch, or one in a branch that ends the function."""
    ours, theirs = {id(block) for block, _ in first}, {id(block) for block, _ in second}
    for place, others in ((first, theirs), (second, ours)):
        for block, owner in place:
            if id(block) not in others and (isinstance(block[-1], ast.Return | ast.Raise) or (isinstance(owner, ast.If) and owner in [own for _, own in
                                            (second if place is first else first)])):
                return True
    return False


def strays(source: dict[str, str]) -> list[str]:
    """module.function:line of what goes to stdout beside a table. source: text by module."""
    functions = {f"{module}.{node.name}": node for module, text in source.items() for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
    tables: set[str] = set()
    before = -1
    while len(tables) != before:
        before = len(tables)
        tables |= {name for name, node in functions.items() for call, _ in calls(node)
                   if called(call, name.partition(".")[0]) in tables or called(call, "") == ".table"}
    found = []
    for name in sorted(tables):
        own = list(calls(functions[name]))
        shown = [place for call, place in own if called(call, name.partition(".")[0]) in tables or called(call, "") == ".table"]
        for call, place in own:
            if called(call, "") not in (".echo", "click.echo", ".print", "click.secho") or any(word.arg == "err" for word in call.keywords):
                continue
            if any("tabs()" in ast.unparse(owner) for _, owner in place[1:]) or all(apart(place, other) for other in shown):
                continue
            found.append(f"{name}:{call.lineno}")
    return found


def test_stdout_is_the_table_alone() -> None:
    source = {path.stem if path.parent == FOLDER else f"{path.parent.name}_{path.stem}": path.read_text(encoding="utf-8")
              for path in FOLDER.rglob("*.py") if path.name not in ("output.py", "__init__.py")}
    assert strays(source) == []


def test_it_sees_what_it_is_for() -> None:
    assert strays({"a": "def f():\n table(1)\n echo(2)\n"}) == ["a.f:3"]
    assert strays({"a": "def f():\n table(1)\n echo(2, err=True)\n aside(3)\n"}) == []
    assert strays({"a": "def f(x):\n if x:\n  echo(2)\n  return\n table(1)\n", "b": "def g():\n if y:\n  echo(1)\n else:\n  table(2)\n"}) == []
    assert strays({"a": "def show():\n table(1)\n", "b": "def g():\n a.show()\n click.echo(2)\n"}) == ["b.g:3"]
    assert strays({"a": "def f():\n table(1)\n for line in x if not tabs() else ():\n  echo(line)\n"}) == []
