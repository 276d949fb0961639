"""pytest microbenchmarks of the MoE layer: `pytest bench/kernels/bench_moe_a16w4.py -s` prints the table of the GPU at hand.

Each problem is checked against the float32 reference before it is timed, and fails where it is slower than the best peer that can be imported.
"""

from __future__ import annotations

import pytest
import torch

from tunefork.bench.kernels import cases, peers
from tunefork.bench.kernels.check import check
from tunefork.bench.kernels.measure import QUICK_TOKENS, TOLERANCE, LayerTime, best_peer, measure_problem, table
from tunefork.kernels.moe_a16w4.weights import Weights

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="NOT TIMED: no GPU here; only the correctness part ran")
Setup = tuple[int, cases.Plain, list[Weights], dict[str, peers.Layer]]


@pytest.fixture(scope="module", params=[8, 1], ids=["tp8", "tp1"])
def setup(request: pytest.FixtureRequest) -> Setup:
    plain = cases.random_plain(request.param, "cuda")
    return request.param, plain, cases.layers(plain, request.param), peers.available(plain)


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU every problem is checked where it is timed")
@pytest.mark.parametrize("tp", [8, 1])
@pytest.mark.parametrize("tokens", QUICK_TOKENS)
def test_layer_is_right_without_a_gpu(tp: int, tokens: int) -> None:
    (row,) = check([tp], [tokens])
    assert row.error is not None and row.error <= TOLERANCE and row.us is None


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("tokens", QUICK_TOKENS)
def test_layer_is_no_slower_than_any_peer(setup: Setup, tokens: int) -> None:
    tp, plain, layers, found = setup
    rows: list[LayerTime] = measure_problem(cases.MoeProblem(tp, tokens), plain, layers, found)
    print("\n" + table(rows))
    ours, peer = next(row for row in rows if row.impl == "ours"), best_peer(rows, tp, tokens)
    if peer is None:
        pytest.skip("no peer can be imported here (put triton_kernels on PYTHONPATH): timed, not compared")
    assert ours.us is not None and peer.us is not None and ours.us <= peer.us
