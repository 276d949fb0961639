"""The targets that `develop` builds for, which one suits this machine, and what a target must be able to do."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tunefork.base.errors import BadInput, MissingTool
from tunefork.base.process import Say
from tunefork.base.typed import typed
from tunefork.develop.machine import Machine, TorchBuild
from tunefork.develop.step import Step

CPU = "cpu"
GFX950 = "gfx950"
AUTO = "auto"
TARGETS = (AUTO, CPU, GFX950)

CPU_ARCHITECTURE = "x86_64"  # what the pinned wheel of operators was compiled for
CPU_PYTHONS = ((3, 11), (3, 14))  # first and last that requirements/cpu.txt was resolved for
READY = "tunefork-ready"  # in an environment that build.py made, in which its later calls run


class Target(Protocol):
    """What `develop` asks of a target: one object per run, made from the applied trees and the machine.

    cpu/target.py and gfx950/target.py are the two; install.py makes them, and asks in this order.
    """

    @property
    def device(self) -> str:
        """What the installed vLLM must say that it runs on; "" where that can only be seen on a GPU."""

    def planned(self, *, everything: bool) -> list[Step]:
        """The steps for --dry-run. everything: as where nothing is installed yet."""

    def steps(self, say: Say) -> tuple[list[Step], tuple[str, ...]]:
        """The steps of a real run, and the upstreams whose compiled files they make or place. Errors: MissingTool."""

    def notes(self) -> list[str]:
        """Lines that the user must know of, before anything runs."""

    def lock_digest(self) -> str:
        """sha256 of the lock of what is installed; "" where the machine's own packages stay."""

    def digests(self) -> dict[str, str]:
        """By upstream, the digest of what its compiled files are made from."""

    def built(self, digests: Mapping[str, str], rebuilt: tuple[str, ...]) -> None:
        """After the steps, before the proof: keep and record what was built. Errors: BuildError."""

    def proved(self, changed: tuple[str, ...], say: Say) -> None:
        """After the proof. changed: operators that take other arguments than the vLLM declares."""


@dataclass(frozen=True)
class Choice:
    """A target, the GPU architectures it is built for (none for cpu), and why this one."""

    target: str
    architectures: tuple[str, ...]
    why: str


def choose(requested: str, machine: Machine, architectures: tuple[str, ...] = (), *, dry_run: bool = False) -> Choice:
    """The target to build. MissingTool where this machine cannot build it (a dry run needs no GPU machine)."""
    if requested not in TARGETS:
        raise BadInput(f"no such target: {requested!r}", f"use one of {', '.join(TARGETS)}")
    choice = automatic(machine) if requested == AUTO else Choice(requested, (), f"--target {requested}")
    if choice.target == CPU:
        if architectures:
            raise BadInput("--arch names GPU architectures; the cpu target has none", "drop --arch, or add --target gfx950")
        if not dry_run:
            check_cpu(machine)
        return choice
    if not dry_run:
        check_gfx950(machine)
    here = tuple(gpu for gpu in machine.gpus if gpu != GFX950)
    return Choice(GFX950, tuple(sorted(set(architectures or (GFX950, *here)))), choice.why)


def automatic(machine: Machine) -> Choice:
    """gfx950 wherever there is an AMD GPU or a ROCm torch, otherwise cpu."""
    if machine.torch is not None and machine.torch.hip:
        return Choice(GFX950, (), f"this Python has a ROCm torch ({machine.torch.version})")
    if machine.gpus or machine.kfd:
        return Choice(GFX950, (), f"this machine has an AMD GPU ({', '.join(sorted(set(machine.gpus))) or '/dev/kfd'})")
    return Choice(CPU, (), "no AMD GPU (/dev/kfd) and no ROCm torch here")


def with_another_python() -> str:
    """What to type where this Python is too new: the environment stays with the Python that it was made with, whichever build.py is called with."""
    (major, first), (_, last) = CPU_PYTHONS
    names = [f"python{major}.{minor}" for minor in range(last, first - 1, -1)]
    here = next((name for name in names if shutil.which(name)), None)
    install = "" if here else f"install one with its venv (Debian: apt-get install {names[0]}-venv), then "
    return install + anew(f"`{here or names[0]} build.py develop`")


def anew(command: str) -> str:
    """A command that is to run with another Python, after what takes this one's environment away where it is ours."""
    ours = (Path(sys.prefix) / READY).is_file()
    return f"`rm -rf {typed(sys.prefix)}`, then {command}, which makes it again" if ours else command


def check_cpu(machine: Machine) -> None:
    """Refuse the cpu target where its parts cannot run or would replace a ROCm torch."""
    if machine.architecture != CPU_ARCHITECTURE:
        raise MissingTool(
            f"target cpu takes its operators from a wheel for {CPU_ARCHITECTURE}; this machine is {machine.architecture}",
            f"run it on an {CPU_ARCHITECTURE} machine",
        )
    first, last = CPU_PYTHONS
    if not first <= sys.version_info[:2] <= last:
        raise MissingTool(
            f"target cpu is locked for Python {first[0]}.{first[1]} to {last[0]}.{last[1]}; "
            f"this is {sys.version.split()[0]}",
            with_another_python(),
        )
    if machine.torch is not None and machine.torch.hip:
        raise MissingTool(
            f"target cpu would replace this environment's ROCm torch {machine.torch.version}",
            f"use --target gfx950 here, or {anew('build.py with a Python that has none')}",
        )


def keeps_from_cpu(torch: TorchBuild | None, developed: str | None) -> str:
    """What of an environment target cpu would replace; "" where nothing. developed: the target that its mark says."""
    if torch is not None and torch.hip:
        return f"this environment has a ROCm torch ({torch.version})"
    return f"this environment is developed for {GFX950}" if developed == GFX950 else ""


def check_gfx950(machine: Machine) -> None:
    """Refuse the gfx950 target without a ROCm torch, against which it is built."""
    if machine.torch is None or not machine.torch.hip:
        has = f"torch {machine.torch.version} ({machine.torch.kind})" if machine.torch else "no torch"
        raise MissingTool(
            f"target gfx950 is built against a ROCm torch; this Python has {has}",
            "`python3 build.py container` prints the ROCm container's command; --dry-run shows the plan on any machine; "
            "--target cpu needs no GPU",
        )
