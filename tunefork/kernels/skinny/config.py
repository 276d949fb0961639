"""Configurations of the skinny product: what can be chosen, what is legal, and a pure pick by (architecture, shape, tokens)."""

from __future__ import annotations

from dataclasses import dataclass

from tunefork.kernels.arch import ARCHES, SM90

MOST_TOKENS = 64
NORM_COLUMNS = 16  # of a prologue that normalises: with more it spills on gfx950
CHUNK = 64  # along K: a cache line of a weight row


@dataclass(frozen=True)
class Linear:
    """A product's sizes. rows N: outputs, a multiple of 16. cols K: inputs, a multiple of 64. norm: add and RMSNorm stand before it. bias, residual:
    are added behind it. best: only each token's best output is wanted."""

    rows: int
    cols: int
    norm: bool = False
    bias: bool = False
    residual: bool = False
    best: bool = False


@dataclass(frozen=True)
class SkinnyConfig:
    """parts: warps of a program, each with every parts-th chunk of K. strips: of 16 outputs, of one program. bm: token columns. depth: steps of weights in
    flight. cache: modifier of the weight loads. overlap: the launch may start before the one before it ends and has its first weights under way
    when it waits for it (programmatic dependent launch, sm90 only)."""

    parts: int
    strips: int
    bm: int
    depth: int = 4
    cache: str = ""
    overlap: bool = False


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


def illegal(config: SkinnyConfig, shape: Linear, tokens: int, arch: str) -> str | None:
    """Why this configuration cannot run this case; None when it can."""
    if shape.rows % 16 or shape.cols % CHUNK or min(shape.rows, shape.cols) <= 0:
        return f"outputs must be a multiple of 16 and inputs of {CHUNK}, got {shape.rows} and {shape.cols}"
    if shape.norm and shape.residual:
        return "a residual is added in front (norm) or behind, not both"
    if shape.norm and config.bm > NORM_COLUMNS:
        return f"a norm in front needs bm <= {NORM_COLUMNS}"
    if shape.best and (shape.norm or shape.residual):
        return "the best output is of a plain product"
    if not all(_power_of_two(value) for value in (config.parts, config.strips, config.bm)) or config.depth < 1:
        return "parts, strips and bm must be powers of two, depth positive"
    if config.parts > 16:
        return f"{config.parts} warps, at most 16"
    if config.bm % ARCHES[arch].columns or tokens > config.bm:
        return f"bm {config.bm} must hold M = {tokens} and be a multiple of the {ARCHES[arch].columns} columns of a matrix instruction"
    if config.cache not in ("", ".cg", ".cs"):
        return "cache is one of '', .cg, .cs"
    if config.overlap and arch != SM90.name:
        return f"overlap is for {SM90.name} only"
    return None


def columns(arch: str, tokens: int) -> int:
    """The least columns that hold M tokens."""
    return max(ARCHES[arch].columns, 1 << (tokens - 1).bit_length())


def pick(arch: str, shape: Linear, tokens: int) -> SkinnyConfig:
    """The configuration of up to `MOST_TOKENS` tokens of this product: four warps, and strips of 16 outputs while there are enough of them for programs."""
    strips = 2 if shape.rows >= 64 * ARCHES[arch].cus or (shape.cols <= 8 * CHUNK and not shape.norm) else 1
    parts, depth = (8, 3) if shape.norm else (4, 3 if strips > 1 else 8)
    return SkinnyConfig(parts, strips, columns(arch, tokens), depth, overlap=arch == SM90.name)


def wins(arch: str, rows: int, cols: int, tokens: int) -> bool:
    """Whether the plain product of these sizes was faster than torch's on this chip, in a chain of layers or alone (docs/decode-step.md). gfx950 was never
    timed: vLLM's own skinny GEMMs keep it."""
    if arch != SM90.name or illegal(pick(arch, Linear(rows, cols), tokens), Linear(rows, cols), tokens, arch):
        return False
    if rows * cols > 4 << 20:
        return rows < 4096 and 2 <= tokens <= 16
    return tokens <= 16
