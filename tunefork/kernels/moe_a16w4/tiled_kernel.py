"""The two grouped GEMMs for many rows per expert: sorted order, all warps of a program along N, operands as tiled.py says.

A block of at most REST rows (what is left of an expert behind its full blocks) takes a narrower product: it costs its decoding, not BM columns.
"""

from __future__ import annotations

import triton
import triton.language as tl

from tunefork.kernels.moe_a16w4.kernel import activate, spread
from tunefork.kernels.moe_a16w4.operands import scale_index, tail_index, word_index
from tunefork.kernels.moe_a16w4.overlap import release, wait
from tunefork.kernels.moe_a16w4.tiled import contract_tiled, interleave


@triton.jit
def _multiply(
    w_ptr, s_ptr, s32_ptr, x_ptr, x_row, x_ok, expert, tile,
    N: tl.constexpr, K: tl.constexpr, WN: tl.constexpr, R: tl.constexpr, BM: tl.constexpr, LAYOUT: tl.constexpr, ASM: tl.constexpr,
    WIDE: tl.constexpr, STAGES: tl.constexpr, PARTS: tl.constexpr, CACHE: tl.constexpr, WAIT: tl.constexpr,
):  # fmt: skip
    """-> [R * WN * 16, BM] float32: rows of the tile, strip r * WN + warp."""
    STRIPS: tl.constexpr = N // 16
    w_r, w_g, _lane = word_index(WN, R, LAYOUT)
    s_r, s_g, _lane = scale_index(WN, R, LAYOUT)
    t_r, t_g, _row, _lane = tail_index(WN, R, LAYOUT)
    first = tile * (WN * R)
    w_strip = first + w_r * WN + w_g
    s_strip = first + s_r * WN + s_g
    t_strip = first + t_r * WN + t_g
    base = expert * STRIPS
    return contract_tiled(
        w_ptr, s_ptr, s32_ptr, x_ptr, base + w_strip, w_strip < STRIPS, base + s_strip, s_strip < STRIPS, base + t_strip, t_strip < STRIPS,
        x_row, x_ok, K, WN, R, BM, LAYOUT, ASM, WIDE, STAGES, CACHE, WAIT, PARTS,
    )  # fmt: skip


@triton.jit
def _up_block(
    x_ptr, x_stride, w_ptr, s_ptr, s32_ptr, bias_ptr, h_ptr, pairs_ptr, expert, start, rows, tile, alpha, limit,
    N: tl.constexpr, K: tl.constexpr, TOPK: tl.constexpr, WN: tl.constexpr, R: tl.constexpr, BM: tl.constexpr, LAYOUT: tl.constexpr,
    ASM: tl.constexpr, WIDE: tl.constexpr, STAGES: tl.constexpr, PARTS: tl.constexpr, CACHE: tl.constexpr, INTERLEAVE: tl.constexpr,
):  # fmt: skip
    """One tile of h for up to BM rows of one expert."""
    x_col = tl.arange(0, BM)[:, None]
    x_ok = x_col < rows
    x_row = tl.load(pairs_ptr + start + x_col, mask=x_ok, other=0) // TOPK * ((K + 31) // 32 * 32 if LAYOUT == "nvidia" else x_stride)
    acc = _multiply(w_ptr, s_ptr, s32_ptr, x_ptr, x_row, x_ok, expert, tile, N, K, WN, R, BM, LAYOUT, ASM, WIDE, STAGES, PARTS, CACHE, False)
    INTER: tl.constexpr = N // 2
    h, out = activate(acc, bias_ptr + expert * N, tile * (WN * R * 8), alpha, limit, INTER, WN * R, BM)
    column = tl.arange(0, BM)
    h_row = (start + column)[None, :]
    h_ok = (column < rows)[None, :]
    if INTERLEAVE:
        HELD: tl.constexpr = (INTER + 31) // 32 * 32
        h = interleave(tl.where((out < INTER)[:, None], h, 0.0), WN * R // 4, BM)
        tl.store(h_ptr + h_row * HELD + out[:, None], h, mask=(out < HELD)[:, None] & h_ok)
    else:
        tl.store(h_ptr + h_row * INTER + out[:, None], h, mask=(out < INTER)[:, None] & h_ok)


@triton.jit
def up_tiled_kernel(
    x_ptr,  # nvidia: (M, K up to whole groups) bf16, interleaved
    x_stride,
    w_ptr,
    s_ptr,
    s32_ptr,
    bias_ptr,  # (E, 2 I) bf16
    h_ptr,  # (M * TOPK, I) bf16 in expert order; INTERLEAVE: whole groups, interleaved, for a tiled down kernel
    pairs_ptr,
    block_expert_ptr,
    block_start_ptr,
    block_rows_ptr,
    block_count_ptr,
    alpha,
    limit,
    N: tl.constexpr,  # 2 I
    K: tl.constexpr,
    TOPK: tl.constexpr,
    WN: tl.constexpr,
    R: tl.constexpr,
    BM: tl.constexpr,
    REST: tl.constexpr,
    LAYOUT: tl.constexpr,
    ASM: tl.constexpr,
    WIDE: tl.constexpr,
    STAGES: tl.constexpr,
    PARTS: tl.constexpr,
    CACHE: tl.constexpr,
    OVERLAP: tl.constexpr,
    XCDS: tl.constexpr,
    INTERLEAVE: tl.constexpr,
):
    """h = SwiGLU(w13 x + b13) for BM pairs of one expert and 16 * R * WN rows."""
    TILES: tl.constexpr = (N // 16 + WN * R - 1) // (WN * R)
    pid = tl.program_id(0)
    wait(OVERLAP)
    release(OVERLAP)
    live = tl.load(block_count_ptr) * TILES
    if pid >= live:
        return
    item = spread(pid, live, XCDS)
    block = item // TILES
    tile = item % TILES
    expert = tl.load(block_expert_ptr + block)
    start = tl.load(block_start_ptr + block)
    rows = tl.load(block_rows_ptr + block)
    if REST > 0:
        if rows <= REST:
            _up_block(x_ptr, x_stride, w_ptr, s_ptr, s32_ptr, bias_ptr, h_ptr, pairs_ptr, expert, start, rows, tile, alpha, limit,
                      N, K, TOPK, WN, R, REST, LAYOUT, ASM, WIDE, STAGES, PARTS, CACHE, INTERLEAVE)
        else:
            _up_block(x_ptr, x_stride, w_ptr, s_ptr, s32_ptr, bias_ptr, h_ptr, pairs_ptr, expert, start, rows, tile, alpha, limit,
                      N, K, TOPK, WN, R, BM, LAYOUT, ASM, WIDE, STAGES, PARTS, CACHE, INTERLEAVE)
    else:
        _up_block(x_ptr, x_stride, w_ptr, s_ptr, s32_ptr, bias_ptr, h_ptr, pairs_ptr, expert, start, rows, tile, alpha, limit,
                  N, K, TOPK, WN, R, BM, LAYOUT, ASM, WIDE, STAGES, PARTS, CACHE, INTERLEAVE)


@triton.jit
def _down_block(
    h_ptr, w_ptr, s_ptr, s32_ptr, bias_ptr, part_ptr, gates_ptr, pairs_ptr, expert, start, rows, tile,
    N: tl.constexpr, K: tl.constexpr, WN: tl.constexpr, R: tl.constexpr, BM: tl.constexpr, LAYOUT: tl.constexpr,
    ASM: tl.constexpr, WIDE: tl.constexpr, STAGES: tl.constexpr, PARTS: tl.constexpr, CACHE: tl.constexpr, OVERLAP: tl.constexpr,
):  # fmt: skip
    """One tile of the parts of up to BM pairs of one expert."""
    x_col = tl.arange(0, BM)[:, None]
    x_row = (start + x_col) * ((K + 31) // 32 * 32 if LAYOUT == "nvidia" else K)
    acc = _multiply(w_ptr, s_ptr, s32_ptr, h_ptr, x_row, x_col < rows, expert, tile, N, K, WN, R, BM, LAYOUT, ASM, WIDE, STAGES, PARTS, CACHE, OVERLAP)
    out = tile * (WN * R * 16) + tl.arange(0, WN * R * 16)
    column = tl.arange(0, BM)
    mine = column < rows
    pair = tl.load(pairs_ptr + start + column, mask=mine, other=0)
    gate = tl.load(gates_ptr + pair, mask=mine, other=0.0)
    bias = tl.load(bias_ptr + expert * N + out, mask=out < N, other=0.0).to(tl.float32)
    acc = (acc + bias[:, None]) * gate[None, :]
    tl.store(part_ptr + pair[None, :] * N + out[:, None], acc.to(part_ptr.dtype.element_ty), mask=(out < N)[:, None] & mine[None, :])


@triton.jit
def down_tiled_kernel(
    h_ptr,  # (M * TOPK, K) bf16, in expert order; nvidia: interleaved
    w_ptr,
    s_ptr,
    s32_ptr,
    bias_ptr,  # (E, N) bf16
    part_ptr,  # (M * TOPK, N) at the pair
    gates_ptr,
    pairs_ptr,
    block_expert_ptr,
    block_start_ptr,
    block_rows_ptr,
    block_count_ptr,
    N: tl.constexpr,
    K: tl.constexpr,
    WN: tl.constexpr,
    R: tl.constexpr,
    BM: tl.constexpr,
    REST: tl.constexpr,
    LAYOUT: tl.constexpr,
    ASM: tl.constexpr,
    WIDE: tl.constexpr,
    STAGES: tl.constexpr,
    PARTS: tl.constexpr,
    CACHE: tl.constexpr,
    OVERLAP: tl.constexpr,
    XCDS: tl.constexpr,
):
    """part[pair] = gate * (w2 h + b2) for BM pairs of one expert."""
    TILES: tl.constexpr = (N // 16 + WN * R - 1) // (WN * R)
    pid = tl.program_id(0)
    release(OVERLAP)
    EARLY: tl.constexpr = ".cg" if OVERLAP else ""
    live = tl.load(block_count_ptr, cache_modifier=EARLY) * TILES
    if pid >= live:
        wait(OVERLAP)
        return
    item = spread(pid, live, XCDS)
    block = item // TILES
    tile = item % TILES
    expert = tl.load(block_expert_ptr + block, cache_modifier=EARLY)
    start = tl.load(block_start_ptr + block, cache_modifier=EARLY)
    rows = tl.load(block_rows_ptr + block, cache_modifier=EARLY)
    if REST > 0:
        if rows <= REST:
            _down_block(h_ptr, w_ptr, s_ptr, s32_ptr, bias_ptr, part_ptr, gates_ptr, pairs_ptr, expert, start, rows, tile,
                        N, K, WN, R, REST, LAYOUT, ASM, WIDE, STAGES, PARTS, CACHE, OVERLAP)
        else:
            _down_block(h_ptr, w_ptr, s_ptr, s32_ptr, bias_ptr, part_ptr, gates_ptr, pairs_ptr, expert, start, rows, tile,
                        N, K, WN, R, BM, LAYOUT, ASM, WIDE, STAGES, PARTS, CACHE, OVERLAP)
    else:
        _down_block(h_ptr, w_ptr, s_ptr, s32_ptr, bias_ptr, part_ptr, gates_ptr, pairs_ptr, expert, start, rows, tile,
                    N, K, WN, R, BM, LAYOUT, ASM, WIDE, STAGES, PARTS, CACHE, OVERLAP)
