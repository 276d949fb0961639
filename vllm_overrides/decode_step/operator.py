"""``torch.ops.tunefork.add_norm_moe`` and ``torch.ops.tunefork.skinny_linear``: what torch.compile sees as boxes of known shapes."""

from __future__ import annotations

from functools import cache

import torch

from tunefork.kernels.add_norm_router import add_norm_moe, make_done
from tunefork.kernels.moe_a16w4 import Weights
from tunefork.kernels.moe_a16w4.device import target
from tunefork.kernels.skinny import linear
from tunefork.kernels.skinny.config import wins
from tunefork.kernels.skinny.launch import add_norm
from vllm_overrides.moe_a16w4.live import live_rows
from vllm_overrides.moe_a16w4.operator import define, layouts, moe_a16w4

MOST_TOKENS = 16  # above, torch's router was faster (docs/decode-step.md)
MOE = (
    "add_norm_moe(Tensor x, Tensor residual, Tensor norm, float eps, Tensor router, Tensor router_bias, Tensor w13, Tensor s13, Tensor b13, Tensor w2, "
    "Tensor s2, Tensor b2, int intermediate, int topk, str arch, bool wide13, bool wide2) -> (Tensor, Tensor)"
)
LINEAR = "skinny_linear(Tensor x, Tensor weight, Tensor? bias=None) -> Tensor"


@cache
def done(device: torch.device) -> torch.Tensor:
    """The counter that all blocks of a device share; they run one after another."""
    return make_done(device)


def add_norm_moe_op(
    x: torch.Tensor,  # (M, H) bf16
    residual: torch.Tensor,  # (M, H) bf16
    norm: torch.Tensor,
    eps: float,
    router: torch.Tensor,  # (E, H) bf16
    router_bias: torch.Tensor,
    w13: torch.Tensor,  # w13 to b2: the tensors of a prepared Weights
    s13: torch.Tensor,
    b13: torch.Tensor,
    w2: torch.Tensor,
    s2: torch.Tensor,
    b2: torch.Tensor,
    intermediate: int,
    topk: int,
    arch: str,
    wide13: bool,
    wide2: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """-> (MoE(RMSNorm(x + residual)), x + residual), (M, H) bf16 both. Rows of padding of a FULL graph hold nothing in the first."""
    from vllm.forward_context import get_forward_context, is_forward_context_available

    counter = done(x.device)  # made in vLLM's profiling run, before a graph is captured
    live = live_rows(get_forward_context() if is_forward_context_available() else None, x.device)
    if 0 < x.shape[0] <= MOST_TOKENS:
        weights = Weights(w13, s13, b13, w2, s2, b2, *layouts(arch, x.shape[1], intermediate, wide13, wide2))
        return add_norm_moe(x, residual, norm, eps, router, router_bias, weights, topk, done=counter, num_live=live)
    normed, both = add_norm(x, residual, norm, eps)
    logits = torch.nn.functional.linear(normed, router, router_bias)
    return moe_a16w4(normed, logits, w13, s13, b13, w2, s2, b2, intermediate, topk, arch, wide13, wide2, None, live), both


def add_norm_moe_fake(x: torch.Tensor, residual: torch.Tensor, *_arguments: object) -> tuple[torch.Tensor, torch.Tensor]:
    """The shapes of the results."""
    return x.new_empty(x.shape), residual.new_empty(residual.shape)


def skinny_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """(M, K), (N, K) -> (M, N): ours where it was measured to be faster, else torch's."""
    if x.dim() == 2 and x.stride(1) == 1 and x.dtype == torch.bfloat16 and wins(target().arch, weight.shape[0], weight.shape[1], x.shape[0]):
        return linear(x, weight, bias)
    return torch.nn.functional.linear(x, weight, bias)


def ever_wins(weight: torch.Tensor) -> bool:
    """Whether ``skinny_linear`` would take any step's product with (N, K) from torch."""
    return any(wins(target().arch, weight.shape[0], weight.shape[1], tokens) for tokens in range(1, MOST_TOKENS + 1))


def skinny_linear_fake(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """The shape of the result."""
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


@cache
def register(dispatch_key: str) -> None:
    """Define the operators, once in a process."""
    define(MOE, add_norm_moe_op, add_norm_moe_fake, dispatch_key)
    define(LINEAR, skinny_linear, skinny_linear_fake, dispatch_key)
