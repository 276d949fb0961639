"""How long a decode step takes, as a function of its live rows and of the rows it is padded to.

Two models: bytes over bandwidth (modelled: the least time that reading the weights allows), and a table measured on the chip.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tunefork.base import jsons
from tunefork.kernels.arch import GFX950
from tunefork.kernels.model import GPT_OSS_120B, Model
from vllm_overrides.errors import OverrideError

# How rows of padding behave in the MoE. `independent`: each routes like a token of its own (the upper bound, and the default).
# `one-row`: they route alike, so together they read what one more token reads. docs/capture-plan.md holds both against a measurement.
PADDINGS = ("independent", "one-row")


Points = tuple[tuple[int, float], ...]  # (rows, seconds), rows ascending


class Cost(Protocol):
    """Seconds of a step; `eager_seconds` is what a step outside CUDA graphs takes longer at most; `source` says where it comes from."""

    @property
    def source(self) -> str: ...

    @property
    def eager_seconds(self) -> float: ...

    def seconds(self, live: int, padded: int) -> float:
        """Seconds of a step of ``live`` rows that runs as ``padded`` rows (padded >= live >= 1)."""

    def eager(self, rows: int) -> float:
        """Seconds that a step of ``rows`` takes longer outside CUDA graphs."""

    def extra_sizes(self) -> tuple[int, ...]:
        """The measured sizes, if a time falls as the batch grows: one may be worth capturing though no batch has it."""


@dataclass(frozen=True)
class ByteModel:
    """Weights read per step over bandwidth; every token picks ``topk`` experts at random.

    experts hit(M) = E * (1 - (1 - k/E)^M).  The KV cache is left out: padding reads none of it.

    tp: GPUs that share the weights.  bandwidth: bytes per second and GPU.  padding: one of PADDINGS.
    """

    shapes: Model = GPT_OSS_120B
    tp: int = 1
    bandwidth: float = GFX950.bandwidth
    padding: str = PADDINGS[0]
    eager_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.padding not in PADDINGS:
            raise OverrideError(f"rows of padding are {' or '.join(PADDINGS)}, got {self.padding!r}", PADDINGS[0])
        if self.tp < 1 or self.bandwidth <= 0:
            raise OverrideError(f"the byte model needs tp >= 1 and a positive bandwidth, got {self.tp} and {self.bandwidth}", "tp=1")

    @property
    def source(self) -> str:
        return f"modelled: weight bytes of {self.shapes.name} at TP {self.tp} over {self.bandwidth / 1e12:g} TB/s, padding {self.padding}"

    def experts_hit(self, rows: int) -> float:
        """Expected number of different experts that ``rows`` tokens pick in one layer."""
        return self.shapes.experts * (1 - (1 - self.shapes.topk / self.shapes.experts) ** rows)

    def seconds(self, live: int, padded: int) -> float:
        rows = padded if self.padding == "independent" else live + (padded > live)
        experts = self.shapes.layers * self.experts_hit(rows) * self.shapes.expert_bytes() / self.tp
        return (self.shapes.dense_bytes(self.tp) + experts) / self.bandwidth

    def eager(self, rows: int) -> float:
        return self.eager_seconds

    def extra_sizes(self) -> tuple[int, ...]:
        return ()


@dataclass(frozen=True)
class TableModel:
    """Measured seconds by padded size, linear in between.

    points: (rows, seconds), rows ascending. A size below the first point costs as much as it. Beyond the last, where only lists that a
    plan is compared with go (see `require`), the last slope goes on, unless it falls.
    eager_points: the price of a step outside CUDA graphs by rows, where it is not the same for all; constant outside its points.
    """

    points: Points
    source: str
    eager_seconds: float = 0.0
    eager_points: Points = ()

    def seconds(self, live: int, padded: int) -> float:
        last, seconds = self.points[-1]
        if padded <= last or len(self.points) == 1:
            return between(self.points, padded)
        before, earlier = self.points[-2]
        return seconds + max(0.0, (seconds - earlier) / (last - before)) * (padded - last)

    def eager(self, rows: int) -> float:
        return between(self.eager_points, rows) if self.eager_points else self.eager_seconds

    def require(self, decode: int, mixed: Iterable[int]) -> None:
        """Refuse a workload beyond the table: its widest decode step, and the widest with prefill for which a graph could pay."""
        last, widest = self.points[-1][0], max([decode, *(rows for rows in mixed if self.eager(rows))])
        if widest > last:
            kind, or_else = ("decode steps", "") if decode > last else ("steps with prefill", ", or leave eager_seconds out")
            said = f"{self.source}: the table ends at {last} rows, the workload has {kind} of up to {widest}"
            raise OverrideError(said, f"measure {widest} rows too{or_else}")

    def extra_sizes(self) -> tuple[int, ...]:
        seconds = [second for _, second in self.points]
        return () if seconds == sorted(seconds) else tuple(rows for rows, _ in self.points)


def between(points: Points, rows: int) -> float:
    """Linear between points, constant outside them."""
    at = bisect_left(points, (rows, 0.0))
    if at == len(points):
        return points[-1][1]
    here, seconds = points[at]
    if here == rows or at == 0:
        return seconds
    before, earlier = points[at - 1]
    return earlier + (seconds - earlier) * (rows - before) / (here - before)


def read_points(found: Any) -> Points:
    """``{"<rows>": <seconds>}`` as points."""
    return tuple(sorted((int(rows), float(seconds)) for rows, seconds in found.items()))


def read_table(path: Path) -> TableModel:
    """A measured table: ``{"seconds": {"<rows>": <seconds per step>, ...}, "eager_seconds": <optional>, "source": <optional>}``.

    ``eager_seconds`` is a number, or ``{"<rows>": <seconds>, ...}``.
    """
    expected = '{"seconds": {"1": 0.0041, "8": 0.0063, "4096": 0.12}, "eager_seconds": 0.004}'
    try:
        found: Any = jsons.loads(path.read_text())
        points, priced = read_points(found["seconds"]), found.get("eager_seconds", 0.0)
        eager = read_points(priced) if isinstance(priced, dict) else ((1, float(priced)),)
    except (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError) as error:
        raise OverrideError(f"{path} is no table of step times ({error})", f"a JSON file like {expected}") from None
    values, prices = [seconds for _, seconds in points], [seconds for _, seconds in eager]
    if not points or not eager or not all(map(math.isfinite, values + prices)) or points[0][0] < 1 or min(values) <= 0 or min(prices) < 0:
        raise OverrideError(f"{path}: rows and seconds must be positive and finite, and there must be some", f"a JSON file like {expected}")
    return TableModel(points, str(found.get("source", path)), max(prices), eager if len(eager) > 1 else ())
