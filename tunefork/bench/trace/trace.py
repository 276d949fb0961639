"""A trace as steps: which kernels each decode step ran, for how long, and how long nothing ran. Times are in microseconds.

vLLM's torch profiler writes one Chrome trace per rank. Each engine step is an annotation ``execute_context_C(..)_generation_G(..)``: C requests
in prefill, G in decode; steps with C = 0 are decode steps. A kernel belongs to the step whose annotation launched it (``correlation`` joins the
two, also where a whole graph was launched). On a CPU the operators themselves are the time: an operator's own part is its duration without
the operators that it calls.

A step's time goes from its first kernel to the next step's first kernel (the last one's to its own last kernel), so that the parts add up: the
union of its kernels, and the gaps. Kernels that overlap on several streams are counted in full each; ``overlap`` says how much that is.
"""

from __future__ import annotations

import bisect
import csv
import gzip
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tunefork.base import jsons
from tunefork.base.errors import BadInput
from tunefork.base.files import read_within
from tunefork.base.upstream_facts import vllm

STEP = re.compile(vllm.STEP)
DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}
LAUNCH = {"cuda_runtime", "cuda_driver", "hip_runtime"}
MOST_BYTES = 4 << 30
"""Of a trace, unpacked."""
Times = defaultdict[str, float]
"""Microseconds by a kernel's or operator's name."""


@dataclass
class Step:
    """One decode step. conc: requests in it.  wall: its length.  covered: the union of its kernels.  kernels: time by name."""

    conc: int
    wall: float
    covered: float
    kernels: Times = field(default_factory=lambda: defaultdict(float))

    @property
    def gaps(self) -> float:
        """When nothing ran."""
        return max(0.0, self.wall - self.covered)

    @property
    def overlap(self) -> float:
        """Kernel time beyond the union: what ran beside something else."""
        return max(0.0, sum(self.kernels.values()) - self.covered)


@dataclass(frozen=True)
class Trace:
    """A rank's decode steps. device: whether kernels of a GPU were seen; on a CPU the kernels are operators."""

    source: str
    device: bool
    steps: tuple[Step, ...]


def read(path: Path, steps: int | None = None) -> Trace:
    """A torch trace (.json, .json.gz) or rocprofv3's kernel trace (.csv, which knows no steps: ``steps`` says how many it holds)."""
    try:
        if path.suffix == ".csv":
            return rocprof(path, steps)
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            data = read_within(file, MOST_BYTES)
        if data is None:
            raise ValueError(f"more than {MOST_BYTES >> 30} GiB")
        return torch(path.name, jsons.loads(data)["traceEvents"])
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise BadInput(f"{path}: not a trace ({type(error).__name__}: {error})", "vLLM's *.pt.trace.json.gz, or rocprofv3's *_kernel_trace.csv") from None


def torch(source: str, events: Sequence[dict[str, Any]]) -> Trace:
    """A torch trace's decode steps; BadInput where it holds none."""
    timed = [one for one in events if one.get("ph") == "X" and "dur" in one]
    marks = sorted({(float(one["ts"]), float(one["dur"]), one["name"]) for one in timed if one.get("cat") == "user_annotation" and STEP.match(one["name"])})
    if not any(decodes(mark[2]) for mark in marks):
        raise BadInput(f"{source} holds no decode step", "more --steps, or a longer --osl: the requests ended before the profile began")
    kernels = [one for one in timed if one.get("cat") in DEVICE]
    return Trace(source, True, tuple(on_device(marks, timed, kernels))) if kernels else Trace(source, False, tuple(on_cpu(marks, timed)))


def decodes(name: str) -> int:
    """How many requests a step decodes; 0 for a step that also prefills."""
    found = STEP.match(name)
    return int(found[2]) if found and int(found[1]) == 0 else 0


Mark = tuple[float, float, str]
"""(start, length, name) of an annotation."""


def on_device(marks: Sequence[Mark], timed: Sequence[dict[str, Any]], kernels: Sequence[dict[str, Any]]) -> Iterable[Step]:
    """Steps of a GPU: kernels joined to annotations by the call that launched them."""
    launched = {one["args"]["correlation"]: float(one["ts"]) for one in timed if one.get("cat") in LAUNCH and "correlation" in one.get("args", {})}
    starts = [mark[0] for mark in marks]
    own: list[list[dict[str, Any]]] = [[] for _ in marks]
    for kernel in kernels:
        at = launched.get(kernel.get("args", {}).get("correlation"), float(kernel["ts"]))
        place = bisect.bisect_right(starts, at) - 1
        # What is launched between two annotations (the sampler of the step before) belongs to the step before.
        if place >= 0:
            own[place].append(kernel)
    for number, (mark, inside) in enumerate(zip(marks, own, strict=True)):
        conc = decodes(mark[2])
        if not conc or not inside:
            continue
        begin = min(float(one["ts"]) for one in inside)
        end = max(float(one["ts"]) + float(one["dur"]) for one in inside)
        following = next((part for part in own[number + 1 :] if part), None)
        until = min(float(one["ts"]) for one in following) if following else end
        spans = [(float(one["ts"]), float(one["ts"]) + float(one["dur"])) for one in inside]
        step = Step(conc, max(until, end) - begin if not following else until - begin, union(spans))
        for one in inside:
            step.kernels[one["name"]] += float(one["dur"])
        yield step


def on_cpu(marks: Sequence[Mark], timed: Sequence[dict[str, Any]]) -> Iterable[Step]:
    """Steps of a CPU: the operators' own time on the thread of the annotation."""
    threads = {one["tid"] for one in timed if one.get("cat") == "user_annotation" and STEP.match(one["name"])}
    operators = sorted((float(one["ts"]), -float(one["dur"]), one["name"]) for one in timed if one.get("cat") == "cpu_op" and one["tid"] in threads)
    starts = [operator[0] for operator in operators]
    for number, (begin, length, name) in enumerate(marks):
        conc = decodes(name)
        if not conc:
            continue
        until = marks[number + 1][0] if number + 1 < len(marks) else begin + length
        inside = [(at, -minus, label) for at, minus, label in operators[bisect.bisect_left(starts, begin) : bisect.bisect_left(starts, until)]]
        step = Step(conc, until - begin, union([(at, min(at + took, until)) for at, took, _ in inside]))
        step.kernels.update(own_time(inside))
        yield step


def own_time(operators: Sequence[tuple[float, float, str]]) -> Times:
    """Time by operator without what it calls. operators: (start, length, name), outer before inner."""
    found: Times = defaultdict(float)
    stack: list[tuple[float, str]] = []  # (end, name) of those that are open
    for at, took, name in operators:
        while stack and at >= stack[-1][0]:
            stack.pop()
        if stack:
            found[stack[-1][1]] -= took
        found[name] += took
        stack.append((at + took, name))
    return found


def union(spans: Iterable[tuple[float, float]]) -> float:
    """The length that spans cover together."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def rocprof(path: Path, steps: int | None) -> Trace:
    """rocprofv3 --kernel-trace's CSV (nanoseconds): all of it as ``steps`` equal steps."""
    if not steps:
        raise BadInput(f"{path.name}: rocprofv3 knows no steps", "--steps N says how many decode steps the trace holds")
    with path.open(newline="", encoding="utf-8") as source:
        rows = [(row["Kernel_Name"], int(row["Start_Timestamp"]) / 1000, int(row["End_Timestamp"]) / 1000) for row in csv.DictReader(source)]
    if not rows:
        raise BadInput(f"{path.name} holds no kernel", "rocprofv3 --kernel-trace --output-format csv")
    wall = max(row[2] for row in rows) - min(row[1] for row in rows)
    times: Times = defaultdict(float)
    for name, begin, end in rows:
        times[name] += end - begin
    one = Step(0, wall / steps, union((begin, end) for _, begin, end in rows) / steps)
    one.kernels.update({name: took / steps for name, took in times.items()})
    return Trace(path.name, True, (one,) * steps)
