"""The upstreams' sources, read as text and syntax trees: importing them would need torch."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


class Tree:
    """One upstream's source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def text(self, path: str) -> str:
        return (self.folder / path).read_text(encoding="utf-8")

    def strings(self, path: str) -> set[str]:
        """Every string literal of a file."""
        return {node.value for node in ast.walk(ast.parse(self.text(path))) if isinstance(node, ast.Constant) and isinstance(node.value, str)}

    def function(self, path: str, name: str) -> ast.AST:
        """A function's or class's syntax tree, wherever in the file it stands."""
        return next(node for node in ast.walk(ast.parse(self.text(path))) if getattr(node, "name", None) == name)

    def files(self) -> Iterator[str]:
        """The text of each Python file of the package."""
        for path in (self.folder / self.folder.name.partition("@")[0]).rglob("*.py"):
            yield path.read_text(encoding="utf-8")


def tree(upstream: str, file: str) -> Tree:
    folder = Path(os.environ.get(f"TUNEFORK_TREE_{upstream.upper()}") or ROOT / "work" / upstream)
    if not (folder / file).is_file():
        pytest.skip(f"NOT TESTED: no source of {upstream} at {folder} (`python3 build.py apply {upstream}`, or TUNEFORK_TREE_{upstream.upper()})")
    return Tree(folder)


@pytest.fixture(scope="session")
def vllm() -> Tree:
    return tree("vllm", "vllm/envs.py")


@pytest.fixture(scope="session")
def aiter() -> Tree:
    return tree("aiter", "aiter/fused_moe.py")
