"""What can be known of the layer without a GPU: the shipped configuration of each problem computes the right thing, as gfx950 machine code.

Executed instruction by instruction on the CPU, at the smallest sizes that run all of the configuration's code. Nothing is timed.
"""

from __future__ import annotations

from collections.abc import Iterable

from tunefork.base.errors import TuneforkError
from tunefork.bench.kernels import cases
from tunefork.bench.kernels.measure import TOLERANCE, LayerTime
from tunefork.kernels.arch import GFX950

CHIP = "none: gfx950 machine code, executed on the CPU"
NOT_TIMED = "NOT TIMED: no GPU here. Correctness was checked by executing the gfx950 machine code; no row says anything about speed."


def check(tps: Iterable[int], tokens: Iterable[int]) -> list[LayerTime]:
    """One untimed row for each problem. Errors: TuneforkError where a configuration is wrong."""
    from tunefork.kernels.amdgcn.driver import on_gfx950
    from tunefork.kernels.moe_a16w4.config import table
    from tunefork.kernels.registry import relative_error

    rows = []
    for problem in (cases.MoeProblem(tp, count) for tp in tps for count in tokens):
        row = next(row for row in table(GFX950.name) if row.intermediate == problem.intermediate and row.tokens >= problem.tokens)
        with on_gfx950():
            error = relative_error(row, GFX950.name)
        if not error <= TOLERANCE:
            raise TuneforkError(f"the layer is wrong at TP {problem.tp}, M {problem.tokens}: relative error {error:.2e}, at most {TOLERANCE:.0e}",
                                "python3 build.py kernels gate")
        hit = cases.EXPERTS * (1 - (1 - cases.TOPK / cases.EXPERTS) ** problem.tokens)
        rows.append(LayerTime("moe_a16w4", problem.tp, problem.tokens, "ours", None, None, None, cases.hit_bytes(problem, hit), None, CHIP, error))
    return rows
