"""The contraction for many rows per expert: activations are shared through shared memory; weights go from their 16-byte loads through the
conversion into the register operand (Hopper: wgmma) without changing lanes.

On `nvidia` that needs the activations in the operand's order of K: within each group of 32, element 8 t + 4 u + 2 k + b stands at
16 u + 8 k + 2 t + b (`interleave`), so that shared memory, which the matrix unit reads as it lies, and the lanes agree. The copies of x and h that
a tiled GEMM reads hold whole groups: 360 columns take 384.
"""

from __future__ import annotations

import triton
import triton.language as tl

from tunefork.kernels.moe_a16w4.operands import dot, scale_index, tail_index, word_index
from tunefork.kernels.moe_a16w4.overlap import release, wait
from tunefork.kernels.mxfp4.decode import apply, decode, factor


@triton.jit
def _tile_words(words, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Loaded words -> [R * G * 16, 16]: rows and pairs along K, in operand order (see `interleave`)."""
    if LAYOUT == "gfx950":
        tile = tl.permute(tl.reshape(words, [R, G, 4, 16, 4]), [0, 1, 3, 2, 4])
    else:
        tile = tl.permute(tl.reshape(words, [R, 2, G, 8, 4, 2, 2]), [0, 2, 5, 3, 1, 6, 4])
    return tl.reshape(tile, [R * G * 16, 16])


@triton.jit
def _tile_scales(scales, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Loaded scale words, or factors -> [R * G * 16, 16], one per pair."""
    if LAYOUT == "gfx950":
        tile = tl.reshape(tl.permute(tl.reshape(scales, [R, G, 4, 16]), [0, 1, 3, 2]), [R, G, 16, 4, 1])
        tile = tl.broadcast_to(tile, [R, G, 16, 4, 4])
    else:
        tile = tl.permute(tl.reshape(scales, [R, G, 8, 4, 2]), [0, 1, 4, 2, 3])
        tile = tl.broadcast_to(tl.reshape(tile, [R, G, 2, 8, 1, 4]), [R, G, 2, 8, 4, 4])
    return tl.reshape(tile, [R * G * 16, 16])


@triton.jit
def _tile_slot(words, scales, slot: tl.constexpr, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr, ASM: tl.constexpr, WIDE: tl.constexpr):
    """Slot `slot` of a tile's words -> [R * G * 16, 16, 2]."""
    if ASM and LAYOUT == "nvidia":
        return apply(words, _tile_scales(factor(scales, slot, WIDE), G, R, LAYOUT), slot, WIDE)
    else:
        return decode(words, _tile_scales(scales, G, R, LAYOUT), slot, LAYOUT, ASM, WIDE)


@triton.jit
def _tile_operand(words, scales, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr, ASM: tl.constexpr, WIDE: tl.constexpr):
    """Loaded words and scale words of one chunk -> [R * G * 16, 128] bf16."""
    words = _tile_words(words, G, R, LAYOUT)
    s0 = _tile_slot(words, scales, 0, G, R, LAYOUT, ASM, WIDE)
    s1 = _tile_slot(words, scales, 1, G, R, LAYOUT, ASM, WIDE)
    s2 = _tile_slot(words, scales, 2, G, R, LAYOUT, ASM, WIDE)
    s3 = _tile_slot(words, scales, 3, G, R, LAYOUT, ASM, WIDE)
    tile = tl.join(tl.join(s0, s2), tl.join(s1, s3))  # [rows, pair, k0, slot >> 1, slot & 1]
    return tl.reshape(tl.permute(tile, [0, 3, 4, 1, 2]), [R * G * 16, 128])


@triton.jit
def _part_operand(words, scales, PART: tl.constexpr, PARTS: tl.constexpr, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr, ASM: tl.constexpr,
                  WIDE: tl.constexpr):  # fmt: skip
    """Part PART of PARTS (2 or 4) of one chunk's K -> [R * G * 16, 128 / PARTS] bf16."""
    words = _tile_words(words, G, R, LAYOUT)
    if PARTS == 2:
        s0 = _tile_slot(words, scales, 2 * PART, G, R, LAYOUT, ASM, WIDE)
        s1 = _tile_slot(words, scales, 2 * PART + 1, G, R, LAYOUT, ASM, WIDE)
        return tl.reshape(tl.permute(tl.join(s0, s1), [0, 3, 1, 2]), [R * G * 16, 64])
    else:
        return tl.reshape(_tile_slot(words, scales, PART, G, R, LAYOUT, ASM, WIDE), [R * G * 16, 32])


@triton.jit
def _tail_words(tile, GROUPS: tl.constexpr, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr):
    """Loaded tail words, or scales -> [R * G * 16, GROUPS, 4]."""
    if LAYOUT == "gfx950":
        tile = tl.permute(tl.reshape(tile, [R, G, 4, 16, GROUPS]), [0, 1, 3, 4, 2])
    else:
        tile = tl.permute(tl.reshape(tile, [R, 2, G, 8, 4, GROUPS]), [0, 2, 1, 3, 5, 4])
    return tl.reshape(tile, [R * G * 16, GROUPS, 4])


@triton.jit
def _tail_tile_operand(
    words, scales, GROUPS: tl.constexpr, G: tl.constexpr, R: tl.constexpr, LAYOUT: tl.constexpr, ASM: tl.constexpr, WIDE: tl.constexpr
):
    """Loaded words and scales of the groups behind the chunks -> [R * G * 16, 32 * GROUPS] bf16."""
    words = _tail_words(words, GROUPS, G, R, LAYOUT)
    scales = _tail_words(scales, GROUPS, G, R, LAYOUT)
    s0 = decode(words, scales, 0, LAYOUT, ASM, WIDE)
    s1 = decode(words, scales, 1, LAYOUT, ASM, WIDE)
    s2 = decode(words, scales, 2, LAYOUT, ASM, WIDE)
    s3 = decode(words, scales, 3, LAYOUT, ASM, WIDE)
    tile = tl.join(tl.join(s0, s2), tl.join(s1, s3))  # [rows, group, lane, k0, slot >> 1, slot & 1]
    if LAYOUT == "gfx950":
        tile = tl.permute(tile, [0, 1, 2, 4, 5, 3])
    else:
        tile = tl.permute(tile, [0, 1, 4, 5, 2, 3])
    return tl.reshape(tile, [R * G * 16, 32 * GROUPS])


@triton.jit
def _settled(acc, LAYOUT: tl.constexpr, ASM: tl.constexpr):
    """The same sums, behind a point where every product is complete (nvidia).

    Left alone, Triton carries up to seven wgmma over the end of an iteration and forgets the registers that they still read as the left operand:
    ptxas gives them to the next iteration's decoding, and a warp group that has to wait for the matrix unit then multiplies by half-made weights.
    """
    if ASM and LAYOUT == "nvidia":
        return tl.inline_asm_elementwise("", "=r,0", [acc], dtype=tl.float32, is_pure=True, pack=1)
    else:
        return acc


@triton.jit
def contract_tiled(
    w_ptr,
    s_ptr,
    s32_ptr,
    x_ptr,  # nvidia: K interleaved
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
    WAIT: tl.constexpr,
    PARTS: tl.constexpr,
):
    """-> [R * G * 16, BM] float32. For many rows per expert: activations are shared through shared memory, weights go from their 16-byte
    loads through the conversion into the register operand (Hopper: wgmma) without changing lanes.

    PARTS: products that a chunk is cut into. With one, a whole chunk is decoded before its product begins and the matrix unit waits; with more, ptxas
    puts the decoding of the next part between the instructions of the product before it.
    """
    CHUNKS: tl.constexpr = K // 128
    TAIL: tl.constexpr = K - CHUNKS * 128
    STRIP_SCALES: tl.constexpr = 16 * ((K + 31) // 32)
    acc = tl.zeros([R * G * 16, BM], tl.float32)
    wait(WAIT)
    if TAIL > 0:  # weights are loaded first and used last; activations would take too many registers meanwhile
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
        t_at = x_ptr + x_row + CHUNKS * 128 + column
    _wr, _wg, w_lane = word_index(G, R, LAYOUT)
    _sr, _sg, s_lane = scale_index(G, R, LAYOUT)
    w_off = w_strip * (2 * K) + w_lane + tl.arange(0, 4)[None, :]
    s_off = s_strip * (STRIP_SCALES // 4) + s_lane
    WIDTH: tl.constexpr = 128 // PARTS
    x_off = x_row + tl.arange(0, WIDTH)[None, :]
    for step in tl.range(0, CHUNKS, num_stages=STAGES):
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
    if TAIL > 0:
        t_x = tl.load(t_at, mask=x_ok & (column < HELD), other=0.0)
        acc = dot(_tail_tile_operand(t_words, t_scales, GROUPS, G, R, LAYOUT, ASM, WIDE), tl.trans(t_x), acc, ASM)
    return acc


@triton.jit
def interleave(tile, GROUPS: tl.constexpr, COLUMNS: tl.constexpr):
    """[32 * GROUPS, COLUMNS] in the order in which `nvidia`'s register operand has a group's K: 8 t + 4 u + 2 k + b goes to 16 u + 8 k + 2 t + b."""
    return tl.reshape(tl.permute(tl.reshape(tile, [GROUPS, 4, 4, 2, COLUMNS]), [0, 2, 1, 3, 4]), [GROUPS * 32, COLUMNS])


@triton.jit
def interleave_kernel(
    x_ptr,  # (M, H) bf16
    x_stride,
    out_ptr,  # (M, H up to whole groups) bf16
    live_ptr,
    H: tl.constexpr,
    HAS_LIVE: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Copy the rows of x with every group of 32 interleaved, for the tiled GEMMs; the last group is filled up with zeros."""
    row = tl.program_id(0)
    release(OVERLAP)
    GROUPS: tl.constexpr = triton.next_power_of_2((H + 31) // 32)
    at = tl.arange(0, GROUPS * 32)[:, None]
    dead = False
    if HAS_LIVE:
        dead = row >= tl.load(live_ptr)
    if not dead:
        tile = tl.load(x_ptr + row * x_stride + at, mask=at < H, other=0.0)
        HELD: tl.constexpr = (H + 31) // 32 * 32
        tl.store(out_ptr + row * HELD + at, interleave(tile, GROUPS, 1), mask=at < HELD)
    wait(OVERLAP)


@triton.jit
def sorted_copy_kernel(
    x_ptr,  # (M, H) bf16
    x_stride,
    out_ptr,  # (M * TOPK, H up to whole groups) bf16, in expert order
    ids_ptr,  # [M * TOPK] int32, -1 for a pair that has no place
    places_ptr,  # [M * TOPK] int32
    live_ptr,
    H: tl.constexpr,
    TOPK: tl.constexpr,
    HAS_LIVE: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Copy each row of x, interleaved, to the places of its TOPK pairs: read once, while the launch before may still run, and written TOPK times."""
    row = tl.program_id(0)
    release(OVERLAP)
    GROUPS: tl.constexpr = triton.next_power_of_2((H + 31) // 32)
    at = tl.arange(0, GROUPS * 32)[:, None]
    dead = False
    if HAS_LIVE:
        dead = row >= tl.load(live_ptr)
    if dead:
        wait(OVERLAP)
    else:
        tile = interleave(tl.load(x_ptr + row * x_stride + at, mask=at < H, other=0.0), GROUPS, 1)
        wait(OVERLAP)
        HELD: tl.constexpr = (H + 31) // 32 * 32
        for choice in tl.static_range(TOPK):
            pair = row * TOPK + choice
            present = tl.load(ids_ptr + pair) >= 0
            place = tl.load(places_ptr + pair, mask=present, other=0)
            tl.store(out_ptr + place * HELD + at, tile, mask=(at < HELD) & present)
