"""Which blocks the kernels serve. Everything else is refused in words, and vLLM's own forward serves it.

The kernels end at the attention's input and begin behind its output, so that its backend and the KV cache's dtype do not matter.
"""

from __future__ import annotations

from typing import Any

from tunefork.kernels.add_norm_router import RouterShape, illegal, pick
from vllm_overrides.moe_a16w4.coverage import device_refusal


def refusal(config: Any, block: Any) -> str | None:
    """Why the block is vLLM's own, None where ours serves. config: VllmConfig. block: TransformerBlock, before its weights are loaded."""
    from vllm_overrides.moe_a16w4.method import A16w4MoEMethod

    mlp = block.mlp
    method, router, norm = mlp.experts.routed_experts.quant_method, mlp.router, block.post_attention_layernorm
    reasons = [
        (config.lora_config is not None, "LoRA adapts the projections and the router"),
        (not isinstance(method, A16w4MoEMethod), "the experts are not our kernel's: name moe_a16w4 in TUNEFORK_OVERRIDES, too"),
        (config.parallel_config.use_ubatching, "micro-batches run on two streams, which would share one counter"),
        (mlp.is_sequence_parallel, "sequence parallelism splits the tokens"),
        (mlp.experts.routed_experts.expert_map is not None, "expert parallelism: a rank has some of the experts only"),
        (str(getattr(router, "weight", None) is not None and router.weight.dtype) != "torch.bfloat16", "the router is quantised, or not bfloat16"),
        (getattr(router, "bias", None) is None, "the router has no bias, the kernel adds it"),
        (str(norm.weight.dtype) != "torch.bfloat16", f"the norm's weight is {norm.weight.dtype}, the kernel's is bfloat16"),
    ]
    if why := next((why for refused, why in reasons if refused), None):
        return why
    shape = RouterShape(router.weight.shape[1], router.weight.shape[0], method.topk)
    return illegal(pick("gfx950", shape, 1), shape, 1, "gfx950") or device_refusal()
