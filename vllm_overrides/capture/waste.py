"""What a list of capture sizes costs a workload: rows of padding, bytes or time of padding, and steps that find no graph."""

from __future__ import annotations

from dataclasses import dataclass

from vllm_overrides.capture.cost import Cost
from vllm_overrides.capture.rules import Settled
from vllm_overrides.capture.workload import Workload


@dataclass(frozen=True)
class Waste:
    """Decode steps under one list. A step's weight is its time without padding, the same for every list.

    rows: rows of padding per live row, weighted (sum w * (padded - live) / sum w * live).
    time: expected increase of step time by padding (sum of padded times / sum of times without padding - 1).
    eager: share of decode time in steps that find no graph: they have no padding and count as such in `rows` and `time`.
    piecewise: share of decode time in steps that run PIECEWISE for want of a FULL graph.
    graphs: sizes captured.  full: of them, graphs for decode steps.
    """

    rows: float
    time: float
    eager: float
    piecewise: float
    graphs: int
    full: int


def waste(settled: Settled, workload: Workload, cost: Cost) -> Waste:
    """Evaluate a list, as the server settles it, on a workload's decode steps."""
    live = padding = base = longer = eager = piecewise = 0.0
    for rows, steps in workload.decode.items():
        weight = steps * cost.seconds(rows, rows)
        size = settled.padded(rows)
        base += weight
        live += weight * rows
        if size is None:
            eager += weight
            continue
        padding += weight * (size - rows)
        longer += steps * cost.seconds(rows, size) - weight
        piecewise += 0.0 if settled.is_full(rows) else weight
    return Waste(padding / live, longer / base, eager / base, piecewise / base, len(settled.piecewise), len(settled.full))
