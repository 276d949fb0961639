"""The optimum: equal to brute force, and what holds for every instance."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pytest

from vllm_overrides.capture.cost import ByteModel, TableModel
from vllm_overrides.capture.optimum import PICO, Problem, solve
from vllm_overrides.capture.rules import Limits, default_sizes, guide_sizes, settle
from vllm_overrides.capture.waste import waste
from vllm_overrides.capture.workload import Traffic, Workload, closed_loop
from vllm_overrides.errors import OverrideError


def random_problem(seed: int) -> Problem:
    """A small instance: up to 6 row counts, dips in measured times, speculation, prefill steps, limits, prices, compile gains."""
    pick = random.Random(seed)
    limits = Limits(pick.choice([6, 12]), 64, pick.choice([0, 0, 1, 2]))
    requests = pick.sample(range(1, 7), pick.randint(1, 4))
    decode = {n * limits.query_len: pick.choice([0, 1, 3, 50, 400]) for n in requests} | {requests[0] * limits.query_len: 20}
    mixed = {rows: pick.randint(1, 60) for rows in pick.sample(range(1, 41), pick.randint(0, 2))}
    seconds = sorted(pick.uniform(0.001, 0.01) for _ in range(5))
    if seed % 3 == 0:
        pick.shuffle(seconds)
    table = TableModel(tuple(zip((1, 4, 7, 16, 64), seconds, strict=True)), "random", pick.choice([0.0, 0.02]), pick.choice([(), ((5, 0.03), (30, 0.0))]))
    cost: Any = pick.choice([table, ByteModel(), ByteModel(padding="one-row")])
    gain = pick.choice([0.0, 0.05])
    return Problem(
        Workload(decode, mixed), cost, limits, price=pick.choice([0.0, 0.01, 0.3]), graph_seconds=0.5,
        max_graphs=pick.choice([None, 1, 2, 3]), compile_gain=gain, compile_seconds=0.4, cover=pick.choice([0, 0, 6]),
    )  # fmt: skip


def objective(problem: Problem, sizes: tuple[int, ...]) -> tuple[int, int, int] | None:
    """The score of a set of sizes, from its definition and step by step; None where it is not allowed."""
    query, limits = problem.limits.query_len, problem.limits
    decode = {rows: steps for rows, steps in problem.workload.decode.items() if steps}
    holding = [size for size in sizes if size >= max([*decode, problem.cover * query])]
    if not holding or min(holding) > limits.decode_rows or any(size % query for size in sizes if size <= limits.decode_rows):
        return None
    used = dict.fromkeys(sizes, 0)
    time = padding = 0
    for kind, steps_by_rows in (("decode", decode), ("mixed", problem.workload.mixed)):
        for rows, steps in steps_by_rows.items():
            fitting = [size for size in sizes if size >= rows]
            if not fitting:
                time += steps * round((problem.cost.seconds(rows, rows) + problem.cost.eager(rows)) * PICO)
                continue
            size = min(fitting)
            if kind == "decode" and size > limits.max_num_seqs * query:
                return None
            spent = steps * round(problem.cost.seconds(rows, size) * PICO)
            time += spent
            used[size] += spent if kind == "decode" else 0
            padding += steps * (size - rows)
    for spent in used.values():
        saved = round(spent * problem.compile_gain) - round(problem.price * problem.compile_seconds * PICO)
        time += -max(0, saved) + round(problem.price * problem.graph_seconds * PICO)
    return time, len(sizes), padding


# Seed 173 alone takes three quarters of the time of all: the most subsets.
@pytest.mark.parametrize("seed", [pytest.param(seed, marks=pytest.mark.slow) if seed == 173 else seed for seed in range(200)])
def test_equals_brute_force(seed: int) -> None:
    """Over every subset of a range of sizes that is wider than what the search considers."""
    problem = random_problem(seed)
    query = problem.limits.query_len
    rows = {*problem.workload.decode, *problem.workload.mixed, problem.cover * query, problem.limits.decode_rows, 64, 5}
    if isinstance(problem.cost, TableModel):
        rows |= {point for point, _ in problem.cost.points[1:]} | {one - 1 for one in (*problem.workload.decode, *problem.workload.mixed)}
    sizes = sorted({side for one in rows for side in (one // query * query, -(-one // query) * query, one) if 0 < side <= 64})
    best = min(
        (score, chosen)
        for count in range(1, min(len(sizes), problem.max_graphs or 99) + 1)
        for chosen in combinations(sizes, count)
        if (score := objective(problem, chosen)) is not None
    )
    found = solve(problem)
    assert found.score == best[0]
    assert objective(problem, found.sizes) == best[0]
    assert found.sizes == best[1]


@dataclass(frozen=True)
class Flat:
    """A cost that padding does not change."""

    source: str = "flat"
    eager_seconds: float = 0.0

    def seconds(self, live: int, padded: int) -> float:
        return 0.001

    def eager(self, rows: int) -> float:
        return 0.0

    def extra_sizes(self) -> tuple[int, ...]:
        return ()


def test_ties_go_to_fewer_sizes_then_to_less_padding() -> None:
    workload = Workload({1: 5, 2: 5, 3: 1, 4: 5})
    assert solve(Problem(workload, Flat(), Limits(), price=0)).sizes == (4,)
    two = solve(Problem(Workload({1: 1, 2: 1, 3: 1}), Flat(), Limits(), price=0, max_graphs=2))
    assert two.sizes == (3,)


def test_a_dip_in_measured_times_is_captured_though_no_step_has_that_size() -> None:
    table = TableModel(((1, 0.004), (5, 0.009), (8, 0.005)), "dips at 8")
    assert solve(Problem(Workload({5: 100}), table, Limits())).sizes == (8,)
    assert solve(Problem(Workload({5: 100}), table, Limits(max_num_seqs=6))).sizes == (6,)


def test_without_a_price_nothing_is_padded() -> None:
    workload = closed_loop(Traffic(16, range_ratio=0.8), Limits())
    plan = solve(Problem(workload, ByteModel(), Limits(), price=0))
    assert waste(settle(plan.sizes, Limits()), workload, ByteModel()).rows == 0
    assert plan.sizes == tuple(sorted(workload.decode))


@pytest.mark.parametrize("conc", [4, 8, 16, 32, 128])
@pytest.mark.parametrize("ratio", [0.8, 1.0])
def test_no_list_beats_the_plan_on_the_objective(conc: int, ratio: float) -> None:
    """The plan's time and start-up together, against those of the default list and of the guide's."""
    limits = Limits(max_num_seqs=128)
    workload = closed_loop(Traffic(conc, range_ratio=ratio), limits)
    problem = Problem(Workload(workload.decode), ByteModel(), limits)
    found = solve(problem)
    for sizes in (default_sizes(limits), guide_sizes()):
        assert found.score < (objective(problem, tuple(size for size in sizes if size <= 128)) or (0, 0, 0))


@pytest.mark.slow
def test_more_graphs_never_cost_more() -> None:
    problem = Problem(closed_loop(Traffic(24, range_ratio=0.8), Limits()), ByteModel(), Limits())
    scores = [solve(replace(problem, max_graphs=most)).score[0] for most in (1, 2, 4, 8, 16, 32)]
    assert scores == sorted(scores, reverse=True) and scores[0] > scores[-1]
    assert [len(solve(replace(problem, max_graphs=most)).sizes) for most in (1, 2, 4)] == [1, 2, 4]


def test_steps_with_prefill_are_captured_where_leaving_graphs_costs() -> None:
    workload = Workload({4: 1000}, {40: 100})
    eager = replace(ByteModel(), eager_seconds=0.004)
    assert solve(Problem(workload, ByteModel(), Limits())).sizes == (4,)
    assert solve(Problem(workload, eager, Limits())).sizes == (4, 40)
    priced = TableModel(((1, 0.004), (4096, 0.1)), "here", 0.05, ((1024, 0.05), (2048, 0.0)))
    assert solve(Problem(Workload({4: 1000}, {1024: 100, 4096: 100}), priced, Limits())).sizes == (4, 1024)


def test_what_is_compiled() -> None:
    workload = Workload({4: 100_000, 3: 2000})
    def plan(gain: float) -> Any:
        return solve(Problem(workload, ByteModel(), Limits(), compile_gain=gain, compile_seconds=10))
    assert plan(0.0).compile_sizes == ()
    assert plan(0.01).compile_sizes == (4,)
    assert plan(0.5).compile_sizes == (3, 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_graphs": 0}, "the limit is 0"),
        ({"price": -1.0}, "0 or more"),
        ({"compile_gain": 1.0}, "compile_gain"),
        ({"cover": 17}, "cover=17"),
        ({"workload": Workload({17: 1})}, "17 rows, the server's widest is 16"),
    ],
)
def test_refuses_what_no_server_can_do(change: dict[str, Any], message: str) -> None:
    problem = Problem(Workload({4: 1}), ByteModel(), Limits(max_num_seqs=16))
    with pytest.raises(OverrideError, match=message):
        replace(problem, **change)


def test_cover_adds_a_graph_for_what_the_workload_lacks() -> None:
    assert solve(Problem(Workload({4: 10_000}), ByteModel(), Limits(), cover=32)).sizes == (4, 32)


def test_cover_is_a_decode_graph_also_where_prefill_has_larger_ones() -> None:
    limits = Limits(max_num_seqs=32, max_num_batched_tokens=4096)
    table = TableModel(((1, 0.004), (4096, 0.1)), "here", eager_seconds=0.05)
    workload = Workload({4: 10_000}, {1024: 100})
    assert solve(Problem(workload, table, limits)).sizes == (4, 1024)
    found = solve(Problem(workload, table, limits, cover=20)).sizes
    assert found == (4, 20, 1024)
    assert settle(found, limits).is_full(20) and settle(found, limits).padded(20) == 20


def test_prefill_sizes_need_not_be_whole_requests() -> None:
    """A server that speculates, whose commonest step with prefill is as wide as a step can be."""
    limits = Limits(max_num_seqs=32, max_num_batched_tokens=4096, num_speculative_tokens=2)
    table = TableModel(((1, 0.004), (4096, 0.1)), "here", eager_seconds=0.05)
    found = solve(Problem(Workload({12: 1000}, {4096: 100}), table, limits)).sizes
    assert found == (12, 4096)
    settled = settle(found, limits)
    assert settled.mixed(4096) == 4096 and settled.full == (12,) and not any("whole requests" in note for note in settled.notes)
