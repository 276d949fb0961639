"""GPT-OSS's block with our operators: vLLM's modules, weights and loading, another forward."""

from __future__ import annotations

from typing import Any

import torch
from vllm import envs
from vllm.distributed import tensor_model_parallel_all_reduce
from vllm.model_executor.layers.linear import UnquantizedLinearMethod
from vllm.model_executor.models.gpt_oss import TransformerBlock
from vllm.platforms import current_platform

from vllm_overrides.decode_step import attention, operator
from vllm_overrides.decode_step.coverage import refusal
from vllm_overrides.moe_a16w4.method import say_once


class SkinnyLinearMethod(UnquantizedLinearMethod):  # type: ignore[misc]
    """vLLM's weights and loading; few tokens take our product where it was measured to be faster (NVIDIA only)."""

    def apply(self, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        if envs.VLLM_BATCH_INVARIANT:
            found: torch.Tensor = super().apply(layer, x, bias)
            return found
        return torch.ops.tunefork.skinny_linear(x, layer.weight, bias)


class DecodeBlock(TransformerBlock):  # type: ignore[misc]
    """A block whose first add, norm, qkv projection, RoPE and cache write are one operator, and second add, norm, router and experts another."""

    def __init__(self, vllm_config: Any, *words: Any, **named: Any) -> None:
        super().__init__(vllm_config, *words, **named)
        self.use(vllm_config)

    def use(self, vllm_config: Any) -> None:
        """Decide whether ours serves, once, and say why not."""
        self.refused = refusal(vllm_config, self)
        if self.refused:
            say_once(f"decode_step: vLLM's own block serves, not ours: {self.refused}")
            return
        operator.register(current_platform.dispatch_key)
        why = attention.refusal(vllm_config, self.attn)
        self.attends = why is None
        if self.attends:
            attention.keep_out_of_pieces(vllm_config)
        else:
            say_once(f"decode_step: vLLM's own qkv projection, RoPE and cache write serve, not ours: {why}")
        if current_platform.is_cuda() and vllm_config.kernel_config.linear_backend == "auto":
            for layer in (self.attn.o_proj,) if self.attends else (self.attn.qkv_proj, self.attn.o_proj):
                # A box that would always be torch's gains nothing, and Inductor launches once more behind it (docs/serving-h200.md).
                if type(layer.quant_method) is UnquantizedLinearMethod and operator.ever_wins(layer.weight):
                    layer.quant_method = SkinnyLinearMethod()

    def forward(self, hidden_states: torch.Tensor, positions: torch.Tensor, residual: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """As vLLM's: (M, H), positions, (M, H) or None -> (output, residual)."""
        if self.refused:
            found: tuple[torch.Tensor, torch.Tensor] = super().forward(hidden_states, positions, residual)
            return found
        if self.attends:
            hidden_states, residual = attention.attend(self, hidden_states, residual, positions)
        else:
            if residual is None:
                residual = hidden_states
                hidden_states = self.input_layernorm(hidden_states)
            else:
                hidden_states, residual = self.input_layernorm(hidden_states, residual)
            hidden_states = self.attn(hidden_states, positions)
        norm, router, layer = self.post_attention_layernorm, self.mlp.router, self.mlp.experts.routed_experts
        method = layer.quant_method
        one = method.prepared
        output, residual = torch.ops.tunefork.add_norm_moe(
            hidden_states, residual, norm.weight, norm.variance_epsilon, router.weight, router.bias, layer.w13_weight, layer.w13_weight_scale, layer.w13_bias,
            layer.w2_weight, layer.w2_weight_scale, layer.w2_bias, one.intermediate, method.topk, one.layout13.arch, one.layout13.wide, one.layout2.wide,
        )  # fmt: skip
        if self.mlp.experts.moe_config.tp_size > 1:
            output = tensor_model_parallel_all_reduce(output)
        return output, residual
