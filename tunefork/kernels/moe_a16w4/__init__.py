"""MXFP4 weights, bf16 activations: the MoE layer of GPT-OSS.

    weights = prepare_weights(w13, s13, b13, w2, s2, b2)
    y = fused_moe(x, router_logits, weights, topk=4)
"""

from typing import TYPE_CHECKING

from tunefork.kernels.deferred import exports
from tunefork.kernels.moe_a16w4.config import GemmConfig, LayerConfig, MoeShape, illegal, pick

if TYPE_CHECKING:
    from tunefork.kernels.moe_a16w4.launch import Workspace, fused_moe, make_workspace
    from tunefork.kernels.moe_a16w4.weights import Weights, prepare_weights, restore_weights

__all__ = [
    "GemmConfig", "LayerConfig", "MoeShape", "Weights", "Workspace", "fused_moe", "illegal", "make_workspace", "pick", "prepare_weights",
    "restore_weights",
]  # fmt: skip

# What runs needs torch and triton; what only plans and lists does not import them.
__getattr__ = exports(__name__, {
    "Workspace": "launch", "fused_moe": "launch", "make_workspace": "launch", "Weights": "weights", "prepare_weights": "weights",
    "restore_weights": "weights",
})  # fmt: skip
