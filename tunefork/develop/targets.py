"""The targets that `develop` builds for, and which one suits this machine."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from tunefork.base.errors import BadInput, MissingTool
from tunefork.develop.machine import Machine, TorchBuild

CPU = "cpu"
GFX950 = "gfx950"
AUTO = "auto"
TARGETS = (AUTO, CPU, GFX950)

CPU_ARCHITECTURE = "x86_64"  # what the pinned wheel of operators was compiled for
CPU_PYTHONS = ((3, 11), (3, 13))  # first and last that requirements/cpu.txt was resolved for


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
            "run build.py with one of those",
        )
    if machine.torch is not None and machine.torch.hip:
        raise MissingTool(
            f"target cpu would replace this environment's ROCm torch {machine.torch.version}",
            "use --target gfx950 here, or run build.py with a Python that has no ROCm torch",
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
