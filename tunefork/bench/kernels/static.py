"""A static estimate of one GEMM on an MI355X, to rank configurations where none can be timed. It is modelled: no number of it was measured.

The slowest of four limits: what the SIMDs must issue (llvm-mca's resource sums of a wave's main part), how long one wave takes by itself, how
many bytes are under way (waves x chunks in flight) against the memory's latency and bandwidth, and the activations that programs read again.
The chip's numbers are AMD's public ones; the latency and the cache bandwidth are assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tunefork.bench.kernels import cases
from tunefork.kernels.arch import GFX950
from tunefork.kernels.moe_a16w4.config import GemmConfig, MoeShape
from tunefork.kernels.moe_a16w4.plan import tiles

SIMDS = GFX950.cus * GFX950.simds
CLOCKS_PER_US = GFX950.clock
CLOCKS_PER_UNIT = 4  # llvm-mca counts a SIMD16 pass of a wave as one
MEMORY_LATENCY_US = 1.0
HBM_BYTES_PER_US = GFX950.bandwidth / 1e6
CACHE_BYTES_PER_US = 20e6
BESIDE = 0.05  # what is not the limit still counts a little, so that equals are told apart


@dataclass(frozen=True)
class WaveCost:
    """One wave's main part in llvm-mca's units: cycles alone, and the busiest resource. occupancy: waves per SIMD that fit."""

    cycles: float
    busy: float
    occupancy: int


def expected_experts(shape: MoeShape, tokens: int) -> float:
    """Distinct experts that uniformly routed tokens hit."""
    return shape.experts * (1 - (1 - shape.topk / shape.experts) ** tokens)


def programs(order: str, part: str, gemm: GemmConfig, shape: MoeShape, tokens: int) -> float:
    """Live programs: one column per distinct expert (slot up), per token (slot down), per block of rows (sorted)."""
    rows = 2 * shape.intermediate if part == "up" else shape.hidden
    hit = expected_experts(shape, tokens)
    if order == "sorted":
        columns = hit * max(1.0, math.ceil(tokens * shape.topk / hit / gemm.bm))
    else:
        columns = hit if part == "up" else float(tokens)
    return columns * tiles(rows, gemm) * gemm.split


def estimate(cost: WaveCost, order: str, part: str, gemm: GemmConfig, shape: MoeShape, tokens: int) -> float:
    """Modelled microseconds of one GEMM."""
    rows, cols = (2 * shape.intermediate, shape.hidden) if part == "up" else (shape.hidden, shape.intermediate)
    parts = gemm.wk * gemm.split // (shape.topk if (order, part) == ("slot", "down") else 1)
    chunks = math.ceil(cols // 128 / parts)
    groups = programs(order, part, gemm, shape, tokens)
    waves = groups * gemm.warps
    per_simd = waves / SIMDS
    resident = min(math.ceil(per_simd), cost.occupancy)
    unit_us = CLOCKS_PER_UNIT / CLOCKS_PER_US
    issue = math.ceil(per_simd) * cost.busy * unit_us
    alone = math.ceil(per_simd / cost.occupancy) * (cost.cycles * unit_us + MEMORY_LATENCY_US)
    flight = min(waves, resident * SIMDS) * min(gemm.unroll, max(chunks, 1)) * gemm.r * (1024 + 64)
    weights = expected_experts(shape, tokens) * rows * (cols / 2 + math.ceil(cols / 32))
    memory = weights / min(HBM_BYTES_PER_US, flight / MEMORY_LATENCY_US) + MEMORY_LATENCY_US
    live = min(gemm.bm, max(1.0, tokens * shape.topk / expected_experts(shape, tokens))) if (order, part) != ("slot", "down") else 1.0
    again = groups * gemm.wn * live * cols * 2 / CACHE_BYTES_PER_US
    limits = (issue, alone, memory, again)
    return max(limits) + BESIDE * sum(limits)


def shape_of(intermediate: int) -> MoeShape:
    return MoeShape(cases.HIDDEN, intermediate, cases.EXPERTS, cases.TOPK)
