"""The machine and the versions that a record names."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from importlib import metadata
from pathlib import Path

import psutil

from tunefork.base import jsons, process
from tunefork.base.errors import TuneforkError
from tunefork.bench.records.schema import Host, Tree
from tunefork.patchset.checkout import work
from tunefork.patchset.checkout.applied import AppliedTree
from tunefork.patchset.git import Git

PACKAGES = ("tunefork", "vllm", "lm_eval", "torch", "triton", "transformers")
ASK_S = 20.0


@cache
def host() -> Host:
    """This machine."""
    cpu = next((line.split(":", 1)[1].strip() for line in lines(Path("/proc/cpuinfo")) if line.startswith("model name")), "")
    return Host(name=platform.node(), system=f"{platform.system()} {platform.release()}", cpu=cpu or platform.machine(),
                cores=os.cpu_count() or 1, memory_gib=round(psutil.virtual_memory().total / 2**30, 1), gpus=gpus())


def lines(path: Path) -> list[str]:
    """A file's lines; none where it cannot be read."""
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def ask(*argv: str) -> str:
    """What a program prints; "" where it is missing or fails."""
    if shutil.which(argv[0]) is None:
        return ""
    try:
        done = process.ask(argv, timeout=ASK_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def gpus() -> tuple[str, ...]:
    """The GPUs' names, from whichever tool there is."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        data = jsons.loads(ask("amd-smi", "static", "--asic", "--json") or "[]")
        listed = data.get("gpu_data", []) if isinstance(data, dict) else data
        if listed:
            return tuple(str(gpu["asic"]["market_name"]) for gpu in listed)
    return tuple(line.strip() for line in ask("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").splitlines() if line.strip())


@cache
def versions() -> dict[str, str]:
    """Python's and the libraries' versions in this interpreter, which is also the client's."""
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def tree(applied: AppliedTree) -> Tree:
    """An applied upstream as records name it."""
    return Tree(upstream=applied.upstream, variant=applied.variant, source=applied.source, base=applied.base, commit=applied.commit,
                tree=applied.tree, patches=applied.patches, modified=work.uncommitted(applied.path, applied.upstream))


def project_commit(root: Path) -> str:
    """The commit of this project, with "+" where tracked files are changed; "unknown" outside git."""
    try:
        git = Git(root)  # a folder that was handed over may have an fsmonitor or a filter in its configuration: neither runs
        commit = git.run("rev-parse", "--verify", "--quiet", "HEAD").out.decode().strip()
        changed = git.run("status", "--porcelain", "--untracked-files=no", env={"GIT_OPTIONAL_LOCKS": "0"}).out.strip()
    except TuneforkError:  # no git, no such folder
        return "unknown"
    return f"{commit}{'+' if changed else ''}" if commit else "unknown"
