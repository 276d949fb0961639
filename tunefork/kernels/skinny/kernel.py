"""One bf16 matrix product for few tokens, with what stands before it (add, RMSNorm) and behind it (bias, residual, best of the logits) in the same launch.

Rows of the accumulators are weight rows, columns are tokens. A program's PARTS warps are the batch dimension of every `tl.dot`: each takes every
PARTS-th chunk of 64 along K, straight from the model's own row-major weights to matrix operands, and shares nothing until the end. The whole of K is
unrolled. Constants that go together are tuples; each element gets its name before it is used (Triton 3.6.0 hands on no element as a constant).
"""

from __future__ import annotations

import triton
import triton.language as tl

from tunefork.kernels.moe_a16w4.operands import act_index, dot
from tunefork.kernels.moe_a16w4.overlap import release, wait

# From 3.8.0 on `tl.sum` over warps passes a barrier for every register or two (67 in o at TP8, M = 64). Added by halves it is one trip through shared memory,
# 3 barriers and no shuffles; under older Tritons, too, where it waits for a timing (docs/decode-step.md).
BY_HALVES = tl.constexpr(tuple(int(part) for part in triton.__version__.split(".")[:2]) >= (3, 8))


@triton.jit
def weight_index(G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Flat -> (row of the program's 16 * R, g, first k of the lane's 8) of each lane's 16-byte load; a load holds 32 along K."""
    index = tl.arange(0, R * G * 64)[:, None]
    strip = index // (64 * G) * 16
    if LAYOUT == "gfx950":
        return strip + index % 16, (index // 64) % G, ((index // 16) % 4) * 8
    else:
        return strip + ((index // (32 * G)) % 2) * 8 + (index // 4) % 8, (index // 32) % G, (index % 4) * 8


@triton.jit
def weight_tile(weights, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Loaded weights -> [G, 16 * R, 32] in the order of K that column_tile has. nvidia: a lane of mma.m16n8k16 holds pairs 8 apart (kWidth 2, which
    Triton chooses for bf16 as it is loaded); labels of K are free where both operands agree, so its 8 neighbours become such pairs."""
    if LAYOUT == "gfx950":
        tile = tl.permute(tl.reshape(weights, [R, G, 4, 16, 8]), [1, 0, 3, 2, 4])
    else:
        tile = tl.permute(tl.reshape(weights, [R, 2, G, 8, 4, 2, 2, 2]), [2, 0, 1, 3, 5, 6, 4, 7])
    return tl.reshape(tile, [G, R * 16, 32])


@triton.jit
def column_tile(x, G: tl.constexpr, BM: tl.constexpr, LAYOUT: tl.constexpr):
    """Loaded activations (act_index) -> [G, 32, BM] in the operand's order of K."""
    if LAYOUT == "gfx950":
        tile = tl.permute(tl.reshape(x, [BM // 16, G, 4, 16, 8]), [1, 2, 4, 0, 3])
    else:
        tile = tl.permute(tl.reshape(x, [BM // 8, G, 8, 4, 2, 2, 2]), [1, 4, 5, 3, 6, 0, 2])
    return tl.reshape(tile, [G, 32, BM])


@triton.jit
def _ordered(value, ASM: tl.constexpr, LAYOUT: tl.constexpr):
    """The same scalar, behind a point that no load is moved across (gfx950): left alone, LLVM gathers the loads in one place."""
    if ASM and LAYOUT == "gfx950":
        return tl.inline_asm_elementwise("; loads stay on their side", "=s,0", [value], dtype=tl.int32, is_pure=False, pack=1)
    else:
        return value


@triton.jit
def _weights(at_ptr, part, step, CHUNKS: tl.constexpr, G: tl.constexpr, STEP: tl.constexpr, CACHE: tl.constexpr):
    """Both halves of a warp's chunk of step `step` (STEP as a constant); zeros where K has ended."""
    here = at_ptr + step * (64 * G)
    if (STEP + 1) * G <= CHUNKS:
        return tl.load(here, cache_modifier=CACHE), tl.load(here + 32, cache_modifier=CACHE)
    else:
        more = part + STEP * G < CHUNKS
        return tl.load(here, mask=more, other=0.0, cache_modifier=CACHE), tl.load(here + 32, mask=more, other=0.0, cache_modifier=CACHE)


@triton.jit
def _acts(x_at, res_at, norm_at, sum_at, ok, writes, square, FROM: tl.constexpr, NORM: tl.constexpr):
    """32 along K of the activations -> (as the product takes them, sums of squares so far). NORM: x + residual in bf16, which the program that `writes`
    keeps, times the norm's weight; 1 / rms comes behind the product."""
    x = tl.load(x_at + FROM, mask=ok, other=0.0)
    if NORM:
        both = (x.to(tl.float32) + tl.load(res_at + FROM, mask=ok, other=0.0).to(tl.float32)).to(tl.bfloat16)
        tl.store(sum_at + FROM, both, mask=ok & writes)
        wide = both.to(tl.float32)
        square += tl.sum(wide * wide, 1)
        x = (wide * tl.load(norm_at + FROM, mask=ok, other=0.0).to(tl.float32)).to(tl.bfloat16)
    return x, square


@triton.jit
def over_parts(acc, G: tl.constexpr, ROWS: tl.constexpr, BM: tl.constexpr):
    """[G, ROWS, BM] -> [ROWS, BM] for a power of two G: halves added to halves."""
    if G == 1:
        return tl.reshape(acc, [ROWS, BM])
    else:
        one, two = tl.split(tl.permute(tl.reshape(acc, [2, G // 2, ROWS, BM]), [1, 2, 3, 0]))
        return over_parts(one + two, G // 2, ROWS, BM)


@triton.jit
def contract(
    w_ptr,  # (N, K) bf16
    row,  # [flat, 1] of the weights, inside the matrix
    x_ptr,  # (M, K) bf16
    x_stride,
    res_ptr,  # (M, K) bf16; NORM only, as all up to `writes`
    res_stride,
    norm_ptr,  # [K] bf16
    sum_ptr,  # (M, K) bf16: x + residual
    writes,  # whether this program keeps it
    M,
    K: tl.constexpr,
    COUNT: tl.constexpr,  # of K, from where the pointers are; K is the stride of w_ptr and sum_ptr
    G: tl.constexpr,
    R: tl.constexpr,
    BM: tl.constexpr,
    LAYOUT: tl.constexpr,
    ASM: tl.constexpr,
    DEPTH: tl.constexpr,  # steps of weights in flight
    CACHE: tl.constexpr,
    NORM: tl.constexpr,
    OVERLAP: tl.constexpr,
    HALVES: tl.constexpr,  # whether warps' sums are added by halves
):
    """-> ([16 * R, BM] float32 sums over K, [BM] float32 sums of squares of x + residual, zero without NORM)."""
    CHUNKS: tl.constexpr = COUNT // 64
    STEPS: tl.constexpr = (CHUNKS + G - 1) // G
    SLOTS: tl.constexpr = DEPTH if DEPTH < STEPS else STEPS
    _row, w_part, w_k = weight_index(G, R, LAYOUT)
    column, x_part, x_k = act_index(G, BM, LAYOUT)
    eight = tl.arange(0, 8)[None, :]
    w_at = w_ptr + (row * K + w_part * 64 + w_k + eight)
    weights = ()
    for slot in tl.static_range(SLOTS):
        at = _ordered(slot, ASM, LAYOUT)
        weights = weights + (_weights(w_at, w_part, at, CHUNKS, G, slot, CACHE),)  # noqa: RUF005 # Triton knows tuples by +
    wait(OVERLAP)
    k = x_part * 64 + x_k + eight
    x_at = x_ptr + (column * x_stride + k)
    res_at = res_ptr + (column * res_stride + k) if NORM else x_at
    sum_at = sum_ptr + (column * K + k) if NORM else x_at
    norm_at = norm_ptr + (k + column * 0) if NORM else x_at
    live = column < M
    acc = tl.zeros([G, R * 16, BM], tl.float32)
    square = tl.zeros([BM * G * 4], tl.float32)
    for step in tl.static_range(STEPS):
        ok = live
        if (step + 1) * G > CHUNKS:
            ok = live & (x_part + step * G < CHUNKS)
        for half in tl.static_range(2):
            x, square = _acts(x_at, res_at, norm_at, sum_at, ok, writes, square, step * (64 * G) + 32 * half, NORM)
            acc = dot(weight_tile(weights[0][half], G, R, LAYOUT), column_tile(x, G, BM, LAYOUT), acc, ASM)
        weights = weights[1:]
        if step + SLOTS < STEPS:
            at = _ordered(step + SLOTS, ASM, LAYOUT)
            weights = weights + (_weights(w_at, w_part, at, CHUNKS, G, step + SLOTS, CACHE),)  # noqa: RUF005 # Triton knows tuples by +
    if HALVES or G == 1:
        total = over_parts(acc, G, R * 16, BM)
    else:
        total = tl.sum(acc, 0)
    if LAYOUT == "gfx950":
        square = tl.reshape(tl.sum(tl.sum(tl.reshape(square, [BM // 16, G, 4, 16]), 2), 1), [BM])
    else:
        square = tl.reshape(tl.sum(tl.sum(tl.reshape(square, [BM // 8, G, 8, 4]), 3), 1), [BM])
    return total, square


@triton.jit
def _best_keys(logits, id, inside):
    """[rows, BM] bf16 -> int64 keys: the largest is the greatest logit, among equals the lowest id; NaN lies above all."""
    wide = logits.to(tl.float32) + 0.0  # -0.0 becomes 0.0: they are a tie
    bits = wide.to(tl.int32, bitcast=True)
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64) << 32
    return tl.where(inside, keys | (2147483647 - id).to(tl.int64), -9223372036854775808)


@triton.jit
def skinny_kernel(
    x_ptr,  # (M, K) bf16
    x_stride,
    w_ptr,  # (N, K) bf16, contiguous
    bias_ptr,  # [N] bf16, or None
    res_ptr,  # NORM: (M, K), added in front of the norm; RESIDUAL: (M, N), added to the result. bf16
    res_stride,
    norm_ptr,  # [K] bf16; NORM only
    sum_ptr,  # (M, K) bf16: x + residual; NORM only
    out_ptr,  # (M, N) bf16; BEST: (programs, BM) int64 keys
    out_stride,
    M,
    eps,
    N: tl.constexpr,
    K: tl.constexpr,
    TILE: tl.constexpr,  # (PARTS, R, BM)
    CODE: tl.constexpr,  # (LAYOUT, ASM)
    STREAM: tl.constexpr,  # (DEPTH, CACHE)
    TAIL: tl.constexpr,  # (NORM, BIAS, RESIDUAL, BEST)
    OVERLAP: tl.constexpr,
):
    """out = [norm(x + residual)] W^T [+ bias] [+ residual] for 16 * R columns of out; BEST: the best logit and its column instead."""
    PARTS: tl.constexpr = TILE[0]
    R: tl.constexpr = TILE[1]
    BM: tl.constexpr = TILE[2]
    LAYOUT: tl.constexpr = CODE[0]
    ASM: tl.constexpr = CODE[1]
    DEPTH: tl.constexpr = STREAM[0]
    CACHE: tl.constexpr = STREAM[1]
    NORM: tl.constexpr = TAIL[0]
    BIAS: tl.constexpr = TAIL[1]
    RESIDUAL: tl.constexpr = TAIL[2]
    BEST: tl.constexpr = TAIL[3]
    pid = tl.program_id(0)
    release(OVERLAP)
    row, _part, _k = weight_index(PARTS, R, LAYOUT)
    first = pid * (16 * R)
    row = first + row
    if N % (16 * R) != 0:
        row = tl.minimum(row, N - 1)
    out = first + tl.arange(0, 16 * R)
    if BIAS:  # under way before the launch waits
        bias = tl.load(bias_ptr + out, mask=out < N, other=0.0).to(tl.float32)
    acc, square = contract(w_ptr, row, x_ptr, x_stride, res_ptr, res_stride, norm_ptr, sum_ptr, pid == 0, M, K, K, PARTS, R, BM, LAYOUT, ASM, DEPTH, CACHE,
                           NORM, OVERLAP, BY_HALVES and LAYOUT != "gfx950")  # fmt: skip
    if NORM:
        acc = acc * tl.rsqrt(square / K + eps)[None, :]
    column = tl.arange(0, BM)
    inside = (out < N)[:, None] & (column < M)[None, :]
    if BIAS:
        acc += bias[:, None]
    y = acc.to(tl.bfloat16)
    if BEST:
        keys = _best_keys(y, out[:, None], (out < N)[:, None])
        tl.store(out_ptr + pid * BM + column, tl.max(keys, 0))
    else:
        if RESIDUAL:
            before = tl.load(res_ptr + column[None, :] * res_stride + out[:, None], mask=inside, other=0.0)
            y = (y.to(tl.float32) + before.to(tl.float32)).to(tl.bfloat16)
        tl.store(out_ptr + column[None, :] * out_stride + out[:, None], y, mask=inside)


@triton.jit
def add_norm_kernel(
    x_ptr,  # (M, K) bf16
    x_stride,
    res_ptr,  # (M, K) bf16
    res_stride,
    norm_ptr,  # [K] bf16
    sum_ptr,  # (M, K) bf16: x + residual
    normed_ptr,  # (M, K) bf16
    eps,
    K: tl.constexpr,
    BLOCK: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """One token: s = x + residual in bf16, and RMSNorm(s)."""
    token = tl.program_id(0)
    release(OVERLAP)
    k = tl.arange(0, BLOCK)
    weight = tl.load(norm_ptr + k, mask=k < K, other=0.0).to(tl.float32)
    wait(OVERLAP)
    x = tl.load(x_ptr + token * x_stride + k, mask=k < K, other=0.0).to(tl.float32)
    both = (x + tl.load(res_ptr + token * res_stride + k, mask=k < K, other=0.0).to(tl.float32)).to(tl.bfloat16)
    tl.store(sum_ptr + token * K + k, both, mask=k < K)
    wide = both.to(tl.float32)
    scale = tl.rsqrt(tl.sum(wide * wide, 0) / K + eps)
    tl.store(normed_ptr + token * K + k, (wide * scale * weight).to(tl.bfloat16), mask=k < K)


@triton.jit
def best_kernel(keys_ptr, ids_ptr, COUNT: tl.constexpr, BM: tl.constexpr, BLOCK: tl.constexpr, OVERLAP: tl.constexpr):
    """ids[token] = the column of the greatest of COUNT keys, which lie BM apart; one program per token."""
    token = tl.program_id(0)
    release(OVERLAP)
    wait(OVERLAP)
    index = tl.arange(0, BLOCK)
    best = tl.full([BLOCK], -9223372036854775808, tl.int64)
    for first in tl.static_range(0, COUNT, BLOCK):
        keys = tl.load(keys_ptr + (first + index) * BM + token, mask=first + index < COUNT, other=-9223372036854775808)
        best = tl.maximum(best, keys)
    tl.store(ids_ptr + token, 2147483647 - (tl.max(best, 0) & 0xFFFFFFFF))
