"""The products in plain float32 torch, with vLLM's places of rounding to bf16: what every kernel is compared with."""

from __future__ import annotations

import torch


def add_norm_reference(x: torch.Tensor, residual: torch.Tensor | None, weight: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(M, K) bf16 -> (float32 norm, bf16 x + residual). Source: RMSNorm (Zhang, Sennrich 2019) as vLLM's ``RMSNorm`` computes it."""
    both = x if residual is None else (x.float() + residual.float()).bfloat16()
    wide = both.float()
    return wide * torch.rsqrt(wide.square().mean(1, keepdim=True) + eps) * weight.float(), both


def linear_reference(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None, residual: torch.Tensor | None = None) -> torch.Tensor:
    """(M, K), (N, K) -> (M, N) float32: x W^T + bias + residual."""
    out = x.float() @ weight.float().T
    out = out if bias is None else out + bias.float()
    return out if residual is None else out + residual.float()
