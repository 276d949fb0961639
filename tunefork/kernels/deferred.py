"""What is imported when it is first used: listing what we ship needs neither torch nor triton, and running it needs both.

What a list says of a kernel (its name, its arguments) is read from the module's source.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any


@lru_cache(maxsize=64)
def _arguments(module: str) -> dict[str, tuple[str, ...]]:
    """Every function at the top of a module, with its arguments' names, read without importing the module."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, module
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    return {each.name: tuple(one.arg for one in (*each.args.posonlyargs, *each.args.args, *each.args.kwonlyargs))
            for each in tree.body if isinstance(each, ast.FunctionDef)}  # fmt: skip


class Kernel:
    """One ``@triton.jit`` function by name; what is not said here is the function's own, which the first such use imports."""

    def __init__(self, module: str, name: str) -> None:
        self.__module__, self.__name__ = module, name

    @property
    def arg_names(self) -> list[str]:
        return list(_arguments(self.__module__)[self.__name__])

    @cached_property
    def function(self) -> Any:
        """The function itself."""
        return getattr(importlib.import_module(self.__module__), self.__name__)

    def __getitem__(self, grid: Any) -> Any:
        return self.function[grid]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what copy and pickle ask for is not the function's
            raise AttributeError(name)
        return getattr(self.function, name)

    def __repr__(self) -> str:
        return f"{self.__module__}.{self.__name__}"


class Deferred:
    """A module's kernels as attributes."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Kernel:
        if name.startswith("__") or name not in _arguments(self._module):
            raise AttributeError(f"{self._module} has no function {name!r}")
        found = Kernel(self._module, name)
        setattr(self, name, found)
        return found


def exports(package: str, where: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's ``__getattr__``: each name is taken from the package's module that ``where`` says, at its first use."""

    def find(name: str) -> Any:
        if name not in where:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f"{package}.{where[name]}"), name)
        setattr(sys.modules[package], name, found)
        return found

    return find
