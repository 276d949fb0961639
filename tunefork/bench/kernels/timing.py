"""Timing by graph replay: several calls per graph with rotated inputs, implementations interleaved in random order, bootstrap over rounds."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tunefork.base.errors import first_line

ROUNDS = 24


@dataclass(frozen=True)
class Timed:
    """Microseconds per call: median over rounds, its 95 % bootstrap interval, and the rounds."""

    us: float
    us_lo: float
    us_hi: float
    rounds: tuple[float, ...]


def interval(rounds: Sequence[float], draws: int = 2000) -> Timed:
    """Median and 95 % percentile-bootstrap interval over rounds."""
    values = np.asarray(rounds)
    picks = np.median(np.random.default_rng(0).choice(values, (draws, len(values))), axis=1)
    low, high = np.percentile(picks, [2.5, 97.5])
    return Timed(float(np.median(values)), float(low), float(high), tuple(float(v) for v in values))


def capture(calls: Sequence[Callable[[], object]]) -> torch.cuda.CUDAGraph:
    """One graph of all calls, after an eager pass that compiles and warms up."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for call in calls:
            call()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    return graph


def told(error: Exception) -> str:
    """An error as one line of at most 200 characters behind its kind."""
    return f"{type(error).__name__}: {first_line(error)[:200]}"


def compare(
    candidates: Mapping[str, Sequence[Callable[[], object]]], rounds: int = ROUNDS, seed: int = 0, failed: Callable[[str, str], None] | None = None
) -> dict[str, Timed]:
    """Time each candidate's calls; every round replays all of them, in random order and then in the reverse of it. A candidate that cannot be captured
    is given to `failed` with the reason and left out; without `failed` its error is raised."""
    graphs = {}
    for name, calls in candidates.items():
        try:
            graphs[name] = capture(calls), len(calls)
        except Exception as caught:
            if failed is None:
                raise
            failed(name, told(caught))
    taken: dict[str, list[float]] = {name: [] for name in graphs}
    rng = random.Random(seed)
    for _ in range(2):
        for graph, _count in graphs.values():
            graph.replay()
    for _ in range(rounds // 2):
        order = list(graphs)
        rng.shuffle(order)
        for name in (*order, *reversed(order)):
            graph, count = graphs[name]
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            graph.replay()
            end.record()
            end.synchronize()
            taken[name].append(begin.elapsed_time(end) * 1000 / count)
    return {name: interval(values) for name, values in taken.items()}
