"""Waste, from its definition on a workload that fits on a line."""

from __future__ import annotations

import pytest

from vllm_overrides.capture.cost import TableModel
from vllm_overrides.capture.rules import Limits, settle
from vllm_overrides.capture.waste import waste
from vllm_overrides.capture.workload import Workload

TABLE = TableModel(((1, 0.001), (2, 0.002), (4, 0.004), (8, 0.008)), "rows in milliseconds")


def test_padding_is_weighted_by_time() -> None:
    """10 steps of 1 row (1 ms each) and 5 of 3 rows (3 ms): weights 10 and 15; in graphs of 2 and 4: 1 row of padding each."""
    found = waste(settle([2, 4], Limits()), Workload({1: 10, 3: 5}), TABLE)
    assert found.rows == pytest.approx((10 * 1 + 15 * 1) / (10 * 1 + 15 * 3))
    assert found.time == pytest.approx((10 * 2 + 5 * 4) / (10 * 1 + 5 * 3) - 1)
    assert (found.eager, found.piecewise, found.graphs, found.full) == (0, 0, 2, 2)


def test_steps_above_the_largest_size_have_no_padding_but_no_graph() -> None:
    found = waste(settle([2], Limits()), Workload({2: 10, 6: 10}), TABLE)
    assert (found.rows, found.time) == (0, pytest.approx(0))
    assert found.eager == pytest.approx(6 / 8)


def test_decode_steps_that_lose_full() -> None:
    """No FULL graph is wider than max_num_seqs, so steps of 5 and 6 take the PIECEWISE graph of 8."""
    found = waste(settle([4, 8], Limits(max_num_seqs=6)), Workload({4: 6, 6: 4}), TABLE)
    assert found.piecewise == pytest.approx(0.5)
    assert (found.graphs, found.full) == (2, 1)


def test_steps_with_prefill_do_not_count() -> None:
    limits = Limits()
    assert waste(settle([4], limits), Workload({4: 1}, {3: 9}), TABLE) == waste(settle([4], limits), Workload({4: 1}), TABLE)
