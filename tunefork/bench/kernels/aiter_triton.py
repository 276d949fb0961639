"""AITER's Triton A16W4 MoE (moe_gemm_a16w4, v0.1.19) as a peer, on AMD as it is; on NVIDIA without the three AMD launch arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tunefork.bench.kernels.cases import TOPK, Plain

_AMD_ONLY = ("waves_per_eu", "matrix_instr_nonkdim", "kpack")


class _WithoutAmdArguments:
    """A Triton kernel that ignores launch arguments only AMD's compiler knows."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        return lambda *args, **kwargs: self.kernel[grid](*args, **{k: v for k, v in kwargs.items() if k not in _AMD_ONLY})


def aiter_layer(plain: Plain, alpha: float, limit: float) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """routing + two GEMMs (SwiGLU in the first, gates and the grouped sum in the second).

    Sizes along N must be multiples of its block_n (up to 512), as vLLM's padding to 256 on ROCm makes them; a padded output is cut.
    """
    from aiter.ops.triton.moe import moe_op_gemm_a16w4 as op
    from aiter.ops.triton.moe.moe_routing.routing import routing

    if torch.version.hip is None and not isinstance(op._moe_gemm_a16w4, _WithoutAmdArguments):
        op._moe_gemm_a16w4 = _WithoutAmdArguments(op._moe_gemm_a16w4)
    w13, s13, b13, w2, s2, b2 = plain
    # K along the rows, and contiguous: a view of the plain weights.
    first = (w13.transpose(1, 2), s13.transpose(1, 2), b13.float())
    second = (w2.transpose(1, 2), s2.transpose(1, 2), b2.float())

    def run(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        data, gather, scatter = routing(logits, TOPK)
        h = op.moe_gemm_a16w4(x, first[0], None, first[1], bias=first[2], routing_data=data, gather_indx=gather, apply_swiglu=True,
                              alpha=alpha, limit=limit)
        out: torch.Tensor = op.moe_gemm_a16w4(h, second[0], None, second[1], bias=second[2], routing_data=data, scatter_indx=scatter,
                                              gammas=data.gate_scal)
        return out[:, : x.shape[1]]

    return run
