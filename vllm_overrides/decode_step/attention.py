"""The way to attention: add, norm, qkv projection, RoPE and the KV-cache write as one operator, and what refuses it.

Attention itself and its launches stay vLLM's. k and v reach it by their pages alone, so only a backend that reads nothing else is served.
"""

from __future__ import annotations

from typing import Any

import torch
from vllm.model_executor.layers.linear import UnquantizedLinearMethod
from vllm.platforms import current_platform
from vllm.utils.torch_utils import _encode_layer_name

from tunefork.kernels.qkv_rope.config import QkvShape, unfit

BACKENDS = ("TRITON_ATTN", "ROCM_AITER_UNIFIED_ATTN")
"""Whose forward reads k and v from (blocks, kv_heads, page, 2 * D) pages alone, and whose cache write is an operator of its own. ROCM_AITER_FA is none: its
prefill reads k and v as they come."""
CACHES = ("auto", "bfloat16", "fp8", "fp8_e4m3")
OPERATOR = "tunefork::qkv_rope_cache"


def refusal(config: Any, attention: Any) -> str | None:
    """Why vLLM's own projection, RoPE and cache write stay, None where ours serves. attention: OAIAttention."""
    layer, rope, qkv = attention.attn, attention.rotary_emb, attention.qkv_proj
    backend = layer.attn_backend
    shape = QkvShape(attention.hidden_size, layer.num_heads, layer.num_kv_heads, layer.head_size, 16)
    parallel = config.parallel_config
    reasons = [
        (backend.get_name() not in BACKENDS, f"the attention backend is {backend.get_name()}, ours writes the pages of {', '.join(BACKENDS)}"),
        (backend.forward_includes_kv_cache_update, "this backend's forward writes the cache itself"),
        (getattr(layer.impl, "_shuffle_kv_layout", False), "the pages are shuffled"),
        (layer.kv_cache_dtype not in CACHES, f"the KV cache is {layer.kv_cache_dtype}, ours are {', '.join(CACHES)}"),
        (layer.kv_sharing_target_layer_name is not None, "another layer's cache is read"),
        (layer.head_size != layer.head_size_v, "v's heads have another size than k's"),
        (layer.attn_type != "decoder", f"the attention is an {layer.attn_type}'s"),
        (layer.use_direct_call, "attention is no operator on this platform"),
        (parallel.decode_context_parallel_size > 1 or parallel.prefill_context_parallel_size > 1, "context parallelism splits the cache's tokens"),
        (config.kv_transfer_config is not None, "a KV connector reads k and v on their way"),
        (not rope.is_neox_style or rope.rotary_dim != layer.head_size, "RoPE is no NeoX rotation of all of a head"),
        (type(qkv.quant_method) is not UnquantizedLinearMethod, f"the projection is {type(qkv.quant_method).__name__}'s"),
        (str(qkv.weight.dtype) != "torch.bfloat16", f"the projection is {qkv.weight.dtype}, the kernel's is bfloat16"),
        (layer.query_quant is not None and layer._q_scale.numel() != 1, "q has a scale per head"),
    ]
    return next((why for refused, why in reasons if refused), None) or unfit(shape)


def keep_out_of_pieces(config: Any) -> None:
    """A piece of a graph that is captured without attention may not hold the operator: its slots are one layer's and one step's, as those of vLLM's own."""
    names = config.compilation_config.splitting_ops
    if names and OPERATOR not in names:
        names.append(OPERATOR)


def attend(block: Any, hidden_states: torch.Tensor, residual: torch.Tensor | None, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(M, H), (M, H) or None -> (attention's output after its projection, x + residual). block: TransformerBlock."""
    attention, norm = block.attn, block.input_layernorm
    layer, qkv = attention.attn, attention.qkv_proj
    name = _encode_layer_name(layer.layer_name)
    first = residual is None
    if first:
        residual, hidden_states = hidden_states, norm(hidden_states)
    # Made here, in the piece before: the operator and attention run outside the pieces of a PIECEWISE graph, whose addresses are fixed.
    shape, both = (hidden_states.shape[0], layer.num_heads, layer.head_size), None if first else torch.empty_like(hidden_states)
    query = torch.empty(shape, dtype=hidden_states.dtype if layer.query_quant is None else current_platform.fp8_dtype(), device=hidden_states.device)
    output = torch.empty(shape, dtype=hidden_states.dtype, device=hidden_states.device)
    torch.ops.tunefork.qkv_rope_cache(
        hidden_states, None if first else residual, norm.weight, norm.variance_epsilon, qkv.weight, qkv.bias, positions, attention.rotary_emb.cos_sin_cache,
        name, query, both,
    )  # fmt: skip
    # k and v are in their pages: this backend does not look at what stands in their place.
    torch.ops.vllm.unified_attention_with_output(query, query, query, output, name)
    output, _ = attention.o_proj(output.view(-1, attention.q_size))
    return output, residual if both is None else both
