"""AITER's Triton sources at one commit, imported without AITER's own packages, whose import asks for a GPU and built extensions."""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType

from tunefork.base.upstream_facts.aiter import TRITON

PACKAGES = (
    "aiter",
    "aiter.ops",
    "aiter.ops.triton",
    "aiter.ops.triton.moe",
    "aiter.ops.triton.moe.moe_routing",
    "aiter.ops.triton._triton_kernels",
    "aiter.ops.triton._triton_kernels.moe",
    "aiter.ops.triton._triton_kernels.moe.moe_routing",
    "aiter.ops.triton.utils",
    "aiter.ops.triton.utils._triton",
)


def extract(checkout: Path, commit: str, target: Path) -> Path:
    """Write AITER's Triton folder as of a commit below ``target``; returns ``target``."""
    owner = f"safe.directory={checkout.resolve()}"
    done = subprocess.run(
        ["git", "-c", owner, "-C", str(checkout), "archive", commit, TRITON], capture_output=True, check=True
    )
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(target, filter="data")
    return target


def load(tree: Path, module: str) -> ModuleType:
    """Import ``aiter.ops.triton.<module>`` from a tree, with a bare package in the place of each of AITER's.

    A process holds one tree; call it with a Triton driver active, because AITER asks for the chip when it is imported.
    """
    for name in PACKAGES:
        place = str(tree.joinpath(*name.split(".")))
        if name not in sys.modules:
            package = ModuleType(name)
            package.__path__ = [place]
            sys.modules[name] = package
        elif sys.modules[name].__path__ != [place]:
            raise RuntimeError(f"this process already holds AITER from {sys.modules[name].__path__[0]}, not {place}")
    return importlib.import_module(f"aiter.ops.triton.{module}")
