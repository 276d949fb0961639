"""Skinny bf16 products of a decode step, M of 1 to 64, with their neighbours in the same launch.

    y = linear(x, w, bias, residual)                                    # output projection
    qkv, residual = add_norm_linear(x, residual, norm, eps, w, bias)    # add + RMSNorm + qkv projection
    ids = best_logit(x, head)                                           # greedy sampling without logits
"""

from typing import TYPE_CHECKING

from tunefork.kernels.deferred import exports
from tunefork.kernels.skinny.config import Linear, SkinnyConfig, illegal, pick

if TYPE_CHECKING:
    from tunefork.kernels.skinny.launch import add_norm_linear, best_logit, linear

__all__ = ["Linear", "SkinnyConfig", "add_norm_linear", "best_logit", "illegal", "linear", "pick"]

# What runs needs torch and triton; what only plans does not import them.
__getattr__ = exports(__name__, dict.fromkeys(("add_norm_linear", "best_logit", "linear"), "launch"))
