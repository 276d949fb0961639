"""The two grouped GEMMs of the MXFP4 MoE layer, and the reduction over a token's experts.

One warp works on strips of 16 weight rows and its own range of K; warps share nothing until the epilogue, so the main loop has no barrier and no
shared memory: weights go from memory to registers as matrix operands (mxfp4/layout.py), activations as 16-byte loads through L1.
A program's G = WN * WK warps are the batch dimension of every `tl.dot`: WN along N, WK along K (or, for DOWN by token, along the token's experts).

Index tensors are flat on purpose: [everything else, vector] has one loading order in every Triton version, and it is the operand's.
Rows of the accumulators are weight rows, columns are tokens.
"""

from __future__ import annotations

import triton
import triton.language as tl

from tunefork.kernels.mxfp4.decode import decode


@triton.jit
def _unseen(index, n: tl.constexpr):
    """index % n, for a power of two n <= 64, with its contiguity hidden: a wider load would leave the operand's order."""
    return (index * 65) % n


@triton.jit
def _word_index(G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Flat -> (r, g, word offset in the chunk) of each lane's 16-byte load."""
    index = tl.arange(0, R * G * 64)[:, None]
    if LAYOUT == "gfx950":
        return index // (64 * G), (index // 64) % G, (index % 64) * 4
    else:
        return index // (64 * G), (index // 32) % G, ((index // (32 * G)) % 2) * 128 + (index % 32) * 4


@triton.jit
def _word_tile(words, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Loaded words -> [G, 16 * R, 16]: the operand's rows and its pairs along K."""
    if LAYOUT == "gfx950":
        tile = tl.permute(tl.reshape(words, [R, G, 4, 16, 4]), [1, 0, 3, 2, 4])
    else:
        tile = tl.permute(tl.reshape(words, [R, 2, G, 8, 4, 2, 2]), [2, 0, 5, 3, 1, 4, 6])
    return tl.reshape(tile, [G, R * 16, 16])


@triton.jit
def _scale_index(G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Flat -> (r, g, offset in the chunk's 16 scale words); several lanes read one word."""
    if LAYOUT == "gfx950":
        index = tl.arange(0, R * G * 64)[:, None]
        return index // (64 * G), (index // 64) % G, _unseen(index, 16)
    else:
        index = tl.arange(0, R * G * 32)[:, None]
        return index // (32 * G), (index // 32) % G, ((index // 4) % 8) * 2 + tl.arange(0, 2)[None, :]


@triton.jit
def _scale_tile(scales, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Loaded scale words -> [G, 16 * R, 16], one per pair."""
    if LAYOUT == "gfx950":
        tile = tl.reshape(tl.permute(tl.reshape(scales, [R, G, 4, 16]), [1, 0, 3, 2]), [G, R, 16, 4, 1])
        tile = tl.broadcast_to(tile, [G, R, 16, 4, 4])
    else:
        tile = tl.permute(tl.reshape(scales, [R, G, 8, 4, 2]), [1, 0, 4, 2, 3])
        tile = tl.broadcast_to(tl.reshape(tile, [G, R, 2, 8, 1, 4, 1]), [G, R, 2, 8, 2, 4, 2])
    return tl.reshape(tile, [G, R * 16, 16])


@triton.jit
def _act_index(G: tl.constexpr, BM: tl.constexpr, LAYOUT: tl.constexpr):
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
def _act_tile(x, G: tl.constexpr, BM: tl.constexpr, LAYOUT: tl.constexpr):
    """Loaded activations -> [G, 32, BM] in the operand's order of K."""
    if LAYOUT == "gfx950":
        tile = tl.permute(tl.reshape(x, [BM // 16, G, 4, 16, 8]), [1, 2, 4, 0, 3])
    else:
        tile = tl.permute(tl.reshape(x, [BM // 8, G, 8, 4, 2, 2, 2]), [1, 4, 3, 5, 6, 0, 2])
    return tl.reshape(tile, [G, 32, BM])


@triton.jit
def _tail_act_tile(x, G: tl.constexpr, BM: tl.constexpr, LAYOUT: tl.constexpr):
    """Loaded activations -> [G, 32, BM] with K in its own order."""
    if LAYOUT == "gfx950":
        tile = tl.permute(tl.reshape(x, [BM // 16, G, 4, 16, 8]), [1, 2, 4, 0, 3])
    else:
        tile = tl.permute(tl.reshape(x, [BM // 8, G, 8, 4, 8]), [1, 3, 4, 0, 2])
    return tl.reshape(tile, [G, 32, BM])


@triton.jit
def _tail_index(G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Flat -> (r, g, row, lane along K) of a tail group's words: one word per row and lane."""
    index = tl.arange(0, R * G * 64)[:, None]
    if LAYOUT == "gfx950":
        return index // (64 * G), (index // 64) % G, _unseen(index, 16), (index // 16) % 4
    else:
        return index // (64 * G), (index // 32) % G, ((index // (32 * G)) % 2) * 8 + (index // 4) % 8, _unseen(index, 4)


@triton.jit
def _tail_tile(words, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Loaded tail words or scales -> [G, 16 * R, 4]."""
    if LAYOUT == "gfx950":
        tile = tl.permute(tl.reshape(words, [R, G, 4, 16]), [1, 0, 3, 2])
    else:
        tile = tl.permute(tl.reshape(words, [R, 2, G, 8, 4]), [2, 0, 1, 3, 4])
    return tl.reshape(tile, [G, R * 16, 4])


@triton.jit
def _tail_operand(words, scales, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr, ASM: tl.constexpr, WIDE: tl.constexpr):
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
def _dot(w, x, acc, ASM: tl.constexpr):
    """acc + w x; the interpreter multiplies bf16 as integers, so it gets float32."""
    if ASM:
        return tl.dot(w, x, acc)
    else:
        return tl.dot(w.to(tl.float32), x.to(tl.float32), acc, input_precision="ieee")


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
    words = _word_tile(weights[0], G, R, LAYOUT)
    scales = _scale_tile(weights[1], G, R, LAYOUT)
    for slot in tl.static_range(4):
        w = tl.reshape(decode(words, scales, slot, LAYOUT, ASM, WIDE), [G, R * 16, 32])
        acc = _dot(w, _act_tile(acts[slot], G, BM, LAYOUT), acc, ASM)
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
        weights = weights + (_load_weights(w_ptr, s32_ptr, w_off, s_off, w_left, s_left, at, CACHE),)
        if AHEAD:
            acts = acts + (_load_acts(x_ptr, x_off, x_left, at),)
    for turn in tl.range(1, ROUNDS):
        for slot in tl.static_range(SLOTS):
            at = turn * SLOTS + slot
            if AHEAD:
                acc = _use_chunk(weights[0], acts[0], acc, G, R, BM, LAYOUT, ASM, WIDE)
            else:
                acc = _use_chunk(weights[0], _load_acts(x_ptr, x_off, x_left, at - SLOTS), acc, G, R, BM, LAYOUT, ASM, WIDE)
            at = _in_order(at, ASM)
            weights = weights[1:] + (_load_weights(w_ptr, s32_ptr, w_off, s_off, w_left, s_left, at, CACHE),)
            if AHEAD:
                acts = acts[1:] + (_load_acts(x_ptr, x_off, x_left, at),)
    for slot in tl.static_range(PER_PART - (ROUNDS - 1) * SLOTS):
        if AHEAD:
            acc = _use_chunk(weights[slot], acts[slot], acc, G, R, BM, LAYOUT, ASM, WIDE)
        else:
            acc = _use_chunk(weights[slot], _load_acts(x_ptr, x_off, x_left, (ROUNDS - 1) * SLOTS + slot), acc, G, R, BM, LAYOUT, ASM, WIDE)
    return acc


@triton.jit
def _contract(
    w_ptr,  # int32 words
    s_ptr,  # uint8 scales
    s32_ptr,  # the same, as int32
    x_ptr,  # bf16 activations
    w_strip,  # per flat word lane: stored strip (expert included), and whether it exists
    w_ok,
    s_strip,
    s_ok,
    t_strip,
    t_ok,
    x_row,  # per flat activation lane: offset of its row, and whether it is live
    x_ok,
    w_part,  # which K part the lane's warp has, in each of the three spaces
    s_part,
    x_part,
    t_part,
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
):
    """-> [G, 16 * R, BM] float32: each warp's strips times its columns over its part of K."""
    CHUNKS: tl.constexpr = K // 128
    STRIP_WORDS: tl.constexpr = 2 * K
    STRIP_SCALES: tl.constexpr = 16 * ((K + 31) // 32)
    PER_PART: tl.constexpr = (CHUNKS + PARTS - 1) // PARTS
    acc = tl.zeros([G, R * 16, BM], tl.float32)
    _wr, _wg, w_lane = _word_index(G, R, LAYOUT)
    _sr, _sg, s_lane = _scale_index(G, R, LAYOUT)
    _xn, _xg, x_lane = _act_index(G, BM, LAYOUT)
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
    elif CHUNKS > 0:
        w_off = w_strip * STRIP_WORDS + w_part * (PER_PART * 256) + w_lane + vec
        s_off = s_strip * (STRIP_SCALES // 4) + s_part * (PER_PART * 16) + s_lane
        x_off = x_row + x_part * (PER_PART * 128) + x_lane + vec8
        w_left = tl.where(w_ok, CHUNKS - w_part * PER_PART, 0)
        s_left = tl.where(s_ok, CHUNKS - s_part * PER_PART, 0)
        x_left = tl.where(x_ok, CHUNKS - x_part * PER_PART, 0)
        w_next = tl.load(w_ptr + w_off, mask=w_left > 0, other=0, cache_modifier=CACHE)
        s_next = tl.load(s32_ptr + s_off, mask=s_left > 0, other=0)
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
            words = _word_tile(words, G, R, LAYOUT)
            scales = _scale_tile(scales, G, R, LAYOUT)
            w = tl.reshape(decode(words, scales, 0, LAYOUT, ASM, WIDE), [G, R * 16, 32])
            acc = _dot(w, _act_tile(a0, G, BM, LAYOUT), acc, ASM)
            w = tl.reshape(decode(words, scales, 1, LAYOUT, ASM, WIDE), [G, R * 16, 32])
            acc = _dot(w, _act_tile(a1, G, BM, LAYOUT), acc, ASM)
            w = tl.reshape(decode(words, scales, 2, LAYOUT, ASM, WIDE), [G, R * 16, 32])
            acc = _dot(w, _act_tile(a2, G, BM, LAYOUT), acc, ASM)
            w = tl.reshape(decode(words, scales, 3, LAYOUT, ASM, WIDE), [G, R * 16, 32])
            acc = _dot(w, _act_tile(a3, G, BM, LAYOUT), acc, ASM)
    # What is left of K belongs to the last part; every group has one scale, the last group may be short.
    TAIL: tl.constexpr = K - CHUNKS * 128
    _tr, _tg, t_row, t_lane = _tail_index(G, R, LAYOUT)
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
        w = _tail_operand(_tail_tile(words, G, R, LAYOUT), _tail_tile(scales, G, R, LAYOUT), G, R, LAYOUT, ASM, WIDE)
        acc = _dot(w, _tail_act_tile(x, G, BM, LAYOUT), acc, ASM)
    return acc


@triton.jit
def _tile_operand(words, scales, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr, ASM: tl.constexpr, WIDE: tl.constexpr):
    """Loaded words and scale words of one chunk -> [G * R * 16, 128] bf16, K in its own order."""
    N: tl.constexpr = G * R * 16
    words = _word_tile(words, G, R, LAYOUT)
    scales = _scale_tile(scales, G, R, LAYOUT)
    s0 = decode(words, scales, 0, LAYOUT, ASM, WIDE)
    s1 = decode(words, scales, 1, LAYOUT, ASM, WIDE)
    s2 = decode(words, scales, 2, LAYOUT, ASM, WIDE)
    s3 = decode(words, scales, 3, LAYOUT, ASM, WIDE)
    tile = tl.join(tl.join(s0, s2), tl.join(s1, s3))  # [G, rows, pair, k0, slot >> 1, slot & 1]
    if LAYOUT == "gfx950":
        tile = tl.permute(tl.reshape(tile, [N, 16, 2, 4]), [0, 3, 1, 2])
        return tl.reshape(tile, [N, 128])
    else:
        # pair = (u, lane, k1); k in a group = 8 lane + 4 u + 2 k1 + k0
        tile = tl.permute(tl.reshape(tile, [N, 2, 4, 2, 2, 4]), [0, 5, 2, 1, 3, 4])
        return tl.reshape(tile, [N, 128])


@triton.jit
def _contract_tiled(
    w_ptr,
    s_ptr,
    s32_ptr,
    x_ptr,
    w_strip,
    w_ok,
    s_strip,
    s_ok,
    t_strip,
    t_ok,
    x_row,  # [BM, 1] offset of each column's row
    x_ok,  # [BM, 1]
    K: tl.constexpr,
    G: tl.constexpr,
    R: tl.constexpr,
    BM: tl.constexpr,
    LAYOUT: tl.constexpr,
    ASM: tl.constexpr,
    WIDE: tl.constexpr,
    STAGES: tl.constexpr,
    CACHE: tl.constexpr,
):
    """-> [G * R * 16, BM] float32. For many rows per expert: activations and dequantised weights are shared through shared memory."""
    CHUNKS: tl.constexpr = K // 128
    STRIP_WORDS: tl.constexpr = 2 * K
    STRIP_SCALES: tl.constexpr = 16 * ((K + 31) // 32)
    TAIL: tl.constexpr = K - CHUNKS * 128
    acc = tl.zeros([G * R * 16, BM], tl.float32)
    _wr, _wg, w_lane = _word_index(G, R, LAYOUT)
    _sr, _sg, s_lane = _scale_index(G, R, LAYOUT)
    w_off = w_strip * STRIP_WORDS + w_lane + tl.arange(0, 4)[None, :]
    s_off = s_strip * (STRIP_SCALES // 4) + s_lane
    x_off = x_row + tl.arange(0, 128)[None, :]
    for step in tl.range(0, CHUNKS, num_stages=STAGES):
        words = tl.load(w_ptr + w_off + step * 256, mask=w_ok, other=0, cache_modifier=CACHE)
        scales = tl.load(s32_ptr + s_off + step * 16, mask=s_ok, other=0)
        x = tl.load(x_ptr + x_off + step * 128, mask=x_ok, other=0.0)
        acc = _dot(_tile_operand(words, scales, G, R, LAYOUT, ASM, WIDE), tl.trans(x), acc, ASM)
    _tr, _tg, t_row, t_lane = _tail_index(G, R, LAYOUT)
    x_tail = tl.arange(0, 32)[None, :]
    # One product per group: faster than a single padded one (H200, TP8 M=1024: 102 us against 124).
    for group in tl.static_range((TAIL + 31) // 32):
        left = (TAIL - group * 32) // 8
        lanes = left if left < 4 else 4
        words = tl.load(w_ptr + t_strip * STRIP_WORDS + CHUNKS * 256 + group * 64 + t_row * lanes + t_lane, mask=t_ok & (t_lane < lanes), other=0)
        scales = tl.load(s_ptr + t_strip * STRIP_SCALES + CHUNKS * 64 + group * 16 + t_row, mask=t_ok, other=0).to(tl.int32) * 0x01010101
        x = tl.load(x_ptr + x_row + CHUNKS * 128 + group * 32 + x_tail, mask=x_ok & (x_tail < lanes * 8), other=0.0)
        w = _tail_operand(_tail_tile(words, G, R, LAYOUT), _tail_tile(scales, G, R, LAYOUT), G, R, LAYOUT, ASM, WIDE)
        acc = _dot(tl.reshape(w, [G * R * 16, 32]), tl.trans(x), acc, ASM)
    return acc


@triton.jit
def _swiglu(gate, up, alpha, limit):
    """SwiGLU-OAI: (clamp(up, -limit, limit) + 1) * g * sigmoid(alpha * g), g = min(gate, limit). NaN stays NaN."""
    gate = tl.minimum(gate, limit, propagate_nan=tl.PropagateNan.ALL)
    up = tl.maximum(tl.minimum(up, limit, propagate_nan=tl.PropagateNan.ALL), -limit, propagate_nan=tl.PropagateNan.ALL)
    return (up + 1.0) * gate / (1.0 + tl.exp(-alpha * gate))


@triton.jit
def _spread(pid, total, XCDS: tl.constexpr):
    """Program id -> work item, so that neighbours in work share an XCD (the hardware deals programs out round-robin)."""
    if XCDS == 1:
        return pid
    else:
        xcd = pid % XCDS
        return xcd * (total // XCDS) + tl.minimum(xcd, total % XCDS) + pid // XCDS


@triton.jit
def up_kernel(
    x_ptr,  # (M, K) bf16
    x_stride,
    w_ptr,
    s_ptr,
    s32_ptr,
    bias_ptr,  # (E, 2 I) bf16
    h_ptr,  # by slot: (M * TOPK, I) at the pair; sorted: at the pair's place. bf16
    ids_ptr,
    pairs_ptr,
    block_expert_ptr,
    block_start_ptr,
    block_rows_ptr,
    block_count_ptr,
    part_ptr,  # SPLIT > 1: (programs, 16 * R * WN * BM) float32
    counters_ptr,  # SPLIT > 1: [programs / SPLIT] int32, zero
    M,
    alpha,
    limit,
    N: tl.constexpr,  # 2 I
    K: tl.constexpr,
    TOPK: tl.constexpr,
    SORTED: tl.constexpr,
    SPLIT: tl.constexpr,  # programs along K (not sorted only)
    WN: tl.constexpr,
    WK: tl.constexpr,
    R: tl.constexpr,
    BM: tl.constexpr,
    LAYOUT: tl.constexpr,
    ASM: tl.constexpr,
    WIDE: tl.constexpr,
    AHEAD: tl.constexpr,
    UNROLL: tl.constexpr,
    CACHE: tl.constexpr,
    XCDS: tl.constexpr,
    TILED: tl.constexpr,
    STAGES: tl.constexpr,
):
    """h = SwiGLU(w13 x + b13) for BM pairs of one expert and 16 * R * WN rows.

    Not sorted (M <= BM): one program column per pair; the first pair of an expert does all of its tokens, column = token, the others leave at
    once. SPLIT > 1: the last program of a tile adds the parts, in their order.
    """
    G: tl.constexpr = WN * WK
    STRIPS: tl.constexpr = N // 16
    TILES: tl.constexpr = (STRIPS + WN * R - 1) // (WN * R)
    pid = tl.program_id(0)
    column = tl.arange(0, BM)
    if TILED:
        x_col = tl.arange(0, BM)[:, None]
        x_g = 0
    else:
        x_col, x_g, _lane = _act_index(G, BM, LAYOUT)
    if SORTED:
        live = tl.load(block_count_ptr) * TILES
        if pid >= live:
            return
        item = _spread(pid, live, XCDS)
        block = item // TILES
        tile = item % TILES
        expert = tl.load(block_expert_ptr + block)
        start = tl.load(block_start_ptr + block)
        rows = tl.load(block_rows_ptr + block)
        x_ok = x_col < rows
        token = tl.load(pairs_ptr + start + x_col, mask=x_ok, other=0) // TOPK
        h_row = start + column
        h_ok = column < rows
    else:
        item = _spread(pid // SPLIT, M * TOPK * TILES, XCDS)
        pair = item // TILES
        tile = item % TILES
        expert = tl.load(ids_ptr + pair)
        if expert < 0:
            return
        every = tl.arange(0, triton.next_power_of_2(BM * TOPK))
        earlier = tl.load(ids_ptr + every, mask=every < pair, other=-1)
        if tl.sum((earlier == expert).to(tl.int32), 0) > 0:
            return
        x_ok = x_col < 0
        h_row = column * TOPK
        h_ok = column < 0
        for choice in tl.static_range(TOPK):
            x_ok |= tl.load(ids_ptr + x_col * TOPK + choice, mask=x_col < M, other=-1) == expert
            hit = tl.load(ids_ptr + column * TOPK + choice, mask=column < M, other=-1) == expert
            h_ok |= hit
            h_row += tl.where(hit, choice, 0)
        token = x_col
    w_r, w_g, _lane = _word_index(G, R, LAYOUT)
    s_r, s_g, _lane = _scale_index(G, R, LAYOUT)
    t_r, t_g, _row, _lane = _tail_index(G, R, LAYOUT)
    first = tile * (WN * R)
    w_strip = first + (w_g // WK) * R + w_r
    s_strip = first + (s_g // WK) * R + s_r
    t_strip = first + (t_g // WK) * R + t_r
    base = expert * STRIPS
    split = (pid % SPLIT) * WK
    if TILED:
        acc = _contract_tiled(
            w_ptr, s_ptr, s32_ptr, x_ptr, base + w_strip, w_strip < STRIPS, base + s_strip, s_strip < STRIPS, base + t_strip, t_strip < STRIPS,
            token * x_stride, x_ok, K, G, R, BM, LAYOUT, ASM, WIDE, STAGES, CACHE,
        )  # fmt: skip
    else:
        acc = _contract(
            w_ptr, s_ptr, s32_ptr, x_ptr, base + w_strip, w_strip < STRIPS, base + s_strip, s_strip < STRIPS, base + t_strip, t_strip < STRIPS,
            token * x_stride, x_ok, split + w_g % WK, split + s_g % WK, split + x_g % WK, split + t_g % WK,
            K, WK * SPLIT, G, R, BM, LAYOUT, ASM, WIDE, AHEAD, UNROLL, CACHE,
        )  # fmt: skip
        if WK > 1:
            acc = tl.sum(tl.reshape(acc, [WN, WK, R * 16, BM]), 1)
    acc = tl.reshape(acc, [WN * R * 16, BM])
    if SPLIT > 1:
        cell = tl.arange(0, WN * R * 16)[:, None] * BM + column[None, :]
        size: tl.constexpr = WN * R * 16 * BM
        tl.store(part_ptr + (item * SPLIT + pid % SPLIT) * size + cell, acc)
        tl.debug_barrier()
        done = tl.atomic_add(counters_ptr + item, 1, sem="acq_rel")
        if done < SPLIT - 1:
            return
        tl.debug_barrier()
        acc = tl.zeros([WN * R * 16, BM], tl.float32)
        for other in tl.static_range(SPLIT):
            acc += tl.load(part_ptr + (item * SPLIT + other) * size + cell, cache_modifier=".cg")
    gate, up = tl.split(tl.permute(tl.reshape(acc, [WN * R, 2, 8, BM]), [0, 2, 3, 1]))
    gate = tl.reshape(gate, [WN * R * 8, BM])
    up = tl.reshape(up, [WN * R * 8, BM])
    out = tile * (WN * R * 8) + tl.arange(0, WN * R * 8)
    bias = bias_ptr + expert * N + 2 * out
    inside = out < N // 2
    gate += tl.load(bias, mask=inside, other=0.0).to(tl.float32)[:, None]
    up += tl.load(bias + 1, mask=inside, other=0.0).to(tl.float32)[:, None]
    h = _swiglu(gate, up, alpha, limit).to(tl.bfloat16)
    tl.store(h_ptr + h_row[None, :] * (N // 2) + out[:, None], h, mask=inside[:, None] & h_ok[None, :])


@triton.jit
def down_token_kernel(
    h_ptr,  # (M * TOPK, K) bf16, at the pair
    w_ptr,
    s_ptr,
    s32_ptr,
    bias_ptr,  # (E, N) bf16
    out_ptr,  # (M, N) bf16
    out_stride,
    ids_ptr,
    gates_ptr,
    live_ptr,
    M,
    N: tl.constexpr,
    K: tl.constexpr,
    TOPK: tl.constexpr,
    WN: tl.constexpr,
    WK: tl.constexpr,  # TOPK times the K parts of each expert
    R: tl.constexpr,
    BM: tl.constexpr,
    LAYOUT: tl.constexpr,
    ASM: tl.constexpr,
    WIDE: tl.constexpr,
    AHEAD: tl.constexpr,
    UNROLL: tl.constexpr,
    CACHE: tl.constexpr,
    XCDS: tl.constexpr,
    HAS_LIVE: tl.constexpr,
):
    """out[token] = sum of gate * (w2 h + b2) over the token's experts, which are the program's warps: no partial sums leave it.

    Neighbouring programs are the tokens of one tile, so that an expert two tokens share is read from memory once.
    """
    G: tl.constexpr = WN * WK
    PARTS: tl.constexpr = WK // TOPK
    STRIPS: tl.constexpr = N // 16
    TILES: tl.constexpr = (STRIPS + WN * R - 1) // (WN * R)
    item = _spread(tl.program_id(0), M * TILES, XCDS)
    token = item % M
    tile = item // M
    if HAS_LIVE:
        if token >= tl.load(live_ptr):
            return
    w_r, w_g, _lane = _word_index(G, R, LAYOUT)
    s_r, s_g, _lane = _scale_index(G, R, LAYOUT)
    t_r, t_g, _row, _lane = _tail_index(G, R, LAYOUT)
    x_col, x_g, _lane = _act_index(G, BM, LAYOUT)
    pair = token * TOPK
    w_expert = tl.load(ids_ptr + pair + (w_g % WK) // PARTS)
    s_expert = tl.load(ids_ptr + pair + (s_g % WK) // PARTS)
    t_expert = tl.load(ids_ptr + pair + (t_g % WK) // PARTS)
    x_choice = (x_g % WK) // PARTS
    x_expert = tl.load(ids_ptr + pair + x_choice)
    first = tile * (WN * R)
    w_strip = first + (w_g // WK) * R + w_r
    s_strip = first + (s_g // WK) * R + s_r
    t_strip = first + (t_g // WK) * R + t_r
    acc = _contract(
        w_ptr, s_ptr, s32_ptr, h_ptr,
        w_expert * STRIPS + w_strip, (w_strip < STRIPS) & (w_expert >= 0), s_expert * STRIPS + s_strip, (s_strip < STRIPS) & (s_expert >= 0),
        t_expert * STRIPS + t_strip, (t_strip < STRIPS) & (t_expert >= 0),
        (pair + x_choice) * K, (x_col == 0) & (x_expert >= 0), w_g % PARTS, s_g % PARTS, x_g % PARTS, t_g % PARTS,
        K, PARTS, G, R, BM, LAYOUT, ASM, WIDE, AHEAD, UNROLL, CACHE,
    )  # fmt: skip
    only = tl.arange(0, BM)[None, None, :] == 0
    column = tl.sum(tl.where(only, acc, 0.0), 2)
    warp = tl.arange(0, G)
    choice = (warp % WK) // PARTS
    expert = tl.load(ids_ptr + pair + choice)
    gate = tl.load(gates_ptr + pair + choice)
    gate = tl.where(expert >= 0, gate, 0.0)
    row = (first + (warp // WK) * R)[:, None] * 16 + tl.arange(0, R * 16)[None, :]
    lead = (warp % PARTS == 0) & (expert >= 0)
    bias = tl.load(bias_ptr + expert[:, None] * N + row, mask=lead[:, None] & (row < N), other=0.0)
    column = (column + bias.to(tl.float32)) * gate[:, None]
    total = tl.reshape(tl.sum(tl.reshape(column, [WN, WK, R * 16]), 1), [WN * R * 16])
    out = first * 16 + tl.arange(0, WN * R * 16)
    tl.store(out_ptr + token * out_stride + out, total.to(tl.bfloat16), mask=out < N)


@triton.jit
def down_sorted_kernel(
    h_ptr,  # (M * TOPK, K) bf16, in expert order
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
    counters_ptr,  # (M, TILES) int32, zero; FUSED only
    ids_ptr,
    out_ptr,  # (M, N) bf16; FUSED only
    out_stride,
    N: tl.constexpr,
    K: tl.constexpr,
    TOPK: tl.constexpr,
    WN: tl.constexpr,
    WK: tl.constexpr,
    R: tl.constexpr,
    BM: tl.constexpr,
    LAYOUT: tl.constexpr,
    ASM: tl.constexpr,
    WIDE: tl.constexpr,
    AHEAD: tl.constexpr,
    UNROLL: tl.constexpr,
    CACHE: tl.constexpr,
    XCDS: tl.constexpr,
    TILED: tl.constexpr,
    STAGES: tl.constexpr,
    FUSED: tl.constexpr,
):
    """part[pair] = gate * (w2 h + b2) for BM pairs of one expert. FUSED: the program that completes a token's tile also adds its TOPK parts, in
    choice order whoever comes last, and writes it out."""
    G: tl.constexpr = WN * WK
    STRIPS: tl.constexpr = N // 16
    ROWS: tl.constexpr = WN * R * 16
    TILES: tl.constexpr = (STRIPS + WN * R - 1) // (WN * R)
    pid = tl.program_id(0)
    live = tl.load(block_count_ptr) * TILES
    if pid >= live:
        return
    item = _spread(pid, live, XCDS)
    block = item // TILES
    tile = item % TILES
    expert = tl.load(block_expert_ptr + block)
    start = tl.load(block_start_ptr + block)
    rows = tl.load(block_rows_ptr + block)
    w_r, w_g, _lane = _word_index(G, R, LAYOUT)
    s_r, s_g, _lane = _scale_index(G, R, LAYOUT)
    t_r, t_g, _row, _lane = _tail_index(G, R, LAYOUT)
    first = tile * (WN * R)
    w_strip = first + (w_g // WK) * R + w_r
    s_strip = first + (s_g // WK) * R + s_r
    t_strip = first + (t_g // WK) * R + t_r
    base = expert * STRIPS
    if TILED:
        x_col = tl.arange(0, BM)[:, None]
        acc = _contract_tiled(
            w_ptr, s_ptr, s32_ptr, h_ptr, base + w_strip, w_strip < STRIPS, base + s_strip, s_strip < STRIPS, base + t_strip, t_strip < STRIPS,
            (start + x_col) * K, x_col < rows, K, G, R, BM, LAYOUT, ASM, WIDE, STAGES, CACHE,
        )  # fmt: skip
    else:
        x_col, x_g, _lane = _act_index(G, BM, LAYOUT)
        acc = _contract(
            w_ptr, s_ptr, s32_ptr, h_ptr, base + w_strip, w_strip < STRIPS, base + s_strip, s_strip < STRIPS, base + t_strip, t_strip < STRIPS,
            (start + x_col) * K, x_col < rows, w_g % WK, s_g % WK, x_g % WK, t_g % WK,
            K, WK, G, R, BM, LAYOUT, ASM, WIDE, AHEAD, UNROLL, CACHE,
        )  # fmt: skip
        if WK > 1:
            acc = tl.sum(tl.reshape(acc, [WN, WK, R * 16, BM]), 1)
    acc = tl.reshape(acc, [ROWS, BM])
    out = first * 16 + tl.arange(0, ROWS)
    column = tl.arange(0, BM)
    mine = column < rows
    pair = tl.load(pairs_ptr + start + column, mask=mine, other=0)
    gate = tl.load(gates_ptr + pair, mask=mine, other=0.0)
    bias = tl.load(bias_ptr + expert * N + out, mask=out < N, other=0.0).to(tl.float32)
    acc = (acc + bias[:, None]) * gate[None, :]
    inside = (out < N)[:, None] & mine[None, :]
    tl.store(part_ptr + pair[None, :] * N + out[:, None], acc.to(part_ptr.dtype.element_ty), mask=inside)
    if FUSED:
        token = pair // TOPK
        tl.debug_barrier()
        counter = counters_ptr + token * TILES + tile
        if LAYOUT == "gfx950":  # a global atomic: Triton 3.7's buffer atomics give the old value to one replica of a layout only
            counter = (counters_ptr.to(tl.int64) + (token * TILES + tile).to(tl.int64) * 4).to(tl.pointer_type(tl.int32))
        done = tl.atomic_add(counter, 1, mask=mine, sem="acq_rel")
        tl.debug_barrier()
        last = (out < N)[:, None] & (mine & (done == TOPK - 1))[None, :]
        total = tl.zeros([ROWS, BM], tl.float32)
        for choice in tl.static_range(TOPK):
            at = (token * TOPK + choice)[None, :] * N + out[:, None]
            total += tl.load(part_ptr + at, mask=last, other=0.0, cache_modifier=".cg").to(tl.float32)
        tl.store(out_ptr + token[None, :] * out_stride + out[:, None], total.to(tl.bfloat16), mask=last)


@triton.jit
def combine_kernel(
    part_ptr,  # (M * TOPK, N)
    ids_ptr,  # [M * TOPK]
    out_ptr,  # (M, N) bf16
    out_stride,
    live_ptr,
    N: tl.constexpr,
    TOPK: tl.constexpr,
    BN: tl.constexpr,
    HAS_LIVE: tl.constexpr,
):
    """out[token] = sum of its local experts' parts, in choice order."""
    token = tl.program_id(0)
    if HAS_LIVE:
        if token >= tl.load(live_ptr):
            return
    column = tl.program_id(1) * BN + tl.arange(0, BN)
    total = tl.zeros([BN], tl.float32)
    for choice in tl.static_range(TOPK):
        pair = token * TOPK + choice
        present = tl.load(ids_ptr + pair) >= 0
        total += tl.load(part_ptr + pair * N + column, mask=(column < N) & present, other=0.0).to(tl.float32)
    tl.store(out_ptr + token * out_stride + column, total.to(tl.bfloat16), mask=column < N)
