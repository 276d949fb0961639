"""The exact optimum: which sizes to capture, and which to compile, for a workload under a limit of graphs.

Sizes cut the row counts of the workload into intervals; every step of an interval is padded to its end. The cost of an interval does
not depend on the others, so the best plan that ends at a size follows from the best plans that end below it: O(n^2), or O(n^2 k)
where a limit of k sizes binds. Costs are whole picoseconds, so that sums are exact and ties are real; ties go to fewer sizes, then to
fewer rows of padding, then to the smaller sizes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from vllm_overrides.capture.cost import Cost
from vllm_overrides.capture.rules import Limits
from vllm_overrides.capture.workload import Workload
from vllm_overrides.errors import OverrideError

PICO = 10**12
Score = tuple[int, int, int]  # picoseconds, sizes, rows of padding


@dataclass(frozen=True)
class Problem:
    """What is minimised: seconds of all steps + price * seconds of start-up.

    price: what a second of start-up is worth, in seconds of serving (1: the workload is served once per start; 0.01: a hundred times).
    graph_seconds: start-up per size (its FULL and its PIECEWISE graph).  max_graphs: most sizes, None without limit.
    compile_gain: share of a decode step that a compiled size saves.  compile_seconds: start-up per compiled size.
    cover: requests that must find a decode graph though the workload has no step with so many.
    """

    workload: Workload
    cost: Cost
    limits: Limits
    price: float = 0.01
    graph_seconds: float = 0.5
    max_graphs: int | None = None
    compile_gain: float = 0.0
    compile_seconds: float = 0.0
    cover: int = 0

    def __post_init__(self) -> None:
        if min(self.price, self.graph_seconds, self.compile_seconds) < 0 or not 0 <= self.compile_gain < 1:
            raise OverrideError("price and seconds are 0 or more, and compile_gain lies in [0, 1)", "price=0 for serving alone")
        if self.max_graphs is not None and self.max_graphs < 1:
            raise OverrideError(f"at least one size must be captured, the limit is {self.max_graphs}", "--max-graphs 1 or more")
        limit = self.limits.decode_rows
        if self.widest > limit:
            raise OverrideError(f"the workload has decode steps of {self.widest} rows, the server's widest is {limit}", "raise max_num_seqs")
        if self.cover * self.limits.query_len > limit:
            raise OverrideError(f"cover={self.cover} exceeds the server's widest decode step, {limit} rows", "raise max_num_seqs")

    @property
    def widest(self) -> int:
        """Rows of the workload's widest decode step."""
        return max(rows for rows, steps in self.workload.decode.items() if steps)

    def size(self, rows: int, *, up: bool = True) -> int:
        """The next size of a graph: whole requests as far as decode steps go, any number of rows beyond (PIECEWISE graphs)."""
        if rows > self.limits.decode_rows:
            return rows
        return self.limits.rounded(rows) if up else rows // self.limits.query_len * self.limits.query_len

    def required(self) -> int:
        """Rows of the widest decode step that must find a FULL graph: the workload's, or ``cover`` requests."""
        return self.limits.rounded(max(self.widest, self.cover * self.limits.query_len))

    def candidates(self) -> list[int]:
        """Sizes among which an optimum is: those that steps have, and around the measured ones where times dip."""
        live = [rows for steps in (self.workload.decode, self.workload.mixed) for rows, count in steps.items() if count]
        found = {self.size(rows) for rows in [*live, self.required()]}
        measured = self.cost.extra_sizes()
        if measured:  # between two row counts of the steps a time is piecewise linear: its least is at an end, or beside a measured size
            sides = [*measured, *(rows - 1 for rows in live), self.limits.decode_rows, self.limits.max_num_batched_tokens]
            around = {self.size(rows) for rows in measured} | {self.size(rows, up=False) for rows in sides}
            found |= {size for size in around if size <= measured[-1]}
        return sorted(size for size in found if 0 < size <= self.limits.max_num_batched_tokens)


@dataclass(frozen=True)
class Optimum:
    """sizes: to capture, ascending.  compile_sizes: to compile, a subset.  score: the exact objective."""

    sizes: tuple[int, ...]
    compile_sizes: tuple[int, ...]
    score: Score


def plus(one: Score, other: Score) -> Score:
    """The sum of two scores; their order is lexicographic, which adding to both sides keeps."""
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


class Intervals:
    """The score of every interval of a problem."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.sizes = problem.candidates()
        steps = (problem.workload.decode, problem.workload.mixed)
        self.live = sorted({rows for kind in steps for rows, count in kind.items() if count})
        self.widest_full, self.required = problem.limits.decode_rows, problem.required()

    def ending_at(self, size: int) -> list[Score | None]:
        """Scores of the intervals that end at ``size`` and begin above 0, above the first candidate, and so on, all padded to ``size``.

        None where a decode step, or the widest one that is required, would have no FULL graph.
        """
        start = round(self.problem.price * self.problem.graph_seconds * PICO)
        scores: list[Score | None] = []
        decode = mixed = padding = 0
        upper = size
        for over in reversed([0, *(below for below in self.sizes if below < size)]):
            more = self.steps(size, over, upper)
            decode, mixed, padding, upper = decode + more[0], mixed + more[1], padding + more[2], over
            allowed = size <= self.widest_full or not (decode or over < self.required <= size)
            scores.append((decode + mixed - self.compiled(decode) + start, 1, padding) if allowed else None)
        return scores[::-1]

    def steps(self, size: int, over: int, upper: int) -> tuple[int, int, int]:
        """Steps of more than ``over`` and at most ``upper`` rows, padded to ``size``.

        Picoseconds of those that decode, picoseconds of those with prefill, rows of padding.
        """
        time = {"decode": 0, "mixed": 0}
        padding = 0
        for rows in self.live[bisect_left(self.live, over + 1) : bisect_left(self.live, upper + 1)]:
            seconds = round(self.problem.cost.seconds(rows, size) * PICO)
            for kind, steps in (("decode", self.problem.workload.decode), ("mixed", self.problem.workload.mixed)):
                time[kind] += steps.get(rows, 0) * seconds
                padding += steps.get(rows, 0) * (size - rows)
        return time["decode"], time["mixed"], padding

    def compiled(self, time: int) -> int:
        """What compiling a size saves whose decode steps take ``time``, start-up paid; 0 where it is not worth it."""
        saved = round(time * self.problem.compile_gain) - round(self.problem.price * self.problem.compile_seconds * PICO)
        return max(0, saved)

    def beyond(self, size: int) -> Score:
        """The steps of more than ``size`` rows, which run outside CUDA graphs; only steps with prefill do in a plan."""
        cost = self.problem.cost
        steps = ((rows, self.problem.workload.mixed.get(rows, 0)) for rows in self.live[bisect_left(self.live, size + 1) :])
        return sum(count * round((cost.seconds(rows, rows) + cost.eager(rows)) * PICO) for rows, count in steps if count), 0, 0


def solve(problem: Problem) -> Optimum:
    """The best sizes. Where the limit does not bind, the search without one already has the answer."""
    intervals = Intervals(problem)
    table = [intervals.ending_at(size) for size in intervals.sizes]
    free = unlimited(intervals, table)
    if problem.max_graphs is None or len(free) <= problem.max_graphs:
        return optimum(intervals, free)
    return optimum(intervals, limited(intervals, table, problem.max_graphs))


Best = tuple[Score, tuple[int, ...]]  # a score, and the sizes that reach it


def ends(intervals: Intervals, best: Sequence[Best | None]) -> tuple[int, ...]:
    """Of the best plans that end at each size, the best one whose last size is large enough."""
    required = intervals.problem.required()
    done = [
        (plus(found[0], intervals.beyond(size)), found[1])
        for size, found in zip(intervals.sizes, best, strict=True)
        if found is not None and size >= required
    ]
    return min(done)[1]


def unlimited(intervals: Intervals, table: Sequence[Sequence[Score | None]]) -> tuple[int, ...]:
    """The best sizes, however many."""
    best: list[Best | None] = []
    for size, row in zip(intervals.sizes, table, strict=True):
        best.append(extend(size, row, [((0, 0, 0), ()), *best]))
    return ends(intervals, best)


def limited(intervals: Intervals, table: Sequence[Sequence[Score | None]], most: int) -> tuple[int, ...]:
    """The best sizes, at most ``most`` of them: each round allows one more."""
    best: list[Best | None] = [None] * len(intervals.sizes)
    for _ in range(most):
        best = [extend(size, row, [((0, 0, 0), ()), *best]) for size, row in zip(intervals.sizes, table, strict=True)]
    return ends(intervals, best)


def extend(size: int, row: Sequence[Score | None], before: Sequence[Best | None]) -> Best | None:
    """The best plan that ends at ``size``, from the best plans that end below it and the scores of the intervals in between."""
    return min(
        ((plus(found[0], score), (*found[1], size)) for found, score in zip(before, row, strict=False) if found and score),
        default=None,
    )


def optimum(intervals: Intervals, sizes: tuple[int, ...]) -> Optimum:
    """A plan's score from its sizes, and which of them are worth compiling."""
    total, compiled = intervals.beyond(sizes[-1]), []
    start = round(intervals.problem.price * intervals.problem.graph_seconds * PICO)
    for over, size in zip((0, *sizes), sizes, strict=False):
        decode, mixed, padding = intervals.steps(size, over, size)
        saved = intervals.compiled(decode)
        total = plus(total, (decode + mixed - saved + start, 1, padding))
        if saved:
            compiled.append(size)
    return Optimum(sizes, tuple(compiled), total)
