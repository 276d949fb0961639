"""add + RMSNorm + router in plain float32 torch, with vLLM's places of rounding to bf16."""

from __future__ import annotations

import torch

from tunefork.kernels.moe_a16w4.reference import route
from tunefork.kernels.skinny.reference import add_norm_reference, linear_reference


def add_norm_route_reference(
    x: torch.Tensor, residual: torch.Tensor, norm_weight: torch.Tensor, eps: float, router: torch.Tensor, bias: torch.Tensor, topk: int = 4
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """-> (normed bf16, x + residual bf16, logits (M, E) float32 of the rounded norm, ids (M, topk), gates (M, topk)) of those logits in bf16."""
    normed, both = add_norm_reference(x, residual, norm_weight, eps)
    normed = normed.bfloat16()
    logits = linear_reference(normed, router, bias)
    ids, gates = route(logits.bfloat16(), topk)
    return normed, both, logits, ids, gates
