"""add + RMSNorm + router + top-k + sort, for M of 1 to 64, feeding the MoE layer's slots or sorted form.

    normed, residual, logits, ids, gates = add_norm_route(x, residual, norm, eps, router, bias, topk=4, done=make_done(x.device))
    y, residual = add_norm_moe(x, residual, norm, eps, router, bias, weights, topk=4, done=done, workspace=space)
"""

from typing import TYPE_CHECKING

from tunefork.kernels.add_norm_router.config import RouterConfig, RouterShape, illegal, pick
from tunefork.kernels.deferred import exports

if TYPE_CHECKING:
    from tunefork.kernels.add_norm_router.launch import add_norm_moe, add_norm_route, make_done

__all__ = ["RouterConfig", "RouterShape", "add_norm_moe", "add_norm_route", "illegal", "make_done", "pick"]

# What runs needs torch and triton; what only plans does not import them.
__getattr__ = exports(__name__, dict.fromkeys(("add_norm_moe", "add_norm_route", "make_done"), "launch"))
