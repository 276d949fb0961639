"""A patch's .gitattributes can name a converter of the user's git configuration: nothing that the manager asks of git runs one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from world import World, applied, git

from tunefork.patchset.author import refresh
from tunefork.patchset.checkout.apply import apply
from tunefork.patchset.checkout.export import export
from tunefork.patchset.inspect import compare

SOURCE = Path(__file__).resolve().parents[2] / "tunefork"
SHOWS = {"diff", "log", "show", "diff-tree", "blame"}
QUIET = {"--name-only", "--raw", "--no-patch", "--name-status", "--quiet"}


def asked() -> list[tuple[str, int, list[str]]]:
    """Every call in the code that begins with a word of SHOWS: file, line, its literal words."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            words = node.args if isinstance(node, ast.Call) else node.elts if isinstance(node, ast.Tuple) else []
            if words and isinstance(words[0], ast.Constant) and words[0].value in SHOWS and len(words) > 1:
                said = [word.value for word in words if isinstance(word, ast.Constant)]
                found.append((path.name, node.lineno, [*said, *("*" for word in words if isinstance(word, ast.Starred))]))
    return found


def test_every_text_that_git_makes_of_files_is_made_without_converters() -> None:
    calls = asked()
    assert len(calls) > 15
    for file, line, words in calls:
        shows = words[0] in ("diff", "show", "blame") or {"-p", "--patch"} & {*words}
        if shows and not QUIET & {*words} and "*" not in words:
            assert "--no-textconv" in words, (file, line, words)
            assert words[0] == "blame" or "--no-ext-diff" in words or words[0] == "show", (file, line, words)


@pytest.mark.slow
def test_a_patch_cannot_choose_what_refresh_and_diff_run(world: World) -> None:
    applied(world)
    ran = world.root / "ran"
    world.commit({".gitattributes": b"*.py diff=chosen\n"}, "Choose")
    world.commit({"b.py": b"def f():\n    return 5\n\n\ndef g():\n    return 2\n"}, "Change")
    export(world.layout, "up")
    apply(world.layout, "up")
    git(world.checkout, "config", "diff.chosen.textconv", f"touch {ran}; cat")
    (world.checkout / "b.py").write_bytes(b"def f():\n    return 6\n\n\ndef g():\n    return 2\n")
    assert refresh.refresh(world.layout, "up").parts
    assert compare.variants(world.layout, "up", "base", "all")
    assert not ran.exists()
    git(world.checkout, "diff", "HEAD~1")
    assert ran.exists(), "git's own word would run it"

