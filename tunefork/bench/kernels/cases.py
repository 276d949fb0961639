"""What is measured: GPT-OSS-120B's MoE layer at a tensor-parallel size and a number of tokens, on random weights, activations and logits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.moe_a16w4 import Weights, prepare_weights

HIDDEN, INTERMEDIATE, EXPERTS, TOPK = MODEL.hidden, MODEL.intermediate, MODEL.experts, MODEL.topk
# A cycle over the rotated inputs moves at least this much, several times the L2 of an H200 (60 MB).
CYCLE_BYTES = 512 << 20
MAX_CALLS = 48
Call = Callable[[], torch.Tensor]
Plain = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class MoeProblem:
    """One row of a table."""

    tp: int
    tokens: int

    @property
    def intermediate(self) -> int:
        """I of one rank."""
        return INTERMEDIATE // self.tp


def random_plain(tp: int, device: str, experts: int = EXPERTS, seed: int = 0) -> Plain:
    """Plain MXFP4 weights of one rank; scales around 2**-6, so that activations stay in range."""
    gen = torch.Generator(device).manual_seed(seed)
    inter = INTERMEDIATE // tp

    def matrix(rows: int, cols: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        values = torch.randint(0, 256, (experts, rows, cols // 2), dtype=torch.uint8, device=device, generator=gen)
        scales = torch.randint(118, 122, (experts, rows, -(-cols // 32)), dtype=torch.uint8, device=device, generator=gen)
        return values, scales, torch.randn(experts, rows, device=device, generator=gen).bfloat16()

    return (*matrix(2 * inter, HIDDEN), *matrix(HIDDEN, inter))


def copies(tp: int) -> int:
    """How many layers of weights to rotate over."""
    layer = EXPERTS * 3 * HIDDEN * (INTERMEDIATE // tp) * 17 // 32
    return max(2, -(-CYCLE_BYTES // layer))


def clone_weights(weights: Weights) -> Weights:
    """The same weights at another address."""
    return replace(weights, w13=weights.w13.clone(), s13=weights.s13.clone(), b13=weights.b13.clone(), w2=weights.w2.clone(), s2=weights.s2.clone(),
                   b2=weights.b2.clone())


def layers(plain: Plain, tp: int) -> list[Weights]:
    """Prepared weights, several times."""
    first = prepare_weights(*plain)
    return [first] + [clone_weights(first) for _ in range(copies(tp) - 1)]


def inputs(problem: MoeProblem, device: str, count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(x, logits) for `count` calls, all different. A row of logits is the normal distribution's quantiles, shuffled and scaled: no two are equal in
    bf16, where implementations would choose differently."""
    gen = torch.Generator(device).manual_seed(1000 * problem.tp + problem.tokens)
    quantiles = torch.special.ndtri((torch.arange(EXPERTS, device=device) + 0.5) / EXPERTS)

    def logits() -> torch.Tensor:
        order = torch.rand(problem.tokens, EXPERTS, device=device, generator=gen).argsort(1)
        scale = 0.5 + torch.rand(problem.tokens, 1, device=device, generator=gen)
        return (quantiles[order] * scale).bfloat16()

    return [(torch.randn(problem.tokens, HIDDEN, device=device, generator=gen).bfloat16(), logits()) for _ in range(count)]


def hit_experts(logits: torch.Tensor) -> int:
    """Distinct experts that some token chose."""
    return int(logits.float().topk(TOPK, 1).indices.unique().numel())


def hit_bytes(problem: MoeProblem, hit: float) -> int:
    """Unpadded bytes of values and scales of that many experts."""
    inter = problem.intermediate
    w13 = 2 * inter * (HIDDEN // 2 + HIDDEN // 32)
    w2 = HIDDEN * (inter // 2 + -(-inter // 32))
    return int(hit * (w13 + w2))


def calls(problem: MoeProblem) -> int:
    """Layer calls per timed graph."""
    hit = min(EXPERTS, problem.tokens * TOPK)
    return max(copies(problem.tp), min(MAX_CALLS, -(-CYCLE_BYTES // hit_bytes(problem, hit))))
