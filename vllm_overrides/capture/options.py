"""The options of a plan, and their one-line form: ``conc=4,8,16;isl=1024;osl=1024;price=0.01``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from vllm_overrides.capture.cost import PADDINGS, ByteModel, Cost, read_table
from vllm_overrides.capture.optimum import Problem
from vllm_overrides.capture.rules import Limits
from vllm_overrides.capture.trace import read_trace
from vllm_overrides.capture.workload import Traffic, Workload, closed_loop, merge
from vllm_overrides.errors import OverrideError


@dataclass(frozen=True)
class Options:
    """What a plan is made from. Traffic, cost, limits and the problem say what each option means."""

    conc: tuple[int, ...] = ()
    isl: int = 1024
    osl: int = 1024
    range_ratio: float = 1.0
    prompts: int = 0
    turnaround: int = 1
    tokens_per_step: float = 1.0
    trace: str = ""
    cost: str = ""
    padding: str = PADDINGS[0]
    tp: int = 1
    bandwidth: float = 8e12
    price: float = 0.01
    graph_seconds: float = 0.5
    max_graphs: int | None = None
    compile_gain: float = 0.0
    compile_seconds: float = 10.0
    cover: int = 0
    limits: Limits = field(default_factory=Limits)

    def workload(self) -> Workload:
        """The steps to plan for: those of a trace, or of one closed-loop run per entry of ``conc``."""
        if bool(self.trace) == bool(self.conc):
            raise OverrideError("a plan needs a workload: either conc or a trace", "conc=4,8,16, or trace=<file>")
        if self.trace:
            return read_trace(Path(self.trace), self.limits)
        return merge(closed_loop(self.traffic(conc), self.limits) for conc in sorted(set(self.conc)))

    def traffic(self, conc: int) -> Traffic:
        return Traffic(conc, self.isl, self.osl, self.range_ratio, self.prompts, self.turnaround, self.tokens_per_step)

    def cost_model(self) -> Cost:
        """The measured table where one is given, else the byte model."""
        if self.cost:
            return read_table(Path(self.cost))
        return ByteModel(tp=self.tp, bandwidth=self.bandwidth, padding=self.padding)

    def problem(self) -> Problem:
        return Problem(
            self.workload(), self.cost_model(), self.limits, self.price, self.graph_seconds, self.max_graphs,
            self.compile_gain, self.compile_seconds, self.cover,
        )  # fmt: skip


def concurrencies(text: str) -> tuple[int, ...]:
    """``4,8,16`` as numbers."""
    return tuple(int(word) for word in text.split(","))


READERS: dict[str, Callable[[str], Any]] = {
    "conc": concurrencies, "isl": int, "osl": int, "range_ratio": float, "prompts": int, "turnaround": int, "tokens_per_step": float,
    "trace": str, "cost": str, "padding": str, "tp": int, "bandwidth": float, "price": float, "graph_seconds": float, "max_graphs": int,
    "compile_gain": float, "compile_seconds": float, "cover": int,
}  # fmt: skip
assert set(READERS) == {one.name for one in fields(Options)} - {"limits"}


def parse(text: str, limits: Limits) -> Options:
    """Options from their one-line form; what a server knows of itself comes as ``limits``."""
    options = Options(limits=limits)
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, value = (word.strip() for word in part.partition("="))
        name = name.replace("-", "_")
        if not equals or name not in READERS:
            raise OverrideError(f"{part!r} is no option of a capture plan", f"name=value with one of {', '.join(READERS)}; between two: ;")
        try:
            options = replace(options, **{name: READERS[name](value)})
        except ValueError:
            raise OverrideError(f"{part!r}: {value!r} is no value for {name}", "for example conc=4,8,16;isl=1024;osl=1024") from None
    return options
