"""A workload as the planner sees it: how many steps run at which number of rows.

A closed-loop benchmark (CONC clients, each sends its next request when the last one is answered) is simulated step by step, from the
first request to the last: the ramp at the start, the gap between two requests of a client, and the tail where clients run out.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush

from vllm_overrides.capture.rules import Limits
from vllm_overrides.errors import OverrideError


@dataclass(frozen=True)
class Workload:
    """Steps by their rows.

    decode: rows -> steps in which every request decodes.  mixed: rows -> steps that hold prefill.  source: where it comes from.
    """

    decode: Mapping[int, int]
    mixed: Mapping[int, int] = field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        for rows, steps in (*self.decode.items(), *self.mixed.items()):
            if rows < 1 or steps < 0:
                raise OverrideError(f"{self.source}: {rows} rows in {steps} steps is no entry of a histogram", "rows >= 1, steps >= 0")
        if not any(self.decode.values()):
            raise OverrideError(f"{self.source}: the workload has no decode step", "a trace of a server at work")


@dataclass(frozen=True)
class Traffic:
    """One closed-loop run.

    conc: clients.  isl, osl: longest prompt and answer, in tokens.  range_ratio: lengths are drawn from [ratio * longest, longest],
    so that 1.0 fixes them.  prompts: requests in all (0: 10 per client).  turnaround: steps a client sits out between two requests.
    tokens_per_step: tokens that a request gains in a decode step; above 1 with accepted speculation.
    """

    conc: int
    isl: int = 1024
    osl: int = 1024
    range_ratio: float = 1.0
    prompts: int = 0
    turnaround: int = 1
    tokens_per_step: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.conc, self.isl) < 1 or self.osl < 2 or not 0 < self.range_ratio <= 1:
            raise OverrideError(f"no traffic: conc={self.conc} isl={self.isl} osl={self.osl} range_ratio={self.range_ratio}",
                                "conc and isl of 1 or more, osl of 2 or more, a range_ratio in (0, 1]")
        if self.prompts < 0 or self.turnaround < 0 or self.tokens_per_step < 1:
            raise OverrideError(f"no traffic: prompts={self.prompts} turnaround={self.turnaround} tokens_per_step={self.tokens_per_step}",
                                "prompts and turnaround of 0 or more, tokens_per_step of 1 or more")


def merge(workloads: Iterable[Workload]) -> Workload:
    """Several runs on one server: their steps added up."""
    decode: Counter[int] = Counter()
    mixed: Counter[int] = Counter()
    sources = []
    for workload in workloads:
        decode.update(workload.decode)
        mixed.update(workload.mixed)
        sources.append(workload.source)
    return Workload(dict(sorted(decode.items())), dict(sorted(mixed.items())), "; ".join(sources))


def closed_loop(traffic: Traffic, limits: Limits) -> Workload:
    """Simulate a run under vLLM's scheduling: decodes first, then chunks of prompts in order of arrival, within both limits."""
    run = _Run(traffic, limits)
    while run.step_on():
        pass
    source = f"simulated: closed loop, CONC {traffic.conc}, {traffic.isl}/{traffic.osl}"
    return Workload(dict(sorted(run.decode.items())), dict(sorted(run.mixed.items())), source)


class _Run:
    """State of one simulation. Decode steps between two events are counted at once."""

    def __init__(self, traffic: Traffic, limits: Limits) -> None:
        self.traffic, self.limits = traffic, limits
        self.random = random.Random(traffic.seed)
        self.unsent = traffic.prompts or 10 * traffic.conc
        self.now = 0
        self.arrivals = [0, *[1] * (min(traffic.conc, self.unsent) - 1)]  # the first request starts a step alone, the rest arrive during it
        self.unsent -= len(self.arrivals)
        self.waiting: deque[int] = deque()  # prompt tokens that are left, in order of arrival
        self.last_steps: list[int] = []  # of each decoding request, the last step it takes part in
        self.decode: Counter[int] = Counter()
        self.mixed: Counter[int] = Counter()

    def length(self, longest: int) -> int:
        return self.random.randint(max(1, round(longest * self.traffic.range_ratio)), longest)

    def step_on(self) -> bool:
        """One step with prefill, or all decode steps until the next event. False when nothing is left."""
        while self.arrivals and self.arrivals[0] <= self.now:
            heappop(self.arrivals)
            self.waiting.append(self.length(self.traffic.isl))
        rows = len(self.last_steps) * self.limits.query_len
        prompt_rows, finished_prompts = self.prefill(self.limits.max_num_batched_tokens - rows)
        if prompt_rows:
            self.mixed[rows + prompt_rows] += 1
            self.now += 1
        elif self.last_steps:
            until = self.last_steps[0] + 1
            if self.arrivals:
                until = min(until, self.arrivals[0])
            self.decode[rows] += until - self.now
            self.now = until
        elif self.arrivals:
            self.now = self.arrivals[0]
        else:
            return False
        self.retire()
        for _ in range(finished_prompts):
            steps = -(-(max(2, self.length(self.traffic.osl)) - 1) // self.traffic.tokens_per_step)
            heappush(self.last_steps, self.now + int(steps) - 1)
        return True

    def prefill(self, budget: int) -> tuple[int, int]:
        """Take chunks of the waiting prompts. Returns the rows taken and the number of prompts completed."""
        rows = completed = 0
        places = self.limits.decode_rows // self.limits.query_len - len(self.last_steps)
        for _ in range(min(places, len(self.waiting))):
            if budget <= 0:
                break
            chunk = min(budget, self.waiting[0])
            budget, rows = budget - chunk, rows + chunk
            if chunk < self.waiting[0]:
                self.waiting[0] -= chunk
                break
            self.waiting.popleft()
            completed += 1
        return rows, completed

    def retire(self) -> None:
        """Requests whose last step is over leave; each client sends its next one after the turnaround."""
        while self.last_steps and self.last_steps[0] < self.now:
            heappop(self.last_steps)
            if self.unsent:
                self.unsent -= 1
                heappush(self.arrivals, self.now + self.traffic.turnaround)
