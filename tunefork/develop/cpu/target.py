"""The cpu target as `develop` asks for it: the applied vLLM, this machine, and the wheel of operators."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.layout import Layout
from tunefork.base.process import Say, quiet
from tunefork.develop import operator_schemas
from tunefork.develop.cpu import operators, plan
from tunefork.develop.machine import Machine
from tunefork.develop.step import Step
from tunefork.develop.targets import CPU
from tunefork.develop.version import distribution_version
from tunefork.patchset.checkout.applied import AppliedTree
from tunefork.patchset.sources import pins


@dataclass(frozen=True)
class Cpu:
    """One `develop` of the cpu target. log: where pip's output goes."""

    layout: Layout
    vllm: AppliedTree
    machine: Machine
    log: Path
    device: str = CPU

    def planned(self, *, everything: bool) -> list[Step]:
        return self.steps(quiet)[0]

    def steps(self, say: Say) -> tuple[list[Step], tuple[str, ...]]:
        operators.require_libraries(self.machine)
        version = distribution_version(pins.load(self.layout)["vllm"].version, CPU)
        lacking = plan.missing(self.layout, self.vllm.path, version, self.machine)
        rebuilt = ("vllm",) if lacking.editable or lacking.operators else ()
        return plan.steps(self.layout, self.vllm.path, version, self.machine, lacking, self.log, say), rebuilt

    def notes(self) -> list[str]:
        """AITER is not in it, and changes of compiled sources have no effect."""
        native = plan.native_note(self.vllm.path, self.vllm.base)
        return ["AITER is left out: target cpu does not use it", *([native] if native else [])]

    def lock_digest(self) -> str:
        return plan.lock_digest()

    def digests(self) -> dict[str, str]:
        return {"vllm": plan.operator_digest(self.layout, self.machine)}

    def built(self, digests: Mapping[str, str], rebuilt: tuple[str, ...]) -> None:
        """Nothing to keep: the operators are in the store since they were placed."""

    def proved(self, changed: tuple[str, ...], say: Say) -> None:
        """Record the operators that take other arguments than the pinned vLLM declares."""
        wheel = pins.cpu_operators(self.layout)
        operator_schemas.record(self.vllm.path, f"{wheel.name} {wheel.version}", changed)
        if line := operator_schemas.note(f"{wheel.name} {wheel.version}", pins.load(self.layout)["vllm"].version, changed):
            say(line)
