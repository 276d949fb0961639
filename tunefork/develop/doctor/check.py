"""A check of `doctor`: what was found, what is wanted, and what to type about the difference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tunefork.base.layout import Layout
from tunefork.develop import targets
from tunefork.develop.machine import Machine


@dataclass(frozen=True)
class Check:
    """One finding. ok: None where it does not apply here or cannot be known, which is neither right nor wrong."""

    check: str
    ok: bool | None
    found: str
    wanted: str
    remedy: str = ""


@dataclass(frozen=True)
class Patient:
    """What is examined. root: where /sys is, for tests.  environment: of this process.  wanted: the target to examine for; "": this machine's own."""

    layout: Layout
    machine: Machine
    environment: Mapping[str, str]
    root: Path = Path("/")
    wanted: str = ""
    target: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", self.wanted or targets.automatic(self.machine).target)

    @property
    def has_amd_gpu(self) -> bool:
        return self.machine.kfd or bool(self.machine.gpus)


def skipped(name: str, why: str, wanted: str) -> Check:
    return Check(name, None, f"not applicable here: {why}", wanted)
