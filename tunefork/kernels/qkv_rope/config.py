"""Sizes of qkv + RoPE + cache, what is legal, and a pure pick by (architecture, sizes, tokens)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tunefork.kernels.arch import SM90
from tunefork.kernels.skinny.config import Linear, SkinnyConfig
from tunefork.kernels.skinny.config import illegal as illegal_linear
from tunefork.kernels.skinny.config import pick as pick_linear

FUSED_TOKENS = 16  # above, the product is torch's and RoPE a launch of its own


@dataclass(frozen=True)
class QkvShape:
    """hidden K. heads, kv_heads: of this rank. head_dim D, all of it rotated. page: places of a block of the cache. norm: add and RMSNorm stand before the
    product, in the same launch. bias: is added behind it."""

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    page: int
    norm: bool = False
    bias: bool = True

    @property
    def rows(self) -> int:
        return (self.heads + 2 * self.kv_heads) * self.head_dim

    @property
    def linear(self) -> Linear:
        """The product alone."""
        return Linear(self.rows, self.hidden, norm=self.norm, bias=self.bias)


def unfit(shape: QkvShape) -> str | None:
    """Why neither kernel takes these sizes; None when both do."""
    if shape.head_dim not in (16, 32, 64, 128, 256):
        return f"head_dim {shape.head_dim} is no power of two of 16 to 256"
    if min(shape.heads, shape.kv_heads, shape.page) < 1:
        return "heads, kv_heads and page are at least 1"
    return None


def illegal(config: SkinnyConfig, shape: QkvShape, tokens: int, arch: str) -> str | None:
    """Why this configuration cannot run this case in one launch; None when it can."""
    if why := unfit(shape):
        return why
    if 16 * config.strips > shape.head_dim:
        return f"{config.strips} strips of 16 are more than a head of {shape.head_dim}"
    return illegal_linear(config, shape.linear, tokens, arch)


def pick(arch: str, shape: QkvShape, tokens: int) -> SkinnyConfig:
    """The product's rule, with strips that stay in a head; sm90 above 8 tokens of a long product: two strips, 12.5 us in place of 16.5 at TP1, M = 16 (H200,
    docs/decode-step.md)."""
    found = pick_linear(arch, shape.linear, tokens)
    if arch == SM90.name and not shape.norm and tokens > 8 and shape.rows >= 4096:
        found = replace(found, strips=2, depth=4)
    return replace(found, strips=min(found.strips, shape.head_dim // 16))


def fuses(arch: str, shape: QkvShape, tokens: int) -> bool:
    """Whether product, RoPE and cache write are one launch. Elsewhere torch's product runs, and RoPE with the cache write behind it."""
    return arch == SM90.name and 1 <= tokens <= FUSED_TOKENS and illegal(pick(arch, shape, tokens), shape, tokens, arch) is None
