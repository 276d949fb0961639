"""Layers of other shapes and other routings than `tunefork.bench.kernels.cases` has, for our kernels and the peers alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from tunefork.bench.kernels import cases
from tunefork.kernels.moe_a16w4 import Weights, prepare_weights

ROUTINGS = ("even", "zipf", "hot")


@dataclass(frozen=True)
class Cell:
    """One cell to time. inter: of this rank. routing: "even" (each token its own random experts), "zipf" (expert e as likely as 1 / (e + 1)), "hot" (nine
    of ten tokens have four experts in common)."""

    hidden: int
    inter: int
    experts: int
    topk: int
    tokens: int
    routing: str = "even"

    def __str__(self) -> str:
        return f"H{self.hidden} I{self.inter} E{self.experts} top{self.topk} M{self.tokens} {self.routing}"


def plain_of(cell: Cell, device: str) -> cases.Plain:
    """Random MXFP4 weights, scales around 2**-6."""
    gen = torch.Generator(device).manual_seed(0)

    def matrix(rows: int, cols: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        values = torch.randint(0, 256, (cell.experts, rows, cols // 2), dtype=torch.uint8, device=device, generator=gen)
        scales = torch.randint(118, 122, (cell.experts, rows, -(-cols // 32)), dtype=torch.uint8, device=device, generator=gen)
        return values, scales, torch.randn(cell.experts, rows, device=device, generator=gen).bfloat16()

    return (*matrix(2 * cell.inter, cell.hidden), *matrix(cell.hidden, cell.inter))


def copies_of(cell: Cell, plain: cases.Plain) -> list[Weights]:
    """Prepared weights, as often as a cycle past the L2 needs."""
    first = prepare_weights(*plain)
    size = cell.experts * 3 * cell.hidden * cell.inter * 17 // 32
    return [first] + [cases.clone_weights(first) for _ in range(max(2, -(-cases.CYCLE_BYTES // size)) - 1)]


def logits_of(cell: Cell, device: str, gen: torch.Generator) -> torch.Tensor:
    """(M, E) bf16 whose top experts are the routing's; the values of a row are quantiles, no two equal."""
    noise = -torch.log(-torch.log(torch.rand(cell.tokens, cell.experts, device=device, generator=gen).clamp(1e-9, 1 - 1e-7)))
    if cell.routing == "zipf":  # Gumbel noise over log-probabilities draws without replacement
        noise = noise - torch.log(torch.arange(1, cell.experts + 1, device=device))
    if cell.routing == "hot":
        chosen = torch.rand(cell.tokens, device=device, generator=gen) < 0.9
        noise[:, : cell.topk] += 1e3 * chosen[:, None]
    quantiles = torch.special.ndtri((torch.arange(cell.experts, device=device) + 0.5) / cell.experts)
    rank = noise.argsort(1).argsort(1)
    return (quantiles[rank] * (0.5 + torch.rand(cell.tokens, 1, device=device, generator=gen))).bfloat16()


def inputs_of(cell: Cell, device: str, count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """(x, logits) for `count` calls, all different."""
    gen = torch.Generator(device).manual_seed(1000 + cell.tokens)
    return [(torch.randn(cell.tokens, cell.hidden, device=device, generator=gen).bfloat16(), logits_of(cell, device, gen)) for _ in range(count)]


@contextmanager
def topk_of_peers(topk: int) -> Iterator[None]:
    """The peers' modules take GPT-OSS's number of experts per token from a name of their own: another for a while."""
    from tunefork.bench.kernels import aiter_triton, humming, marlin, peers

    modules = (aiter_triton, humming, marlin, peers)
    try:
        for module in modules:
            vars(module)["TOPK"] = topk
        yield
    finally:
        for module in modules:
            vars(module)["TOPK"] = cases.TOPK
