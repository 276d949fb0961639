"""The simulated run: against a simulation that takes one step at a time, and what must be conserved."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from vllm_overrides.capture.rules import Limits
from vllm_overrides.capture.workload import Traffic, Workload, closed_loop, merge
from vllm_overrides.errors import OverrideError


def one_step_at_a_time(traffic: Traffic, limits: Limits) -> tuple[Counter[int], Counter[int]]:
    """Every request an entry in a list, every step a pass over it; fixed lengths only."""
    decode: Counter[int] = Counter()
    mixed: Counter[int] = Counter()
    unsent = traffic.prompts or 10 * traffic.conc
    arrivals = [0] + [1] * (min(traffic.conc, unsent) - 1)
    unsent -= len(arrivals)
    prompts: list[int] = []
    answers: list[float] = []
    step = 0
    while arrivals or prompts or answers:
        prompts += [traffic.isl for arrival in arrivals if arrival <= step]
        arrivals = [arrival for arrival in arrivals if arrival > step]
        budget = limits.max_num_batched_tokens - len(answers) * limits.query_len
        most = min(limits.max_num_seqs, limits.max_num_batched_tokens // limits.query_len)
        taken = completed = 0
        for at in range(min(len(prompts), most - len(answers))):
            chunk = min(prompts[at], budget - taken)
            prompts[at] -= chunk
            taken += chunk
            completed += prompts[at] == 0
        prompts = [left for left in prompts if left]
        if taken:
            mixed[taken + len(answers) * limits.query_len] += 1
        elif answers:
            decode[len(answers) * limits.query_len] += 1
        answers = [left - traffic.tokens_per_step for left in answers]
        for _ in range(sum(left <= 0 for left in answers)):
            if unsent:
                unsent -= 1
                arrivals.append(step + 1 + traffic.turnaround)
        answers = [left for left in answers if left > 0] + [traffic.osl - 1] * completed
        step += 1
    return decode, mixed


def test_equals_one_step_at_a_time() -> None:
    pick = random.Random(7)
    for _ in range(60):
        limits = Limits(pick.choice([3, 8, 64]), pick.choice([64, 200, 2048]), pick.choice([0, 0, 2]))
        traffic = Traffic(
            pick.randint(1, 12), pick.choice([1, 50, 300]), pick.choice([2, 7, 40]), prompts=pick.choice([0, 1, 5]),
            turnaround=pick.choice([0, 1, 4]), tokens_per_step=pick.choice([1.0, 2.0]),
        )  # fmt: skip
        run = closed_loop(traffic, limits)
        decode, mixed = one_step_at_a_time(traffic, limits)
        assert (run.decode, run.mixed) == (dict(sorted(decode.items())), dict(sorted(mixed.items()))), (traffic, limits)


@pytest.mark.parametrize("ratio", [1.0, 0.8])
def test_every_token_is_in_some_step(ratio: float) -> None:
    """One row per prompt token and per answer token but the first, which the prompt's last chunk yields."""
    traffic = Traffic(8, 100, 50, range_ratio=ratio)
    run = closed_loop(traffic, Limits(max_num_batched_tokens=256))
    rows = sum(rows * steps for kind in (run.decode, run.mixed) for rows, steps in kind.items())
    assert rows <= 80 * (100 + 49) and rows >= 80 * ratio * (100 + 49) * 0.98
    assert (rows == 80 * 149) == (ratio == 1.0)


def test_ramp_up_and_ramp_down() -> None:
    run = closed_loop(Traffic(4, 100, 50, range_ratio=0.5), Limits())
    assert set(run.decode) == {1, 2, 3, 4}
    assert run.decode[4] > 0.7 * sum(run.decode.values())
    assert max(run.mixed) <= 4 + 3 * 100


def test_the_server_bounds_the_batch() -> None:
    assert max(closed_loop(Traffic(32, 100, 50), Limits(max_num_seqs=5)).decode) == 5
    assert max(closed_loop(Traffic(32, 1, 50), Limits(max_num_batched_tokens=20, num_speculative_tokens=2)).decode) == 18


def test_the_same_every_time() -> None:
    assert closed_loop(Traffic(9, range_ratio=0.8), Limits()) == closed_loop(Traffic(9, range_ratio=0.8), Limits())


def test_runs_on_one_server_add_up() -> None:
    both = merge([Workload({4: 10}, {100: 1}, "a"), Workload({4: 5, 8: 1}, {}, "b")])
    assert both == Workload({4: 15, 8: 1}, {100: 1}, "a; b")


@pytest.mark.parametrize("wrong", [{"conc": 0}, {"osl": 1}, {"range_ratio": 0.0}, {"range_ratio": 1.1}, {"turnaround": -1}, {"tokens_per_step": 0.5}])
def test_refuses_what_is_no_traffic(wrong: dict[str, float]) -> None:
    with pytest.raises(OverrideError, match=next(iter(wrong))):
        Traffic(**({"conc": 4} | wrong))  # type: ignore[arg-type]


def test_refuses_what_is_no_workload() -> None:
    with pytest.raises(OverrideError, match="no decode step"):
        Workload({4: 0}, {100: 1})
    with pytest.raises(OverrideError, match="0 rows in 3 steps"):
        Workload({0: 3})
