"""A path in a command that we print can be typed as it stands, whatever its name."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

from tunefork.base.extras import installing
from tunefork.base.typed import typed

ROOT = Path(__file__).resolve().parents[2]
COMMAND = re.compile(r"(?:^|[\s`(:])(?:mv|rm|rm -rf?|rmdir|cd|cp|mkdir|chmod \S+|git -C|git checkout --|git diff|git add|worktree (?:add|remove)(?: -\S+)?|--resume|--svg|--out) $")
RUN = re.compile(r"^ (?:-P )?-[mcX] ")
"""What follows a Python that a command begins with."""
NO_PATHS = {"pattern"}
"""Values at such a place that are words of ours: a pattern of a step's own."""


def places(text: str) -> list[tuple[int, str]]:
    """(line, expression) of each value that a text puts where a shell's command takes a path."""
    found = []
    for node in ast.walk(ast.parse(text)):
        said = ""
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for part, after in zip(parts, [*parts[1:], None], strict=False):
            if isinstance(part, ast.Constant):
                said += str(part.value)
                continue
            assert isinstance(part, ast.FormattedValue)
            runs = "executable" in ast.unparse(part.value) and isinstance(after, ast.Constant) and RUN.match(str(after.value))
            if runs or COMMAND.search(said) or re.search(r"(?:^|[\s`])(?:mv|cp) \0 $", said):
                found.append((part.lineno, ast.unparse(part.value)))
            said += "\0"
    return found


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "tunefork").rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_path_in_a_command_is_one_word(path: Path) -> None:
    bare = [(line, value) for line, value in places(path.read_text()) if value not in NO_PATHS and not value.startswith(("typed(", "shlex.quote("))]
    assert not bare


def test_the_look_sees_one() -> None:
    assert places('f"move it away: mv {path} {path}.old"') == [(1, "path"), (1, "path")]
    assert places('f"read {path}"') == [] and places('f"`git -C {a} add`"') == [(1, "a")]
    assert places('f"{sys.executable} -m pip"') == [(1, "sys.executable")] and places('f"{sys.executable} has no pip"') == []


@pytest.mark.parametrize("name", ["plain", "with blank", "it's", "$(id)", "-x", "a;b", "né"])
def test_a_shell_takes_it_for_one_word(name: str) -> None:
    assert shlex.split(f"rm {typed(Path('/tmp') / name)}") == ["rm", f"/tmp/{name}"]
    assert shlex.split(f"mv {typed(Path(name))} {typed(Path(name), '.old')}") == ["mv", name, f"{name}.old"]


def test_an_extra_comes_from_the_checkout_where_there_is_one(tmp_path: Path) -> None:
    """With `--no-venv` our name may be installed nowhere: an index has whatever somebody put there under it."""
    words = shlex.split(installing("ray"))
    assert words[1:] == ["-m", "pip", "install", "-e", f"{ROOT}[ray]"]
    assert shlex.split(installing("ray", tmp_path))[1:] == ["-m", "pip", "install", "tunefork[ray]"]  # an installed wheel: its own
    there = tmp_path / "my project"
    there.mkdir()
    for name in ("pyproject.toml", "build.py"):
        (there / name).touch()
    assert shlex.split(installing("ray", there))[-1] == f"{there}[ray]"


def test_no_command_asks_an_index_for_our_name() -> None:
    named = [path for path in (ROOT / "tunefork").rglob("*.py") if "tunefork[" in path.read_text()]
    assert [str(path.relative_to(ROOT)) for path in named] == ["tunefork/base/extras.py"]
