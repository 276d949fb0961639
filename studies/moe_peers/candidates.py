"""Triton functions that stand in for two of the shipped tiled kernels' helpers (docs/kernels-moe.md, "What limits TP1 from 8,192 tokens on").

`grouped` walks the tiles of GROUP blocks together, so that programs that run at a time read the same weights. `contract_paired` is
`tiled.contract_tiled` with PER chunks to an iteration: half the barriers and half the points at which the matrix unit runs dry.
"""

from __future__ import annotations

import triton
import triton.language as tl

from tunefork.kernels.moe_a16w4.operands import dot, scale_index, tail_index, word_index
from tunefork.kernels.moe_a16w4.overlap import wait
from tunefork.kernels.moe_a16w4.tiled import _part_operand, _settled, _tail_tile_operand, _tile_operand

PER = tl.constexpr(2)


@triton.jit  # type: ignore[untyped-decorator] # triton has no types
def grouped(pid, live, ORDER: tl.constexpr):  # type: ignore[no-untyped-def] # Triton's
    """Program -> block * TILES + tile. ORDER: (GROUP, TILES); within GROUP blocks the block runs fastest."""
    GROUP: tl.constexpr = ORDER[0]
    TILES: tl.constexpr = ORDER[1]
    first = pid // (GROUP * TILES) * GROUP
    height = tl.minimum(live // TILES - first, GROUP)
    at = pid % (GROUP * TILES)
    return (first + at % height) * TILES + at // height


@triton.jit  # type: ignore[untyped-decorator] # triton has no types
def contract_paired(  # type: ignore[no-untyped-def] # Triton's
    w_ptr, s_ptr, s32_ptr, x_ptr, w_strip, w_ok, s_strip, s_ok, t_strip, t_ok, x_row, x_ok,
    K: tl.constexpr, G: tl.constexpr, R: tl.constexpr, BM: tl.constexpr, LAYOUT: tl.constexpr, ASM: tl.constexpr, WIDE: tl.constexpr,
    STAGES: tl.constexpr, CACHE: tl.constexpr, WAIT: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """As `contract_tiled`: -> [R * G * 16, BM] float32."""
    CHUNKS: tl.constexpr = K // 128
    TAIL: tl.constexpr = K - CHUNKS * 128
    STRIP_SCALES: tl.constexpr = 16 * ((K + 31) // 32)
    WIDTH: tl.constexpr = 128 // PARTS
    LOOPS: tl.constexpr = CHUNKS // PER
    acc = tl.zeros([R * G * 16, BM], tl.float32)
    wait(WAIT)
    _wr, _wg, w_lane = word_index(G, R, LAYOUT)
    _sr, _sg, s_lane = scale_index(G, R, LAYOUT)
    w_off = w_strip * (2 * K) + w_lane + tl.arange(0, 4)[None, :]
    s_off = s_strip * (STRIP_SCALES // 4) + s_lane
    x_off = x_row + tl.arange(0, WIDTH)[None, :]
    for loop in tl.range(0, LOOPS, num_stages=STAGES):
        for inner in tl.static_range(PER):
            step = loop * PER + inner
            words = tl.load(w_ptr + w_off + step * 256, mask=w_ok, other=0, cache_modifier=CACHE)
            scales = tl.load(s32_ptr + s_off + step * 16, mask=s_ok, other=0)
            if PARTS == 1:
                x = tl.load(x_ptr + x_off + step * 128, mask=x_ok, other=0.0)
                acc = dot(_tile_operand(words, scales, G, R, LAYOUT, ASM, WIDE), tl.trans(x), acc, ASM)
            else:
                for part in tl.static_range(PARTS):
                    x = tl.load(x_ptr + x_off + (step * 128 + part * WIDTH), mask=x_ok, other=0.0)
                    acc = dot(_part_operand(words, scales, part, PARTS, G, R, LAYOUT, ASM, WIDE), tl.trans(x), acc, ASM)
        acc = _settled(acc, LAYOUT, ASM)
    for step in tl.static_range(LOOPS * PER, CHUNKS):
        words = tl.load(w_ptr + w_off + step * 256, mask=w_ok, other=0, cache_modifier=CACHE)
        scales = tl.load(s32_ptr + s_off + step * 16, mask=s_ok, other=0)
        column = tl.arange(0, 128)[None, :]
        x = tl.load(x_ptr + x_row + step * 128 + column, mask=x_ok, other=0.0)
        acc = dot(_tile_operand(words, scales, G, R, LAYOUT, ASM, WIDE), tl.trans(x), acc, ASM)
        acc = _settled(acc, LAYOUT, ASM)
    if TAIL > 0:
        GROUPS: tl.constexpr = triton.next_power_of_2((TAIL + 31) // 32)
        group = tl.arange(0, GROUPS)[None, :]
        lanes = tl.minimum(tl.maximum((TAIL - group * 32) // 8, 0), 4)
        _tr, _tg, t_row, t_lane = tail_index(G, R, LAYOUT)
        t_off = t_strip * (2 * K) + CHUNKS * 256 + group * 64 + t_row * lanes + t_lane
        t_words = tl.load(w_ptr + t_off, mask=t_ok & (t_lane < lanes), other=0)
        t_off = t_strip * STRIP_SCALES + CHUNKS * 64 + group * 16 + t_row
        t_scales = tl.load(s_ptr + t_off, mask=t_ok & (lanes > 0), other=0).to(tl.int32) * 0x01010101
        column = tl.arange(0, 32 * GROUPS)[None, :]
        HELD: tl.constexpr = TAIL if LAYOUT == "gfx950" else (TAIL + 31) // 32 * 32
        t_x = tl.load(x_ptr + x_row + CHUNKS * 128 + column, mask=x_ok & (column < HELD), other=0.0)
        acc = dot(_tail_tile_operand(t_words, t_scales, GROUPS, G, R, LAYOUT, ASM, WIDE), tl.trans(t_x), acc, ASM)
    return acc
