"""What the tests of our patches share: each patch as a commit of the patched checkout, with what it found and what it left.

A test looks at a patch from both sides: ``before`` is the file as the patch found it (its commit's parent), ``after`` the file
as it lies in the checkout. A check that holds on both sides would not see the patch, so every test asserts both.

The checkout is ``work/<upstream>`` of this project, or what TUNEFORK_TREE_VLLM / TUNEFORK_TREE_AITER names.
"""

from __future__ import annotations

import ast
import builtins
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest

from tunefork.base.layout import Layout

PATCHES = Path(__file__).resolve().parents[2] / "patches"


def git(tree: Path, *words: str) -> str:
    """Output of a git command in a checkout, whoever owns it and whatever the user's configuration says."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_COUNT": "1"}
    env |= {"GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    done = subprocess.run(["git", "-C", str(tree), *words], env=env, capture_output=True, text=True, check=True)
    return done.stdout


@dataclass(frozen=True)
class Patched:
    """One patch in one checkout.

    tree: the checkout.  commit: the patch's commit there.
    """

    tree: Path
    commit: str

    def before(self, path: str) -> str:
        """The file as the patch found it."""
        return git(self.tree, "show", f"{self.commit}^:{path}")

    def pin(self) -> str:
        """The first commit below this one that is none of our patches."""
        ours = {subject(file) for file in PATCHES.glob("*/*.patch")}
        for line in git(self.tree, "log", "-200", "--format=%H %s", self.commit).splitlines():
            commit, _, title = line.partition(" ")
            if title not in ours:
                return commit
        raise LookupError(f"{self.tree} holds nothing below {self.commit} but our patches")

    def after(self, path: str) -> str:
        """The file as it lies in the checkout."""
        return (self.tree / path).read_text()


def subject(patch: Path) -> str:
    """The patch's subject, unfolded, as ``git log --format=%s`` prints it."""
    head = patch.read_text().split("\n\n", 1)[0].replace("\n ", " ")
    return next(line.removeprefix("Subject: ") for line in head.split("\n") if line.startswith("Subject: "))


def checkout(upstream: str) -> Path:
    """The patched checkout of an upstream; the test is skipped where there is none."""
    named = os.environ.get(f"TUNEFORK_TREE_{upstream.upper()}")
    tree = Path(named) if named else Layout.here().checkout(upstream)
    if not (tree / ".git").exists():
        pytest.skip(f"NOT TESTED: {tree} holds no patched {upstream}; run `python3 build.py apply` first")
    return tree


@pytest.fixture(scope="session")
def tree() -> Callable[[str], Path]:
    """The patched checkout of an upstream, by its name."""
    return checkout


@pytest.fixture(scope="session")
def patched() -> Callable[[str], Patched]:
    """A patch by its name, ``<upstream>/<slug>``, as it is applied in the checkout."""

    def find(name: str) -> Patched:
        upstream = name.partition("/")[0]
        tree = checkout(upstream)
        wanted = subject(PATCHES / f"{name}.patch")
        for line in git(tree, "log", "-200", "--format=%H %s").splitlines():
            commit, _, title = line.partition(" ")
            if title == wanted:
                return Patched(tree, commit)
        return pytest.skip(f"NOT TESTED: the variant in {tree} is without {name}")

    return find


@pytest.fixture
def run_source(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Runs a module's source by itself: what it imports below ``stubbed`` comes from one MagicMock, the rest is real."""

    def run(source: str, root: MagicMock, stubbed: tuple[str, ...]) -> ModuleType:
        def import_(name: str, env: Any = None, local: Any = None, wanted: Any = (), level: int = 0) -> Any:
            if name.split(".", maxsplit=1)[0] not in stubbed:
                return builtins.__import__(name, env, local, wanted, level)
            found = root
            for part in name.split(".")[1:] if wanted else ():
                found = getattr(found, part)
            return found

        module = ModuleType("patched_source")
        vars(module)["__builtins__"] = vars(builtins) | {"__import__": import_}
        monkeypatch.setitem(sys.modules, module.__name__, module)  # dataclasses look their module up
        exec(compile(source, module.__name__, "exec"), vars(module))
        return module

    return run


@pytest.fixture
def extract() -> Callable[[str, str], str]:
    """The source of one method, by ``Class.method``, dedented to a function that stands alone."""

    def find(source: str, name: str) -> str:
        outer, _, inner = name.partition(".")
        holder = next(n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == outer)
        method = next(n for n in holder.body if isinstance(n, ast.FunctionDef) and n.name == inner)
        method.decorator_list = []
        return "from __future__ import annotations\n" + ast.unparse(method)

    return find
