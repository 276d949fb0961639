"""``torch.ops.tunefork.add_norm_moe``, ``skinny_linear`` and ``qkv_rope_cache``: what torch.compile sees as boxes of known shapes."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

from tunefork.kernels.add_norm_router import add_norm_moe, make_done
from tunefork.kernels.moe_a16w4 import Weights
from tunefork.kernels.moe_a16w4.device import target
from tunefork.kernels.qkv_rope import QkvShape, fuses, rope_cache
from tunefork.kernels.qkv_rope import qkv_rope_cache as fused
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
QKV = (
    "qkv_rope_cache(Tensor x, Tensor? residual, Tensor norm, float eps, Tensor weight, Tensor? bias, Tensor positions, Tensor rope, "
    "{name} layer, Tensor(a!) q, Tensor(b!)? both) -> ()"
)


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


def qkv_rope_cache(
    x: torch.Tensor,  # (M, H) bf16; without a residual what is projected, else what is added to it and normalised
    residual: torch.Tensor | None,
    norm: torch.Tensor,
    eps: float,
    weight: torch.Tensor,  # (N, H) bf16
    bias: torch.Tensor | None,
    positions: torch.Tensor,  # [M] int64
    rope: torch.Tensor,  # (positions, D): cos, then sin
    layer: Any,  # the attention layer's name
    q: torch.Tensor,  # (M, heads, D) bf16 or fp8: written, rotated
    both: torch.Tensor | None,  # (M, H): x + residual is written; None without a residual
) -> None:
    """q and x + residual come into tensors of the caller's, k and v into the layer's pages, of tokens that have a slot.

    Nothing is returned: the operator runs between the pieces of a PIECEWISE graph, and the next piece reads where it read when it was captured.
    """
    from vllm.model_executor.layers.attention.attention import get_attention_context
    from vllm.platforms import current_platform
    from vllm.utils.torch_utils import _resolve_layer_name

    _, attention, cache, slots = get_attention_context(_resolve_layer_name(layer))
    if slots is None or cache.dim() != 4:  # vLLM sizes its memory: there are no pages yet
        slots, cache = positions.new_empty(0), x.new_empty(1, attention.num_kv_heads, 1, 2 * attention.head_size)
    elif attention.kv_cache_dtype.startswith("fp8"):
        cache = cache.view(current_platform.fp8_dtype())
    scales = (attention._k_scale, attention._v_scale, attention._q_scale)
    if residual is not None:
        x, _ = add_norm(x, residual, norm, eps, both=both)
    rows = q.view(q.shape[0], -1)
    shape = QkvShape(x.shape[1], attention.num_heads, attention.num_kv_heads, attention.head_size, cache.shape[2], bias=bias is not None)
    if fuses(target().arch, shape, x.shape[0]):
        fused(x, weight, bias, positions, rope, slots, cache, scales, out=rows)
        return
    if current_platform.is_rocm():
        qkv = torch.ops.vllm.rocm_unquantized_gemm(x, weight, bias)
    else:
        qkv = torch.nn.functional.linear(x, weight, bias)
    rope_cache(qkv, positions, rope, slots, cache, scales, out=rows)


def qkv_rope_cache_fake(*_arguments: object) -> None:
    """It has no results."""


def layer_name_type() -> str:
    """What a layer's name is in an operator's schema: a string, or vLLM's own type around one (torch 2.11 on)."""
    from torch.library import infer_schema
    from vllm.utils.torch_utils import LayerNameType

    def probe(layer: Any) -> None: ...

    probe.__annotations__ = {"layer": LayerNameType, "return": None}
    schema: str = infer_schema(probe, mutates_args=())
    return schema.partition("(")[2].partition(" layer")[0]


@cache
def register(dispatch_key: str) -> None:
    """Define the operators, once in a process."""
    define(QKV.format(name=layer_name_type()), qkv_rope_cache, qkv_rope_cache_fake, dispatch_key)
    define(MOE, add_norm_moe_op, add_norm_moe_fake, dispatch_key)
    define(LINEAR, skinny_linear, skinny_linear_fake, dispatch_key)
