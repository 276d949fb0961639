"""A path in a command that we print can be typed as it stands, whatever its name."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from tunefork.base.typed import typed

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"(?:^|[\s`(:])(?:mv|rm|rm -rf?|rmdir|cd|cp|mkdir|chmod \S+|git -C|git checkout --|worktree (?:add|remove)(?: -\S+)?|--resume|--svg|--out) $")
NO_PATHS = {"pattern"}
"""Values at such a place that are words of ours: a pattern of a step's own."""


def places(text: str) -> list[tuple[int, str]]:
    """(line, expression) of each value that a text puts where a shell's command takes a path."""
    found = []
    for node in ast.walk(ast.parse(text)):
        said = ""
        for part in node.values if isinstance(node, ast.JoinedStr) else ():
            if isinstance(part, ast.Constant):
                said += str(part.value)
                continue
            assert isinstance(part, ast.FormattedValue)
            if COMMAND.search(said) or re.search(r"(?:^|[\s`])(?:mv|cp) \0 $", said):
                found.append((part.lineno, ast.unparse(part.value)))
            said += "\0"
    return found


@pytest.mark.parametrize("path", sorted((ROOT / "tunefork").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_in_a_command_is_one_word(path: Path) -> None:
    bare = [(line, value) for line, value in places(path.read_text()) if value not in NO_PATHS and not value.startswith(("typed(", "shlex.quote("))]
    assert not bare


def test_the_look_sees_one() -> None:
    assert places('f"move it away: mv {path} {path}.old"') == [(1, "path"), (1, "path")]
    assert places('f"read {path}"') == [] and places('f"`git -C {a} add`"') == [(1, "a")]


@pytest.mark.parametrize("name", ["plain", "with blank", "it's", "$(id)", "-x", "a;b", "né"])
def test_a_shell_takes_it_for_one_word(name: str) -> None:
    assert shlex.split(f"rm {typed(Path('/tmp') / name)}") == ["rm", f"/tmp/{name}"]
    assert shlex.split(f"mv {typed(Path(name))} {typed(Path(name), '.old')}") == ["mv", name, f"{name}.old"]
