"""Configurations of the MXFP4 MoE layer: what can be chosen, what is legal, and a pure pick by (architecture, shape, tokens).

The tables are configs/<arch>.json. A row says where it comes from: measured (chip, date) or modelled. All rows are of GPT-OSS-120B's layer (`TUNED`);
`pick` takes them as they are for that layer and by a rule for every other one.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from tunefork.base.errors import BadInput
from tunefork.kernels.arch import ARCHES, SM90
from tunefork.kernels.model import GPT_OSS_120B

TABLES = Path(__file__).with_name("configs")
SINGLE_PROGRAM_TOKENS = 64
FEW_TOKENS = 8


@dataclass(frozen=True)
class MoeShape:
    """hidden H, intermediate I of this rank, local experts, experts per token."""

    hidden: int
    intermediate: int
    experts: int
    topk: int = 4


TUNED = MoeShape(GPT_OSS_120B.hidden, GPT_OSS_120B.intermediate, GPT_OSS_120B.experts, GPT_OSS_120B.topk)  # at any of the tables' intermediate sizes


@dataclass(frozen=True)
class GemmConfig:
    """One GEMM: wn warps along N, wk along K (or along a token's experts), r strips of 16 rows per warp, bm token columns.

    ahead: activations are loaded one chunk ahead of use. depth: chunks of weights a warp has under way (sm90, not tiled, K in equal parts).
    unroll: chunks per loop iteration. cache: modifier of the weight loads. waves: least waves per SIMD (gfx950) or programs per SM (sm90) that the
    registers must allow (0: the compiler's choice). tiled: operands shared through shared memory, `stages` chunks in flight, for many rows per
    expert; then wk is 1, a block of at most `rest` rows takes a product that narrow (0: none does), and `unroll` is the products that a chunk is
    cut into (1, 2 or 4): while one runs, the weights of the next are decoded. split: programs along K, for `up` in slot order only.

    ring: a tiled GEMM by ring_kernel.py (sm90, both GEMMs of a layer), with so many tiles of 64 columns of activations on the way (0: tiled_kernel.py);
    then an expert's last block has up to `bm + extra` pairs, and nothing else of `stages`, `rest` and `unroll` counts.
    """

    wn: int
    wk: int
    r: int
    bm: int
    ahead: bool = True
    unroll: int = 1
    cache: str = ""
    waves: int = 0
    tiled: bool = False
    split: int = 1
    stages: int = 3
    depth: int = 1
    rest: int = 0
    ring: int = 0
    extra: int = 0

    @property
    def warps(self) -> int:
        """Warps of one program."""
        return self.wn * self.wk


@dataclass(frozen=True)
class LayerConfig:
    """order: "slot" (M <= up.bm, no sort, two GEMMs by pair and by token) or "sorted" (expert order, then partial sums).

    fused: the last program of a token's tile adds its parts (no fourth launch). partial: dtype of the parts, "fp32" or "bf16".
    overlap: each launch may start before the one before it ends and waits where it needs its results (programmatic dependent launch; sm90 only).
    """

    order: str
    up: GemmConfig
    down: GemmConfig
    fused: bool = False
    partial: str = "fp32"
    overlap: bool = False


# Whether `pick` takes RINGS. Off until an H200 has checked `down` and timed the whole layer: sh studies/gluon_up/parts.sh
RING = False
# (least pairs per expert, both GEMMs), ascending: the one place that chooses a tile. 128 pairs are GPT-OSS-120B's at M = 4096, 256 at 8192. `up` alone was
# timed there (H200, 2026-12-01): TP1 .80 with 128 x 160 and 1.09 with 128 x 288 at 4096; .72 and .66 at 8192.
RINGS = ((128, GemmConfig(4, 1, 2, 128, ahead=False, tiled=True, ring=5, extra=32)), (192, GemmConfig(8, 1, 1, 256, ahead=False, tiled=True, ring=6, extra=32)))
RING_SUMS = 160  # of a lane, at most: with as many, 128 x 160 of 4 warps spills 9 to 34 registers outside the loop already
RING_SHARED = 227 * 1024  # bytes that a program may have (compute capability 9.0); each tile of the ring has a barrier of 8 besides


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


def _illegal_ring(gemm: GemmConfig, cols: int, partial: str, arch: str) -> str | None:
    """Of a GEMM over `cols` columns with a ring."""
    if arch != SM90.name or not gemm.tiled or gemm.rest:
        return f"a ring is of a tiled GEMM without rest, for {SM90.name} only"
    if gemm.wn not in (4, 8) or not 32 <= gemm.bm <= 256:
        return "a ring needs wn 4 or 8 and bm from 32 to 256"
    if gemm.extra and (not _power_of_two(gemm.extra) or not 16 <= gemm.extra < gemm.bm):
        return "extra is a power of two, at least 16 and less than bm"
    if gemm.r * (gemm.bm + gemm.extra) // 2 > RING_SUMS:
        return f"{gemm.r * (gemm.bm + gemm.extra) // 2} sums a lane, at most {RING_SUMS}"
    least = max(3, gemm.wn * gemm.r * (4 if partial == "fp32" else 2) // 8)  # the sums of `down` change lanes in the ring's first tiles
    most = (RING_SHARED - 1024) // (128 * (gemm.bm + (gemm.extra or 8)) + 8)
    if not least <= gemm.ring <= most:
        return f"this ring has {least} to {most} tiles, not {gemm.ring}"
    return "K of a ring is at least one chunk of 128" if cols < 128 else None


def illegal(config: LayerConfig, shape: MoeShape, tokens: int, arch: str, mapped: bool = False) -> str | None:
    """Why this configuration cannot run this case; None when it can. Every tuner and the picker ask here."""
    for name, gemm in (("up", config.up), ("down", config.down)):
        if not all(_power_of_two(v) for v in (gemm.wn, gemm.wk, gemm.r, gemm.bm)):
            return f"{name}: wn, wk, r and bm must be powers of two"
        if gemm.warps > 16:
            return f"{name}: {gemm.warps} warps, at most 16"
        if gemm.bm % ARCHES[arch].columns:
            return f"{name}: bm {gemm.bm} is no multiple of the {ARCHES[arch].columns} columns of a matrix instruction"
        if gemm.unroll < 1 or gemm.cache not in ("", ".cg", ".cs"):
            return f"{name}: unroll must be positive and cache one of '', .cg, .cs"
        if gemm.depth not in (1, 2):
            return f"{name}: depth is 1 or 2"
        if gemm.split != 1 and (name == "down" or config.order != "slot" or gemm.split not in (2, 4)):
            return f"{name}: split is 1, or 2 or 4 for up in slot order"
        if gemm.tiled and (gemm.wk != 1 or config.order != "sorted"):
            return f"{name}: a tiled GEMM needs wk = 1 and sorted order"
        if gemm.rest and (not gemm.tiled or not _power_of_two(gemm.rest) or not 16 <= gemm.rest < gemm.bm):
            return f"{name}: rest is a power of two, at least 16 and less than bm, of a tiled GEMM"
        if gemm.tiled and gemm.unroll not in (1, 2, 4):
            return f"{name}: a chunk of a tiled GEMM is cut into 1, 2 or 4 products, not {gemm.unroll}"
        if gemm.tiled and arch == SM90.name and (gemm.warps % 4 or gemm.bm < 16):
            return f"{name}: a tiled GEMM needs whole warp groups and bm >= 16"
        if gemm.extra and not gemm.ring:
            return f"{name}: extra is of a ring"
        if gemm.ring and (reason := _illegal_ring(gemm, shape.hidden if name == "up" else shape.intermediate, config.partial, arch)):
            return f"{name}: {reason}"
    if config.overlap and arch != SM90.name:
        return f"overlap is for {SM90.name} only"
    if config.down.tiled and (not config.up.tiled or config.up.wn * config.up.r % 4):
        return "a tiled down needs a tiled up that writes whole groups of 32 columns: up.wn * up.r a multiple of 4"
    if config.partial not in ("fp32", "bf16"):
        return f"partial {config.partial!r} is neither fp32 nor bf16"
    if config.order == "slot":
        if tokens > config.up.bm:
            return f"slot order needs M <= up.bm, got {tokens} > {config.up.bm}"
        if config.down.wk % shape.topk:
            return f"slot order needs down.wk to be a multiple of the {shape.topk} experts of a token"
        return "slot order has nothing to fuse" if config.fused else None
    if config.order != "sorted":
        return f"order {config.order!r} is neither slot nor sorted"
    if config.up.bm != config.down.bm or config.up.extra != config.down.extra:
        return "sorted order needs one bm and one extra"
    if (config.up.ring > 0) != (config.down.ring > 0):
        return "both GEMMs have a ring or neither"
    if config.fused and config.down.tiled:
        return "a tiled down has no fused reduction"
    if config.fused and (mapped or tokens > SINGLE_PROGRAM_TOKENS):
        return f"the fused reduction needs M <= {SINGLE_PROGRAM_TOKENS} and every expert local"
    return None


@dataclass(frozen=True)
class Row:
    """One row of a table: up to `tokens` tokens at this `intermediate`, this configuration, known from `source`."""

    intermediate: int
    tokens: int
    config: LayerConfig
    source: str


def _layer(data: dict[str, Any]) -> LayerConfig:
    return LayerConfig(**{**data, "up": GemmConfig(**data["up"]), "down": GemmConfig(**data["down"])})


@lru_cache(maxsize=8)
def table(arch: str) -> tuple[Row, ...]:
    """Rows of configs/<arch>.json, smallest bucket first."""
    path = TABLES / f"{arch}.json"
    if not path.is_file():
        raise BadInput(f"no configuration table for {arch!r}", f"make {path.name} with `kernels tune`")
    rows = [Row(r["intermediate"], r["tokens"], _layer(r["config"]), r["source"]) for r in json.loads(path.read_text())["rows"]]
    return tuple(sorted(rows, key=lambda row: (row.intermediate, row.tokens)))


def is_tuned(arch: str, shape: MoeShape, routed: int = 0) -> bool:
    """Whether the table's rows are of this very layer. routed: experts that the router chooses from, if not all are local."""
    experts = routed or shape.experts
    return shape.intermediate in sizes(arch) and (shape.hidden, experts, shape.topk) == (TUNED.hidden, TUNED.experts, TUNED.topk)


@lru_cache(maxsize=8)
def sizes(arch: str) -> tuple[int, ...]:
    """Intermediate sizes of a table."""
    return tuple(sorted({row.intermediate for row in table(arch)}))


def _nearest(arch: str, shape: MoeShape) -> int:
    """The table's size whose experts have, by ratio, the most nearly equal weights."""
    def apart(size: int) -> float:
        return abs(math.log(shape.hidden * shape.intermediate / (TUNED.hidden * size)))

    return min(sizes(arch), key=lambda size: (apart(size), size))


@lru_cache(maxsize=256)
def ends(arch: str, shape: MoeShape, routed: int = 0) -> tuple[tuple[int, LayerConfig], ...]:
    """(tokens, configuration), ascending: each is for up to that many tokens of this layer, from where the one before it ends."""
    if is_tuned(arch, shape, routed):
        return tuple((row.tokens, row.config) for row in table(arch) if row.intermediate == shape.intermediate)
    rows = [row for row in table(arch) if row.intermediate == _nearest(arch, shape)]
    pairs = Fraction(TUNED.topk, shape.topk)
    load = pairs * Fraction(routed or shape.experts, TUNED.experts)
    few = [(int(row.tokens * pairs), row.config) for row in rows if row.tokens <= FEW_TOKENS]
    last = int(FEW_TOKENS * pairs)
    many = [(int(row.tokens * load), row.config) for row in rows]
    return tuple(end for end in (*few, *(end for end in many if end[0] > last)) if end[0] >= 1)


def ring_ends(shape: MoeShape, routed: int = 0) -> tuple[int, ...]:
    """The most tokens of this layer below each entry of RINGS: where `pick` changes its mind."""
    return tuple(-(-least * (routed or shape.experts) // shape.topk) - 1 for least, _ in RINGS)


def ringed(config: LayerConfig, arch: str, shape: MoeShape, tokens: int, mapped: bool = False, routed: int = 0) -> LayerConfig:
    """The layer with the GEMMs that RINGS has for so many pairs per expert; as it is where that has none, or one that is illegal."""
    fitting = [gemm for (_, gemm), end in zip(RINGS, ring_ends(shape, routed), strict=True) if tokens > end]
    if not fitting:
        return config
    changed = replace(config, order="sorted", up=fitting[-1], down=fitting[-1], fused=False, partial="bf16")
    return config if illegal(changed, shape, tokens, arch, mapped) else changed


def pick(arch: str, shape: MoeShape, tokens: int, mapped: bool = False, routed: int = 0, asm: bool = True) -> LayerConfig:
    """The configuration of `tokens` tokens of this layer: the table's row (`row_of`), or one with a ring where RING says so and there is machine code
    (asm). routed: experts that the router chooses from, if not all are local. Errors: BadInput where no row runs it."""
    config = row_of(arch, shape, tokens, mapped, routed)
    return ringed(config, arch, shape, tokens, mapped, routed) if RING and asm else config


@lru_cache(maxsize=1024)
def row_of(arch: str, shape: MoeShape, tokens: int, mapped: bool = False, routed: int = 0) -> LayerConfig:
    """The table's configuration of `tokens` tokens of this layer. routed: experts that the router chooses from, if not all are local.

    The tuned layer (GPT-OSS-120B at the table's sizes) takes the smallest bucket that holds the tokens, else the largest. Every other layer takes a
    rule. Of the size whose experts have the most nearly equal weights (that decides how a GEMM fills the chip) it takes the row that was tuned for

    - as many (token, choice) pairs, M * topk, up to those of `FEW_TOKENS` tuned tokens: nearly every pair then reads an expert of its own;
    - as many pairs per expert, M * topk / E, above: that decides how often a weight is used, so the order, the block and the operands' path.

    Where that row is illegal for the layer, the next larger one that is legal, else the next smaller. What the rule costs against the best of the
    table's rows was measured on an H200 at E = 32, at hidden 4096 with topk 8 and at E = 8 with topk 2: bench/kernels/records/.
    """
    found = ends(arch, shape, routed)
    for _, choice in (*(end for end in found if end[0] >= tokens), *reversed(found)):
        config = choice if not mapped else replace(choice, fused=False)
        if illegal(config, shape, tokens, arch, mapped) is None:
            return config
    raise BadInput(f"no configuration of {arch} runs M={tokens} at {shape}", "add a row with `kernels tune`")
