"""From loaded words, scales and activations to operands of `tl.dot`, for warps that share nothing (a batch dimension of G warps).

Index tensors are flat on purpose: [everything else, vector] has one loading order in every Triton version, and it is the operand's.
"""

from __future__ import annotations

import triton
import triton.language as tl

from tunefork.kernels.mxfp4.decode import decode

# How many neighbours along K a lane of NVIDIA's bf16 operand holds, as Triton chooses it for these loads: labels of K are
# ours to give where both operands agree, and given otherwise they cost shuffles (152 in `up` at TP1, M = 16).
K_WIDTH = tl.constexpr(2 if tuple(int(part) for part in triton.__version__.split(".")[:2]) >= (3, 8) else 4)


@triton.jit
def _unseen(index, n: tl.constexpr):
    """index % n, for a power of two n <= 64, with its contiguity hidden: a wider load would leave the operand's order."""
    return (index * 65) % n


@triton.jit
def word_index(G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Flat -> (r, g, word offset in the chunk) of each lane's 16-byte load."""
    index = tl.arange(0, R * G * 64)[:, None]
    if LAYOUT == "gfx950":
        return index // (64 * G), (index // 64) % G, (index % 64) * 4
    else:
        return index // (64 * G), (index // 32) % G, ((index // (32 * G)) % 2) * 128 + (index % 32) * 4


@triton.jit
def word_tile(words, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Loaded words -> [G, 16 * R, 16]: the operand's rows and its pairs along K."""
    if LAYOUT == "gfx950":
        tile = tl.permute(tl.reshape(words, [R, G, 4, 16, 4]), [1, 0, 3, 2, 4])
    else:
        words = tl.reshape(words, [R, 2, G, 8, 4, 2, 2])
        tile = tl.permute(words, [2, 0, 5, 3, 1, 4, 6]) if K_WIDTH == 4 else tl.permute(words, [2, 0, 5, 3, 1, 6, 4])
    return tl.reshape(tile, [G, R * 16, 16])


@triton.jit
def scale_index(G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Flat -> (r, g, offset in the chunk's 16 scale words); several lanes read one word."""
    if LAYOUT == "gfx950":
        index = tl.arange(0, R * G * 64)[:, None]
        return index // (64 * G), (index // 64) % G, _unseen(index, 16)
    else:
        index = tl.arange(0, R * G * 32)[:, None]
        return index // (32 * G), (index // 32) % G, ((index // 4) % 8) * 2 + tl.arange(0, 2)[None, :]


@triton.jit
def scale_tile(scales, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Loaded scale words -> [G, 16 * R, 16], one per pair."""
    if LAYOUT == "gfx950":
        tile = tl.reshape(tl.permute(tl.reshape(scales, [R, G, 4, 16]), [1, 0, 3, 2]), [G, R, 16, 4, 1])
        tile = tl.broadcast_to(tile, [G, R, 16, 4, 4])
    else:
        tile = tl.permute(tl.reshape(scales, [R, G, 8, 4, 2]), [1, 0, 4, 2, 3])
        if K_WIDTH == 4:
            tile = tl.broadcast_to(tl.reshape(tile, [G, R, 2, 8, 1, 4, 1]), [G, R, 2, 8, 2, 4, 2])
        else:
            tile = tl.broadcast_to(tl.reshape(tile, [G, R, 2, 8, 1, 1, 4]), [G, R, 2, 8, 2, 2, 4])
    return tl.reshape(tile, [G, R * 16, 16])


@triton.jit
def act_index(G: tl.constexpr, BM: tl.constexpr, LAYOUT: tl.constexpr):
    """Flat -> (token column, g, first k of the lane's 8)."""
    N: tl.constexpr = 16 if LAYOUT == "gfx950" else 8
    index = tl.arange(0, BM * G * 4)[:, None]
    g = (index // (4 * N)) % G
    block = index // (4 * N * G)
    if LAYOUT == "gfx950":
        return block * N + index % N, g, ((index // N) % 4) * 8
    else:
        return block * N + (index // 4) % N, g, (index % 4) * 8


@triton.jit
def act_tile(x, G: tl.constexpr, BM: tl.constexpr, LAYOUT: tl.constexpr):
    """Loaded activations -> [G, 32, BM] in the operand's order of K."""
    if LAYOUT == "gfx950":
        tile = tl.permute(tl.reshape(x, [BM // 16, G, 4, 16, 8]), [1, 2, 4, 0, 3])
    else:
        x = tl.reshape(x, [BM // 8, G, 8, 4, 2, 2, 2])
        tile = tl.permute(x, [1, 4, 3, 5, 6, 0, 2]) if K_WIDTH == 4 else tl.permute(x, [1, 4, 5, 3, 6, 0, 2])
    return tl.reshape(tile, [G, 32, BM])


@triton.jit
def tail_act_tile(x, G: tl.constexpr, BM: tl.constexpr, LAYOUT: tl.constexpr):
    """Loaded activations -> [G, 32, BM] with K in its own order."""
    if LAYOUT == "gfx950":
        tile = tl.permute(tl.reshape(x, [BM // 16, G, 4, 16, 8]), [1, 2, 4, 0, 3])
    else:
        tile = tl.permute(tl.reshape(x, [BM // 8, G, 8, 4, 8]), [1, 3, 4, 0, 2])
    return tl.reshape(tile, [G, 32, BM])


@triton.jit
def tail_index(G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Flat -> (r, g, row, lane along K) of a tail group's words: one word per row and lane."""
    index = tl.arange(0, R * G * 64)[:, None]
    if LAYOUT == "gfx950":
        return index // (64 * G), (index // 64) % G, _unseen(index, 16), (index // 16) % 4
    else:
        return index // (64 * G), (index // 32) % G, ((index // (32 * G)) % 2) * 8 + (index // 4) % 8, _unseen(index, 4)


@triton.jit
def tail_tile(words, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Loaded tail words or scales -> [G, 16 * R, 4]."""
    if LAYOUT == "gfx950":
        tile = tl.permute(tl.reshape(words, [R, G, 4, 16]), [1, 0, 3, 2])
    else:
        tile = tl.permute(tl.reshape(words, [R, 2, G, 8, 4]), [2, 0, 1, 3, 4])
    return tl.reshape(tile, [G, R * 16, 4])


@triton.jit
def tail_operand(words, scales, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr, ASM: tl.constexpr, WIDE: tl.constexpr):
    """[G, 16 * R, 4] words and scales of one group -> [G, 16 * R, 32] bf16 with K in its own order (Triton gives an operand made by
    two joins 8 neighbours per lane, one made by a single join 4)."""
    s0 = decode(words, scales, 0, LAYOUT, ASM, WIDE)
    s1 = decode(words, scales, 1, LAYOUT, ASM, WIDE)
    s2 = decode(words, scales, 2, LAYOUT, ASM, WIDE)
    s3 = decode(words, scales, 3, LAYOUT, ASM, WIDE)
    # [G, rows, lane, k0, j & 1, j >> 1]; slot j holds the lane's elements 2 j and 2 j + 1
    tile = tl.join(tl.join(s0, s1), tl.join(s2, s3))
    return tl.reshape(tl.permute(tile, [0, 1, 2, 5, 4, 3]), [G, R * 16, 32])


@triton.jit
def dot(w, x, acc, ASM: tl.constexpr):
    """acc + w x; the interpreter multiplies bf16 as integers, so it gets float32."""
    if ASM:
        return tl.dot(w, x, acc)
    else:
        return tl.dot(w.to(tl.float32), x.to(tl.float32), acc, input_precision="ieee")
