"""qkv projection + RoPE + KV-cache write of a decode step in one launch, and RoPE + KV-cache write behind a product of any size.

    q, _ = qkv_rope_cache(x, w, bias, positions, cos_sin, slots, cache)                       # M up to 64
    q, residual = qkv_rope_cache(x, w, ..., residual=residual, norm_weight=norm, eps=eps)     # with add + RMSNorm, M up to 16
    q = rope_cache(qkv, positions, cos_sin, slots, cache)                                     # any M
"""

from typing import TYPE_CHECKING

from tunefork.kernels.deferred import exports
from tunefork.kernels.qkv_rope.config import QkvShape, fuses, illegal, pick

if TYPE_CHECKING:
    from tunefork.kernels.qkv_rope.launch import qkv_rope_cache, rope_cache

__all__ = ["QkvShape", "fuses", "illegal", "pick", "qkv_rope_cache", "rope_cache"]

# What runs needs torch and triton; what only plans does not import them.
__getattr__ = exports(__name__, dict.fromkeys(("qkv_rope_cache", "rope_cache"), "launch"))
