"""GPT-OSS's MoE method with our kernel: vLLM's parameters and loading, our weights and operator."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from vllm.forward_context import get_forward_context, is_forward_context_available
from vllm.model_executor.layers.fused_moe import FusedMoEMethodBase
from vllm.model_executor.layers.fused_moe.oracle.mxfp4 import Mxfp4MoeBackend
from vllm.model_executor.layers.quantization.mxfp4 import GptOssMxfp4Config, GptOssMxfp4MoEMethod
from vllm.model_executor.utils import replace_parameter
from vllm.platforms import current_platform

from tunefork.base.upstream_facts.vllm import MOE_PARAMETERS, QUANTIZATION
from tunefork.kernels.moe_a16w4 import Weights, prepare_weights
from vllm_overrides.moe_a16w4 import BACKEND, operator
from vllm_overrides.moe_a16w4.ahead import capture_sizes, compile_ahead
from vllm_overrides.moe_a16w4.coverage import BLOCK, refusal
from vllm_overrides.moe_a16w4.live import live_rows
from vllm_overrides.registry import vllm_log

TENSORS = dict(zip(MOE_PARAMETERS, ("w13", "s13", "b13", "w2", "s2", "b2"), strict=True))
"""The layer's parameters, and which of the prepared tensors takes the place of each."""


class A16w4GptOssConfig(GptOssMxfp4Config):  # type: ignore[misc]
    """vLLM's configuration of GPT-OSS's MXFP4; the MoE method is ours where it covers the layer."""

    def _make_moe_method(self, moe: Any) -> Any:
        method, _ = method_or_reason(moe)
        return method or super()._make_moe_method(moe)


def method_or_reason(moe: Any) -> tuple[A16w4MoEMethod | None, str]:
    """(our method, "") for a FusedMoEConfig, or (None, why not), which is logged once for each reason."""
    why = refusal(moe, named=BACKEND)
    if why:
        say_once(f"moe_a16w4: vLLM's own MoE serves, not ours: {why}")
        return None, why
    return A16w4MoEMethod(moe), ""


@cache
def say_once(text: str) -> None:
    """A warning that all layers share."""
    vllm_log().warning("%s", text)


class A16w4MoEMethod(GptOssMxfp4MoEMethod):  # type: ignore[misc]
    """Creates and loads parameters as vLLM does, natively sized but for whole scale blocks, then prepares them for the kernel.

    It routes by itself ("monolithic"), so that routing, both GEMMs, the activation and the sum are three to five launches. With expert
    parallelism each rank computes its own experts' part, and vLLM adds the ranks up.
    """

    def __init__(self, moe: Any) -> None:
        FusedMoEMethodBase.__init__(self, moe)  # not the parent's, which would choose one of vLLM's backends
        self.weight_dtype = QUANTIZATION  # GPT-OSS's loader asks
        self.mxfp4_backend, self.experts_cls = Mxfp4MoeBackend.NONE, None
        self.topk, self.routed = int(moe.experts_per_token), int(moe.num_experts)
        self.prepared: Weights | None = None
        self.sizes = capture_sizes()
        operator.register(current_platform.dispatch_key)

    @property
    def is_monolithic(self) -> bool:
        return True

    def maybe_roundup_sizes(self, hidden_size: int, intermediate_size_per_partition: int, act_dtype: Any, moe_parallel_config: Any) -> tuple[int, int]:
        """Whole scale blocks, as GPT-OSS's loader cuts them (TP 8: 384 where 360 is a rank's share); vLLM's backends round up to 64 to 256."""
        return hidden_size, -(-intermediate_size_per_partition // BLOCK) * BLOCK

    def process_weights_after_loading(self, layer: Any) -> None:
        """Put the prepared tensors in the parameters' place; the plain ones are freed."""
        plain = [getattr(layer, name).data for name in MOE_PARAMETERS]
        self.prepared = prepare_weights(*plain)
        for parameter, tensor in TENSORS.items():
            replace_parameter(layer, parameter, getattr(self.prepared, tensor))
        compile_ahead(self.prepared, self.sizes, self.topk, self.routed if self.routed != self.prepared.experts else None)

    def get_fused_moe_quant_config(self, layer: Any) -> None:
        """None: no kernel of vLLM's is configured."""

    def apply_monolithic(self, layer: Any, x: torch.Tensor, router_logits: torch.Tensor, input_ids: torch.Tensor | None = None) -> torch.Tensor:
        """(M, H), (M, E) -> (M, H). Rows beyond the live ones of a padded graph are left as they are."""
        assert self.prepared is not None, "the weights are loaded before the first step"
        one = self.prepared
        context = get_forward_context() if is_forward_context_available() else None
        result: torch.Tensor = torch.ops.tunefork.moe_a16w4(
            x, router_logits, layer.w13_weight, layer.w13_weight_scale, layer.w13_bias, layer.w2_weight, layer.w2_weight_scale, layer.w2_bias,
            one.intermediate, self.topk, one.layout13.arch, one.layout13.wide, one.layout2.wide, layer.expert_map, live_rows(context, x.device),
        )  # fmt: skip
        return result
