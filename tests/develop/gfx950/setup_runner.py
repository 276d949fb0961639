"""Run an upstream's real setup.py in its folder, without ROCm: `python setup_runner.py [--record FILE] ARGUMENTS...`, by the tests.

What cannot be here is replaced by the least: torch by a module that says it is ROCm's, AITER's compiler call and FlyDSL's by a note of
what they were asked. The rest is upstream's own. Not imported by a test: it changes the whole process.
"""

from __future__ import annotations

import builtins
import importlib.abc
import importlib.machinery
import json
import runpy
import sys
import types
from pathlib import Path
from typing import Any

NOTES: dict[str, Any] = {"modules": [], "flydsl": [], "setup": None}


def rocm_torch() -> None:
    torch, utils, extension, version = (types.ModuleType(name) for name in ("torch", "torch.utils", "torch.utils.cpp_extension", "torch.version"))
    torch.__version__ = "2.13.0+rocm7.2"
    version.hip, version.cuda, version.xpu = "7.2.53210", None, None
    extension.CUDA_HOME = extension.ROCM_HOME = None
    torch.version, torch.utils, utils.cpp_extension = version, utils, extension
    torch._dynamo = types.SimpleNamespace(config=types.SimpleNamespace())
    for module in (torch, utils, extension, version):
        module.__path__ = []
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
        sys.modules[module.__name__] = module


class FlyDSL(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """aiter.aot.flydsl.common, whose run_aot would start thousands of compilers."""

    def find_spec(self, name: str, _path: Any, _target: Any = None) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(name, self) if name == "aiter.aot.flydsl.common" else None

    def create_module(self, _spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: types.ModuleType) -> None:
        module.run_aot = NOTES["flydsl"].append


def build_module(**asked: Any) -> None:
    NOTES["modules"].append({"name": asked["md_name"], "sources": asked["srcs"], "third_party": asked["third_party"], "generate": asked["blob_gen_cmd"]})


def record_setup(**words: Any) -> None:
    NOTES["setup"] = {"version": words.get("version"), "requires": words["install_requires"],
                      "extensions": [each.name for each in words["ext_modules"]]}


def main(arguments: list[str]) -> None:
    real = builtins.__import__

    def imports(name: str, *rest: Any, **named: Any) -> Any:
        found = real(name, *rest, **named)
        if (core := sys.modules.get("jit.core")) and hasattr(core, "build_module"):
            core.build_module = build_module
        return found

    rocm_torch()
    sys.meta_path.insert(0, FlyDSL())
    builtins.__import__ = imports
    sys.path.insert(0, "")
    sys.argv = ["setup.py", *arguments[1:]]
    if arguments[1] == "record":
        import setuptools

        setuptools.setup = record_setup
        sys.argv = ["setup.py", "bdist_wheel"]
    try:
        runpy.run_path("setup.py", run_name="__main__")
    finally:
        Path(arguments[0]).write_text(json.dumps(NOTES))


if __name__ == "__main__":
    main(sys.argv[1:])
