"""How long a decode step takes, as a function of its live rows and of the rows it is padded to.

Two models: bytes over bandwidth (modelled: the least time that reading the weights allows), and a table measured on the chip.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from vllm_overrides.errors import OverrideError

# How rows of padding behave in the MoE. `independent`: each routes like a token of its own (the upper bound, and the default).
# `one-row`: they route alike, so together they read what one more token reads. docs/capture-plan.md holds both against a measurement.
PADDINGS = ("independent", "one-row")


class Cost(Protocol):
    """Seconds of a step; `eager_seconds` is what a step outside CUDA graphs takes longer; `source` says where it comes from."""

    @property
    def source(self) -> str: ...

    @property
    def eager_seconds(self) -> float: ...

    def seconds(self, live: int, padded: int) -> float:
        """Seconds of a step of ``live`` rows that runs as ``padded`` rows (padded >= live >= 1)."""

    def extra_sizes(self) -> tuple[int, ...]:
        """The measured sizes, if a time falls as the batch grows: one may be worth capturing though no batch has it."""


@dataclass(frozen=True)
class GptOss:
    """GPT-OSS-120B as its config.json says; weights bf16 but for the experts, which are MXFP4."""

    layers: int = 36
    hidden: int = 2880
    intermediate: int = 2880
    experts: int = 128
    top_k: int = 4
    heads: int = 64
    kv_heads: int = 8
    head_dim: int = 64
    vocabulary: int = 201088

    def expert_bytes(self) -> float:
        """One expert: gate, up and down matrices, 17 bytes per 32 values (16 of FP4, 1 of scale), and bf16 biases."""
        return 3 * self.hidden * self.intermediate * 17 / 32 + 2 * (2 * self.intermediate + self.hidden)

    def dense_bytes(self, tp: int) -> float:
        """What every step reads per GPU, in bytes: attention and head, split over ``tp`` GPUs, and the router, which is not."""
        attention = self.hidden * (2 * self.heads + 2 * self.kv_heads) * self.head_dim
        return 2 * (self.layers * (attention / tp + self.hidden * self.experts) + self.vocabulary * self.hidden / tp)


@dataclass(frozen=True)
class ByteModel:
    """Weights read per step over bandwidth; every token picks ``top_k`` experts at random.

    experts hit(M) = E * (1 - (1 - k/E)^M).  The KV cache is left out: padding reads none of it.

    tp: GPUs that share the weights.  bandwidth: bytes per second and GPU.  padding: one of PADDINGS.
    """

    shapes: GptOss = field(default_factory=GptOss)
    tp: int = 1
    bandwidth: float = 8e12  # MI355X: 8 TB/s of HBM3E
    padding: str = PADDINGS[0]
    eager_seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.padding not in PADDINGS:
            raise OverrideError(f"rows of padding are {' or '.join(PADDINGS)}, got {self.padding!r}", PADDINGS[0])
        if self.tp < 1 or self.bandwidth <= 0:
            raise OverrideError(f"the byte model needs tp >= 1 and a positive bandwidth, got {self.tp} and {self.bandwidth}", "tp=1")

    @property
    def source(self) -> str:
        return f"modelled: weight bytes of GPT-OSS-120B at TP {self.tp} over {self.bandwidth / 1e12:g} TB/s, padding {self.padding}"

    def experts_hit(self, rows: int) -> float:
        """Expected number of different experts that ``rows`` tokens pick in one layer."""
        return self.shapes.experts * (1 - (1 - self.shapes.top_k / self.shapes.experts) ** rows)

    def seconds(self, live: int, padded: int) -> float:
        rows = padded if self.padding == "independent" else live + (padded > live)
        experts = self.shapes.layers * self.experts_hit(rows) * self.shapes.expert_bytes() / self.tp
        return (self.shapes.dense_bytes(self.tp) + experts) / self.bandwidth

    def extra_sizes(self) -> tuple[int, ...]:
        return ()


@dataclass(frozen=True)
class TableModel:
    """Measured seconds by padded size, linear in between.

    points: (rows, seconds), rows ascending. A size below the first point costs as much as it. Beyond the last, where only lists that a
    plan is compared with go (see `require`), the last slope goes on, unless it falls.
    """

    points: tuple[tuple[int, float], ...]
    source: str
    eager_seconds: float = 0.0

    def seconds(self, live: int, padded: int) -> float:
        at = bisect_left(self.points, (padded, 0.0))
        if at == len(self.points):
            (before, earlier), (last, seconds) = self.points[-2:] if at > 1 else ((0, self.points[0][1]), self.points[0])
            return seconds + max(0.0, (seconds - earlier) / (last - before)) * (padded - last)
        rows, seconds = self.points[at]
        if rows == padded or at == 0:
            return seconds
        before, earlier = self.points[at - 1]
        return earlier + (seconds - earlier) * (padded - before) / (rows - before)

    def require(self, decode: int, mixed: int) -> None:
        """Refuse a workload beyond the table: its widest decode step, and, where a graph for it could pay, its widest with prefill."""
        last, widest = self.points[-1][0], max(decode, mixed if self.eager_seconds else 0)
        if widest > last:
            kind, or_else = ("decode steps", "") if decode > last else ("steps with prefill", ", or leave eager_seconds out")
            said = f"{self.source}: the table ends at {last} rows, the workload has {kind} of up to {widest}"
            raise OverrideError(said, f"measure {widest} rows too{or_else}")

    def extra_sizes(self) -> tuple[int, ...]:
        seconds = [second for _, second in self.points]
        return () if seconds == sorted(seconds) else tuple(rows for rows, _ in self.points)


def read_table(path: Path) -> TableModel:
    """A measured table: ``{"seconds": {"<rows>": <seconds per step>, ...}, "eager_seconds": <optional>, "source": <optional>}``."""
    expected = '{"seconds": {"1": 0.0041, "8": 0.0063, "4096": 0.12}, "eager_seconds": 0.004}'
    try:
        found: Any = json.loads(path.read_text())
        points = tuple(sorted((int(rows), float(seconds)) for rows, seconds in found["seconds"].items()))
        eager = float(found.get("eager_seconds", 0.0))
    except (OSError, ValueError, OverflowError, KeyError, TypeError, AttributeError) as error:
        raise OverrideError(f"{path} is no table of step times ({error})", f"a JSON file like {expected}") from None
    finite = all(math.isfinite(seconds) for seconds in (eager, *(seconds for _, seconds in points)))
    if not points or not finite or points[0][0] < 1 or min(seconds for _, seconds in points) <= 0 or eager < 0:
        raise OverrideError(f"{path}: rows and seconds must be positive and finite, and there must be some", f"a JSON file like {expected}")
    return TableModel(points, str(found.get("source", path)), eager)
