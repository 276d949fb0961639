"""Configurations of add + norm + router: what is legal, and a pure pick by (architecture, sizes, tokens)."""

from __future__ import annotations

from dataclasses import dataclass

from tunefork.kernels.arch import SM90
from tunefork.kernels.skinny.config import CHUNK, MOST_TOKENS

ONE_LAUNCH_TOKENS = 16


@dataclass(frozen=True)
class RouterShape:
    """hidden K, experts E, experts per token."""

    hidden: int
    experts: int
    topk: int = 4


@dataclass(frozen=True)
class RouterConfig:
    """parts: warps of a program, each with every parts-th chunk of K. depth: steps of weights in flight. apart: the norm is a launch of its own, one program
    per token, instead of every program's prologue. split: programs along K, with a norm apart only. overlap: programmatic dependent launch (sm90 only)."""

    parts: int = 4
    depth: int = 4
    apart: bool = False
    split: int = 1
    cache: str = ""
    overlap: bool = False


def illegal(config: RouterConfig, shape: RouterShape, tokens: int, arch: str) -> str | None:
    """Why this configuration cannot run this case; None when it can."""
    if shape.experts % 16 or shape.experts & (shape.experts - 1) or shape.experts < 16:
        return f"experts must be a power of two of at least 16, got {shape.experts}"
    if not 1 <= shape.topk <= shape.experts:
        return f"topk {shape.topk} of {shape.experts} experts"
    if shape.hidden % CHUNK or shape.hidden <= 0:
        return f"the hidden size must be a multiple of {CHUNK}, got {shape.hidden}"
    if not 1 <= tokens <= MOST_TOKENS:
        return f"M = {tokens} is outside 1..{MOST_TOKENS}"
    if config.parts not in (1, 2, 4, 8, 16) or config.depth < 1:
        return "parts is 1, 2, 4, 8 or 16, depth positive"
    if config.split != 1 and (not config.apart or config.split < 1 or shape.hidden // CHUNK % config.split):
        return f"split is 1, or with the norm apart a divisor of the {shape.hidden // CHUNK} chunks of K"
    if config.overlap and arch != SM90.name:
        return f"overlap is for {SM90.name} only"
    return None


def splits(hidden: int, most: int) -> int:
    """The most programs along K, up to `most`, that all have as many chunks."""
    return max(count for count in range(1, most + 1) if hidden // CHUNK % count == 0)


def pick(arch: str, shape: RouterShape, tokens: int) -> RouterConfig:
    """The configuration of up to 64 tokens. sm90: two launches at every M, as measured (docs/decode-step.md); gfx950: one while it has the registers."""
    few = tokens <= ONE_LAUNCH_TOKENS
    if arch == SM90.name:
        return RouterConfig(4 if few else 8, apart=True, split=splits(shape.hidden, 3 if few else 5), overlap=True)
    return RouterConfig(parts=16) if few else RouterConfig(parts=16, apart=True, split=splits(shape.hidden, 5))
