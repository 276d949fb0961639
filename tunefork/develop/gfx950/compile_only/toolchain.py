"""The HIP compiler: a ROCm's own where there is one, else the pinned parts of a package index. Both are called in the same way."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import shlex
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import BuildError, MissingTool
from tunefork.base.layout import Layout
from tunefork.base.mutex import locked
from tunefork.base.process import Say, ask
from tunefork.base.typed import typed
from tunefork.develop.gfx950.compile_only import parts
from tunefork.develop.installed import anew
from tunefork.develop.machine import Machine, torch_build

ROCM_CLANG = ("lib/llvm/bin/clang++", "llvm/bin/clang++")
HIPIFIED = ("c10/cuda", "ATen/cuda", "torch/csrc/stable", "torch/csrc/inductor/aoti_torch")
"""Folders of torch's headers that the build of a ROCm torch hipifies, and that the sources of vLLM and AITER include."""


@dataclass(frozen=True)
class Toolchain:
    """A compiler that makes gfx950 code of HIP sources.

    name: for the user.  label: which records it may be compared with.  clang: the words that start it.  argv: after them, C++ mode and where its HIP is.
    includes: torch's and Python's headers.  hip: (major, minor) of HIP.  stand_ins: the folder whose headers are no ROCm's, or None.
    identity: what its output depends on, apart from the flags and the files that are read.
    """

    name: str
    label: str
    clang: tuple[str, ...]
    argv: tuple[str, ...]
    includes: tuple[str, ...]
    hip: tuple[int, int]
    stand_ins: Path | None
    identity: str


def rocm_clang(machine: Machine) -> Path | None:
    """The clang of this machine's ROCm."""
    home = machine.rocm_home
    return next((home / name for name in ROCM_CLANG if (home / name).is_file()), None) if home else None


def described(layout: Layout, machine: Machine) -> tuple[bool, str]:
    """(whether it is on this machine, what it is), without fetching or starting anything: for `doctor`."""
    clang = rocm_clang(machine)
    if clang is not None:
        return True, f"ROCm {machine.rocm or 'of unknown version'}: {clang}"
    names = ", ".join(f"{part.name} {part.version}" for part in parts.PARTS)
    here = parts.folder(layout)
    if here.is_dir():
        return True, f"no ROCm; clang and HIP headers of {names} in {here}"
    return False, f"no ROCm; --compile-only fetches {names} through pip ({sum(part.mib for part in parts.PARTS)} MiB)"


def find(layout: Layout, machine: Machine, say: Say) -> Toolchain:
    """The compiler to use, fetched where there is none. Errors: MissingTool, SourceError, BuildError."""
    torch = torch_headers()
    clang = rocm_clang(machine)
    words: tuple[str, ...]
    argv: tuple[str, ...]
    if clang is not None and machine.rocm_home is not None:
        version = first_line([str(clang), "--version"], "`python3 build.py doctor --target gfx950` says what is amiss")
        words, argv, stand_ins = (str(clang),), (f"--rocm-path={machine.rocm_home}",), None
        name, label, hip = f"ROCm {machine.rocm}, {version}", f"rocm-{machine.rocm}", numbers(machine.rocm)
    else:
        here = parts.assembled(layout, say)
        words = (str(here / "bin" / "zig"), "clang")
        again = f"`rm -r {typed(here)}`, then the same command again: the compiler is put together anew"
        version = first_line([*words, "--version"], parts.elsewhere(here) or again)
        host = sysconfig.get_config_var("HOST_GNU_TYPE") or "x86_64-linux-gnu"
        argv = ("--driver-mode=g++", f"--target={host}", "-resource-dir", str(here / "clang"), f"--rocm-path={here / 'rocm'}")
        stand_ins = here / "stand_ins"
        name, label, hip = f"{version}, HIP {'.'.join(map(str, parts.HIP))} headers, from a package index", f"parts-{parts.digest()}", parts.HIP[:2]
    includes = [str(stand_ins)] if stand_ins else []
    if not (torch / "c10" / "hip").is_dir():
        includes.append(str(hipified_torch(layout, torch, say)))
    includes += [str(torch), str(torch / "torch" / "csrc" / "api" / "include"), sysconfig.get_paths()["include"]]
    return Toolchain(name, label, words, argv, tuple(includes), hip, stand_ins, f"{label} {version}")


def numbers(version: str | None) -> tuple[int, int]:
    """The first two numbers of a version."""
    found = [int(part) for part in (version or "").replace("-", ".").split(".") if part.isdigit()]
    return (found[0], found[1]) if len(found) > 1 else (0, 0)


def first_line(argv: Sequence[str], remedy: str) -> str:
    done = ask(argv)
    if done.returncode or not done.stdout:
        raise BuildError(f"`{shlex.join(argv)}` does not run: {done.stderr.strip()[-200:]}", remedy)
    return done.stdout.splitlines()[0]


def torch_folder() -> Path:
    """The folder of this Python's torch. Errors: MissingTool."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise MissingTool("the sources are compiled against torch's headers; this Python has no torch",
                          "python3 build.py develop --target cpu (it brings one), then the same command again")
    return Path(spec.origin).parent


def torch_headers() -> Path:
    return torch_folder() / "include"


def torch_flags() -> list[str]:
    """What torch compiles every HIP file with (COMMON_HIP_FLAGS and COMMON_HIPCC_FLAGS of its cpp_extension.py), without importing it."""
    flags: list[str] = ["-fPIC"]
    for node in ast.walk(ast.parse((torch_folder() / "utils" / "cpp_extension.py").read_text())):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in ("COMMON_HIP_FLAGS", "COMMON_HIPCC_FLAGS"):
            flags += ast.literal_eval(node.value)
    return flags


HIPIFY_TORCH = '''
import shutil, sys
from torch.utils.hipify.hipify_python import hipify
source, out, *folders = sys.argv[1:]
for folder in folders:
    shutil.copytree(f"{source}/{folder}", f"{out}/{folder}", dirs_exist_ok=True)
hipify(project_directory=out, output_directory=out, includes=[f"{out}/*"], header_include_dirs=["."], extensions=(".h", ".cuh"),
       show_detailed=False, is_pytorch_extension=False, extra_files=[])
'''


def hipified_torch(layout: Layout, headers: Path, say: Say) -> Path:
    """The headers that a ROCm torch has and this one has not, made of this one's CUDA headers by torch's own hipify, as its build does."""
    version = (headers.parent / "version.py").read_text()
    key = hashlib.sha256(f"{version}{HIPIFIED}{HIPIFY_TORCH}".encode()).hexdigest()[:16]
    place = layout.cache / "gfx950-parts" / f"torch-{key}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with locked(place.with_suffix(".lock"), say, "another process hipifies torch's headers, waiting"):
        if not place.is_dir():
            say("hipifying torch's CUDA headers")
            with tempfile.TemporaryDirectory(prefix=".torch-", dir=place.parent) as scratch:
                made = Path(scratch) / "made"
                hipify([HIPIFY_TORCH, str(headers), str(made), *HIPIFIED])
                made.rename(place)
    return place


WITHOUT_TORCH = '''
import runpy, sys, types
folder, script, *words = sys.argv[1:]
for name in ("", ".utils"):  # hipify is plain Python below these two packages, whose import takes three times as long as hipify
    package = sys.modules["torch" + name] = types.ModuleType("torch" + name)
    package.__path__ = [folder + name.replace(".", "/")]
sys.argv = [script, *words]
runpy.run_path(script, run_name="__main__")
'''


def hipify(words: Sequence[str], *, script: Path | None = None) -> None:
    """Run code that calls torch's hipify, in a process of its own. A script is tried without importing torch first. Errors: BuildError."""
    python, environment = [sys.executable, "-P"], {**os.environ, "PYTHONPATH": ""}
    if script is not None and not ask([*python, "-c", WITHOUT_TORCH, str(torch_folder()), str(script), *words], env=environment).returncode:
        return
    done = ask([*python, *([str(script)] if script else ["-c"]), *words], env=environment)
    if done.returncode:
        asked = "`python3 build.py doctor --target gfx950` says which torch the sources ask for"
        build = torch_build(torch_folder() / "version.py")
        whole = "" if build is not None and build.hip else f"; where it is that one, its files are not: `{anew('torch')}`"  # an index has no ROCm build
        raise BuildError(f"torch's hipify failed: {done.stderr.strip()[-600:]}", f"{asked}{whole}; then the same command again")
