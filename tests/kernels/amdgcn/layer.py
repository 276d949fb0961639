"""The MoE layer as gfx950 machine code on CPU tensors, at any size: what this folder's tests of the layer share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tunefork.kernels.amdgcn.driver import Device, on_gfx950
from tunefork.kernels.moe_a16w4 import LayerConfig, Weights, fused_moe, prepare_weights
from tunefork.kernels.moe_a16w4.launch import Workspace
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference

Plain = tuple[torch.Tensor, ...]
TOPK = 4
TOLERANCE = 4e-3


def plain_weights(hidden: int, inter: int, experts: int, seed: int = 0, scales: tuple[int, int] = (119, 123)) -> Plain:
    gen = torch.Generator().manual_seed(seed)

    def matrix(rows: int, cols: int) -> Plain:
        return (torch.randint(0, 256, (experts, rows, cols // 2), dtype=torch.uint8, generator=gen),
                torch.randint(*scales, (experts, rows, -(-cols // 32)), dtype=torch.uint8, generator=gen),
                torch.randn(experts, rows, generator=gen).bfloat16())

    return (*matrix(2 * inter, hidden), *matrix(hidden, inter))


def run_layer(
    plain: Plain, x: torch.Tensor, logits: torch.Tensor, config: LayerConfig, *, live: int | None = None,
    change: Callable[[str], str] | None = None, track: bool = False, weights: Weights | None = None, **options: Any,
) -> tuple[float, torch.Tensor, Device]:  # fmt: skip
    """-> relative error of the live rows, the poisoned output, the device. change: of a kernel's text; weights: what runs in the place of ``plain``."""
    rows = x.shape[0] if live is None else live
    out = torch.full_like(x, float("nan"))
    space = Workspace(torch.full((8 << 20,), 255, dtype=torch.uint8))
    count = None if live is None else torch.tensor([live], dtype=torch.int32)
    with on_gfx950(program_filter=change, track_touched=track, most_steps=400_000) as device:
        fused_moe(x, logits, weights or prepare_weights(*plain, arch="gfx950"), TOPK, out=out, workspace=space, config=config, num_live=count, **options)
    want = fused_moe_reference(x[:rows], logits[:rows], plain, TOPK, **options)
    return float((out[:rows].float() - want).norm() / want.norm()), out, device
