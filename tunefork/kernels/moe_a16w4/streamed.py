"""The contraction for few rows per expert: each warp streams its own weights, from memory to matrix operands, and shares nothing.

No barrier and no shared memory in the main loop; activations are 16-byte loads through L1.
"""

from __future__ import annotations

import triton
import triton.language as tl

from tunefork.kernels.moe_a16w4.operands import (
    act_index,
    act_tile,
    dot,
    scale_index,
    scale_tile,
    tail_act_tile,
    tail_index,
    tail_operand,
    tail_tile,
    word_index,
    word_tile,
)  # fmt: skip
from tunefork.kernels.moe_a16w4.overlap import wait
from tunefork.kernels.mxfp4.decode import decode


@triton.jit
def _chunk(
    words, scales, a0, a1, a2, a3, acc,
    G: tl.constexpr, R: tl.constexpr, BM: tl.constexpr, LAYOUT: tl.constexpr, ASM: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """acc + one chunk of 128: its words and scales as loaded, its activations as four loads of 32."""
    words = word_tile(words, G, R, LAYOUT)
    scales = scale_tile(scales, G, R, LAYOUT)
    w = tl.reshape(decode(words, scales, 0, LAYOUT, ASM, WIDE), [G, R * 16, 32])
    acc = dot(w, act_tile(a0, G, BM, LAYOUT), acc, ASM)
    w = tl.reshape(decode(words, scales, 1, LAYOUT, ASM, WIDE), [G, R * 16, 32])
    acc = dot(w, act_tile(a1, G, BM, LAYOUT), acc, ASM)
    w = tl.reshape(decode(words, scales, 2, LAYOUT, ASM, WIDE), [G, R * 16, 32])
    acc = dot(w, act_tile(a2, G, BM, LAYOUT), acc, ASM)
    w = tl.reshape(decode(words, scales, 3, LAYOUT, ASM, WIDE), [G, R * 16, 32])
    return dot(w, act_tile(a3, G, BM, LAYOUT), acc, ASM)


@triton.jit
def _stream(
    w_at, s_at, x_at, acc,  # pointers of the first chunk
    CHUNKS: tl.constexpr,
    G: tl.constexpr, R: tl.constexpr, BM: tl.constexpr, LAYOUT: tl.constexpr, ASM: tl.constexpr, WIDE: tl.constexpr,
    AHEAD: tl.constexpr, UNROLL: tl.constexpr, CACHE: tl.constexpr, DEPTH: tl.constexpr, WAIT: tl.constexpr,
):  # fmt: skip
    """acc + CHUNKS chunks, without one mask: Triton clears the target of every masked load, 28 of 192 instructions of a chunk.

    Lanes outside the matrix point at its beginning; what they read reaches only rows and columns that nobody stores.
    """
    FAR: tl.constexpr = DEPTH == 2 and CHUNKS > 1
    LOOP: tl.constexpr = CHUNKS - 2 if FAR else CHUNKS - 1
    w_next = tl.load(w_at, cache_modifier=CACHE)
    s_next = tl.load(s_at)
    if FAR:
        w_far = tl.load(w_at + 256, cache_modifier=CACHE)
        s_far = tl.load(s_at + 16)
    wait(WAIT)
    if AHEAD:
        x0 = tl.load(x_at)
        x1 = tl.load(x_at + 32)
        x2 = tl.load(x_at + 64)
        x3 = tl.load(x_at + 96)
    for step in tl.range(0, LOOP, loop_unroll_factor=UNROLL):
        words = w_next
        scales = s_next
        if FAR:
            w_next = w_far
            s_next = s_far
            w_far = tl.load(w_at + (step + 2) * 256, cache_modifier=CACHE)
            s_far = tl.load(s_at + (step + 2) * 16)
        else:
            w_next = tl.load(w_at + (step + 1) * 256, cache_modifier=CACHE)
            s_next = tl.load(s_at + (step + 1) * 16)
        if AHEAD:
            a0 = x0
            a1 = x1
            a2 = x2
            a3 = x3
            x0 = tl.load(x_at + (step + 1) * 128)
            x1 = tl.load(x_at + (step + 1) * 128 + 32)
            x2 = tl.load(x_at + (step + 1) * 128 + 64)
            x3 = tl.load(x_at + (step + 1) * 128 + 96)
        else:
            a0 = tl.load(x_at + step * 128)
            a1 = tl.load(x_at + step * 128 + 32)
            a2 = tl.load(x_at + step * 128 + 64)
            a3 = tl.load(x_at + step * 128 + 96)
        acc = _chunk(words, scales, a0, a1, a2, a3, acc, G, R, BM, LAYOUT, ASM, WIDE)
    for last in tl.static_range(LOOP, CHUNKS):
        if not AHEAD or last > LOOP:
            x0 = tl.load(x_at + last * 128)
            x1 = tl.load(x_at + last * 128 + 32)
            x2 = tl.load(x_at + last * 128 + 64)
            x3 = tl.load(x_at + last * 128 + 96)
        acc = _chunk(w_next, s_next, x0, x1, x2, x3, acc, G, R, BM, LAYOUT, ASM, WIDE)
        if FAR:
            w_next = w_far
            s_next = s_far
    return acc


@triton.jit
def _in_order(value, ASM: tl.constexpr):
    """The same scalar, behind a point that no load is moved across: left alone, LLVM gathers the loads at the end of an iteration."""
    if ASM:
        return tl.inline_asm_elementwise("; loads stay on their side", "=s,0", [value], dtype=tl.int32, is_pure=False, pack=1)
    else:
        return value


@triton.jit
def _load_weights(w_ptr, s32_ptr, w_off, s_off, w_left, s_left, at, CACHE: tl.constexpr):
    """Words and scales of chunk `at` of this warp's part; zeros where the part has ended."""
    words = tl.load(w_ptr + w_off + at * 256, mask=w_left > at, other=0, cache_modifier=CACHE)
    return words, tl.load(s32_ptr + s_off + at * 16, mask=s_left > at, other=0)


@triton.jit
def _load_acts(x_ptr, x_off, x_left, at):
    """Activations of chunk `at`, for its four products."""
    here, more = x_ptr + x_off + at * 128, x_left > at
    return (tl.load(here, mask=more, other=0.0), tl.load(here + 32, mask=more, other=0.0), tl.load(here + 64, mask=more, other=0.0),
            tl.load(here + 96, mask=more, other=0.0))  # fmt: skip


@triton.jit
def _use_chunk(weights, acts, acc, G: tl.constexpr, R: tl.constexpr, BM: tl.constexpr, LAYOUT: tl.constexpr, ASM: tl.constexpr, WIDE: tl.constexpr):
    """acc + the products of one loaded chunk."""
    words = word_tile(weights[0], G, R, LAYOUT)
    scales = scale_tile(weights[1], G, R, LAYOUT)
    for slot in tl.static_range(4):
        w = tl.reshape(decode(words, scales, slot, LAYOUT, ASM, WIDE), [G, R * 16, 32])
        acc = dot(w, act_tile(acts[slot], G, BM, LAYOUT), acc, ASM)
    return acc


@triton.jit
def _ring(
    w_ptr,
    s32_ptr,
    x_ptr,
    w_off,
    s_off,
    x_off,
    w_left,  # chunks of this lane's part, at most PER_PART
    s_left,
    x_left,
    acc,
    PER_PART: tl.constexpr,
    DEPTH: tl.constexpr,  # chunks in flight
    AHEAD: tl.constexpr,  # the activations too
    G: tl.constexpr,
    R: tl.constexpr,
    BM: tl.constexpr,
    LAYOUT: tl.constexpr,
    ASM: tl.constexpr,
    WIDE: tl.constexpr,
    CACHE: tl.constexpr,
):
    """acc + the products of this warp's part of K, with DEPTH chunks in flight.

    A chunk is loaded when the one whose registers it takes has been used. Loading first and moving the registers at the end of the iteration, as
    one would for NVIDIA, waits there for every load: gfx950 cannot move a register that is still being filled.
    """
    SLOTS: tl.constexpr = DEPTH if DEPTH < PER_PART else PER_PART
    ROUNDS: tl.constexpr = (PER_PART + SLOTS - 1) // SLOTS
    weights = ()
    acts = ()
    for slot in tl.static_range(SLOTS):
        at = _in_order(slot, ASM)
        weights = weights + (_load_weights(w_ptr, s32_ptr, w_off, s_off, w_left, s_left, at, CACHE),)  # noqa: RUF005 # Triton knows tuples by +
        if AHEAD:
            acts = acts + (_load_acts(x_ptr, x_off, x_left, at),)  # noqa: RUF005 # Triton knows tuples by +
    for turn in tl.range(1, ROUNDS):
        for slot in tl.static_range(SLOTS):
            at = turn * SLOTS + slot
            if AHEAD:
                acc = _use_chunk(weights[0], acts[0], acc, G, R, BM, LAYOUT, ASM, WIDE)
            else:
                acc = _use_chunk(weights[0], _load_acts(x_ptr, x_off, x_left, at - SLOTS), acc, G, R, BM, LAYOUT, ASM, WIDE)
            at = _in_order(at, ASM)
            weights = weights[1:] + (_load_weights(w_ptr, s32_ptr, w_off, s_off, w_left, s_left, at, CACHE),)  # noqa: RUF005 # Triton knows tuples by +
            if AHEAD:
                acts = acts[1:] + (_load_acts(x_ptr, x_off, x_left, at),)  # noqa: RUF005 # Triton knows tuples by +
    for slot in tl.static_range(PER_PART - (ROUNDS - 1) * SLOTS):
        if AHEAD:
            acc = _use_chunk(weights[slot], acts[slot], acc, G, R, BM, LAYOUT, ASM, WIDE)
        else:
            acc = _use_chunk(weights[slot], _load_acts(x_ptr, x_off, x_left, (ROUNDS - 1) * SLOTS + slot), acc, G, R, BM, LAYOUT, ASM, WIDE)
    return acc


@triton.jit
def contract(
    pointers,  # of the words (int32), the scales (uint8), the scales as int32, the activations (bf16)
    word_lanes,  # per flat word lane: stored strip (expert included), whether it exists, which K part its warp has
    scale_lanes,  # the same per flat scale lane
    tail_lanes,  # the same per flat tail lane
    act_lanes,  # per flat activation lane: offset of its row, whether it is live, which K part its warp has
    K: tl.constexpr,
    PARTS: tl.constexpr,
    G: tl.constexpr,
    R: tl.constexpr,
    BM: tl.constexpr,
    LAYOUT: tl.constexpr,
    ASM: tl.constexpr,
    WIDE: tl.constexpr,
    AHEAD: tl.constexpr,  # load the next chunk's activations too before this chunk's products
    UNROLL: tl.constexpr,
    CACHE: tl.constexpr,
    DEPTH: tl.constexpr,  # nvidia, K in equal parts: chunks of weights under way, 1 or 2
    WAIT: tl.constexpr,  # the activations come from the launch before; the weights do not
):
    """-> [G, 16 * R, BM] float32: each warp's R strips of 16 rows times its columns over its part of K."""
    w_ptr, s_ptr, s32_ptr, x_ptr = pointers
    w_strip, w_ok, w_part = word_lanes
    s_strip, s_ok, s_part = scale_lanes
    t_strip, t_ok, t_part = tail_lanes
    x_row, x_ok, x_part = act_lanes
    CHUNKS: tl.constexpr = K // 128
    STRIP_WORDS: tl.constexpr = 2 * K
    STRIP_SCALES: tl.constexpr = 16 * ((K + 31) // 32)
    PER_PART: tl.constexpr = (CHUNKS + PARTS - 1) // PARTS
    acc = tl.zeros([G, R * 16, BM], tl.float32)
    _wr, _wg, w_lane = word_index(G, R, LAYOUT)
    _sr, _sg, s_lane = scale_index(G, R, LAYOUT)
    _xn, _xg, x_lane = act_index(G, BM, LAYOUT)
    vec = tl.arange(0, 4)[None, :]
    vec8 = tl.arange(0, 8)[None, :]
    if CHUNKS > 0 and LAYOUT == "gfx950":
        acc = _ring(
            w_ptr, s32_ptr, x_ptr, w_strip * STRIP_WORDS + w_part * (PER_PART * 256) + w_lane + vec,
            s_strip * (STRIP_SCALES // 4) + s_part * (PER_PART * 16) + s_lane, x_row + x_part * (PER_PART * 128) + x_lane + vec8,
            tl.minimum(tl.where(w_ok, CHUNKS - w_part * PER_PART, 0), PER_PART), tl.minimum(tl.where(s_ok, CHUNKS - s_part * PER_PART, 0), PER_PART),
            tl.minimum(tl.where(x_ok, CHUNKS - x_part * PER_PART, 0), PER_PART), acc,
            PER_PART, UNROLL, AHEAD, G, R, BM, LAYOUT, ASM, WIDE, CACHE,
        )  # fmt: skip
    elif CHUNKS > 0 and CHUNKS % PARTS == 0 and LAYOUT == "nvidia":
        # Triton >= 3.8 no longer sees contiguity behind tl.where: without the hints a 16-byte load becomes four.
        w_off = tl.where(w_ok, w_strip * STRIP_WORDS + w_part * (PER_PART * 256) + w_lane, 0) + vec
        s_off = tl.where(s_ok, s_strip * (STRIP_SCALES // 4) + s_part * (PER_PART * 16), 0) + s_lane
        x_off = tl.where(x_ok, x_row + x_part * (PER_PART * 128), 0) + x_lane + vec8
        w_at = w_ptr + tl.multiple_of(tl.max_contiguous(w_off, [1, 4]), [1, 4])
        s_at = s32_ptr + tl.multiple_of(tl.max_contiguous(s_off, [1, 2]), [1, 2])
        x_at = x_ptr + tl.multiple_of(tl.max_contiguous(x_off, [1, 8]), [1, 8])
        acc = _stream(w_at, s_at, x_at, acc, PER_PART, G, R, BM, LAYOUT, ASM, WIDE, AHEAD, UNROLL, CACHE, DEPTH, WAIT)
    elif CHUNKS > 0:
        w_off = w_strip * STRIP_WORDS + w_part * (PER_PART * 256) + w_lane + vec
        s_off = s_strip * (STRIP_SCALES // 4) + s_part * (PER_PART * 16) + s_lane
        x_off = x_row + x_part * (PER_PART * 128) + x_lane + vec8
        w_left = tl.where(w_ok, CHUNKS - w_part * PER_PART, 0)
        s_left = tl.where(s_ok, CHUNKS - s_part * PER_PART, 0)
        x_left = tl.where(x_ok, CHUNKS - x_part * PER_PART, 0)
        w_next = tl.load(w_ptr + w_off, mask=w_left > 0, other=0, cache_modifier=CACHE)
        s_next = tl.load(s32_ptr + s_off, mask=s_left > 0, other=0)
        wait(WAIT)
        if AHEAD:
            x0 = tl.load(x_ptr + x_off, mask=x_left > 0, other=0.0)
            x1 = tl.load(x_ptr + x_off + 32, mask=x_left > 0, other=0.0)
            x2 = tl.load(x_ptr + x_off + 64, mask=x_left > 0, other=0.0)
            x3 = tl.load(x_ptr + x_off + 96, mask=x_left > 0, other=0.0)
        for step in tl.range(0, PER_PART, loop_unroll_factor=UNROLL):
            words = w_next
            scales = s_next
            w_next = tl.load(w_ptr + w_off + (step + 1) * 256, mask=(w_left > step + 1) & (step + 1 < PER_PART), other=0, cache_modifier=CACHE)
            s_next = tl.load(s32_ptr + s_off + (step + 1) * 16, mask=(s_left > step + 1) & (step + 1 < PER_PART), other=0)
            if AHEAD:
                a0 = x0
                a1 = x1
                a2 = x2
                a3 = x3
                more = (x_left > step + 1) & (step + 1 < PER_PART)
                x0 = tl.load(x_ptr + x_off + (step + 1) * 128, mask=more, other=0.0)
                x1 = tl.load(x_ptr + x_off + (step + 1) * 128 + 32, mask=more, other=0.0)
                x2 = tl.load(x_ptr + x_off + (step + 1) * 128 + 64, mask=more, other=0.0)
                x3 = tl.load(x_ptr + x_off + (step + 1) * 128 + 96, mask=more, other=0.0)
            else:
                here = x_left > step
                a0 = tl.load(x_ptr + x_off + step * 128, mask=here, other=0.0)
                a1 = tl.load(x_ptr + x_off + step * 128 + 32, mask=here, other=0.0)
                a2 = tl.load(x_ptr + x_off + step * 128 + 64, mask=here, other=0.0)
                a3 = tl.load(x_ptr + x_off + step * 128 + 96, mask=here, other=0.0)
            acc = _chunk(words, scales, a0, a1, a2, a3, acc, G, R, BM, LAYOUT, ASM, WIDE)
    else:
        wait(WAIT)
    # What is left of K belongs to the last part; every group has one scale, the last group may be short.
    TAIL: tl.constexpr = K - CHUNKS * 128
    _tr, _tg, t_row, t_lane = tail_index(G, R, LAYOUT)
    for group in tl.static_range((TAIL + 31) // 32):
        mine = t_ok & (t_part == PARTS - 1)
        left = (TAIL - group * 32) // 8
        lanes = left if left < 4 else 4
        t_off = t_strip * STRIP_WORDS + CHUNKS * 256 + group * 64 + t_row * lanes + t_lane
        words = tl.load(w_ptr + t_off, mask=mine & (t_lane < lanes), other=0)
        s_at = t_strip * STRIP_SCALES + CHUNKS * 64 + group * 16 + t_row
        scales = tl.load(s_ptr + s_at, mask=mine, other=0).to(tl.int32) * 0x01010101
        x = tl.load(x_ptr + x_row + CHUNKS * 128 + group * 32 + x_lane + vec8,
                    mask=x_ok & (x_part == PARTS - 1) & (x_lane < lanes * 8), other=0.0)
        w = tail_operand(tail_tile(words, G, R, LAYOUT), tail_tile(scales, G, R, LAYOUT), G, R, LAYOUT, ASM, WIDE)
        acc = dot(w, tail_act_tile(x, G, BM, LAYOUT), acc, ASM)
    return acc
