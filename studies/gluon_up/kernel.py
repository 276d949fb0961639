"""`up` for sm_90 in Gluon: 16 * R * WN rows of weights by BM tokens, an expert's last block by up to BM + EXTRA.

Weights go from 16-byte loads through the conversion into wgmma's register operand, as tunefork/kernels/moe_a16w4/tiled.py has them, and in its layout. There
are two operands of 32 columns: the products of one run while the other is decoded, and an operand is kept until the wait that ends its products
(`settle`). Tokens come by TMA from a copy of x in expert order (`sorted_copy_kernel`) into a ring of STAGES tiles of 64 columns. K = 128 n + 64.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier, tma, warpgroup_mma, warpgroup_mma_init, warpgroup_mma_wait

from tunefork.kernels.moe_a16w4.tiled import interleave
from tunefork.kernels.mxfp4 import decode as D

# Names that moved: 3.6.0 has thread_barrier, later ones barrier; 3.8.0 renames the copy, 3.9.0 drops its old name.
_barrier = gl.thread_barrier if hasattr(gl, "thread_barrier") else gl.barrier
_load_tile = tma.async_load if hasattr(tma, "async_load") else tma.async_copy_global_to_shared
_OPEN = gl.constexpr(D._PTX_OPEN.value)
_B0 = gl.constexpr(D._PTX_BITS_0.value)
_B1 = gl.constexpr(D._PTX_BITS_1.value)
_B2 = gl.constexpr(D._PTX_BITS_2.value)
_B3 = gl.constexpr(D._PTX_BITS_3.value)
_F0 = gl.constexpr(D._PTX_FACTOR_0.value)
_F1 = gl.constexpr(D._PTX_FACTOR_1.value)
_F2 = gl.constexpr(D._PTX_FACTOR_2.value)
_F3 = gl.constexpr(D._PTX_FACTOR_3.value)
_NARROW = gl.constexpr(D._PTX_APPLY_NARROW.value)


@triton.jit
def sorted_copy_kernel(x_ptr, x_stride, out_ptr, pairs_ptr, H: tl.constexpr, TOPK: tl.constexpr):
    """(M, H) -> (M * TOPK, H up to whole groups) in expert order, every group of 32 columns in the operand's order."""
    GROUPS: tl.constexpr = triton.next_power_of_2((H + 31) // 32)
    place = tl.program_id(0)
    row = tl.load(pairs_ptr + place) // TOPK
    at = tl.arange(0, GROUPS * 32)[:, None]
    tile = tl.load(x_ptr + row * x_stride + at, mask=at < H, other=0.0)
    HELD: tl.constexpr = (H + 31) // 32 * 32
    tl.store(out_ptr + place.to(tl.int64) * HELD + at, interleave(tile, GROUPS, 1), mask=at < HELD)


@gluon.constexpr_function
def mma_layout(WN, BM):
    """Sums of a program: WN warps along the rows, products BM wide."""
    return gl.NVMMADistributedLayout([3, 0], [WN, 1], [16, BM, 16])


@gluon.constexpr_function
def words_layout(WN, R):
    """[16 R WN, 16]: a lane's pairs along K of 32, as the operand's registers hold them: k1, high, u, r."""
    reg = [[0, 4], [8, 0], [0, 8]] + [[16 * WN << i, 0] for i in range(R.bit_length() - 1)]
    lane = [[0, 1], [0, 2], [1, 0], [2, 0], [4, 0]]
    warp = [[16 << i, 0] for i in range(WN.bit_length() - 1)]
    return gl.DistributedLinearLayout(reg, lane, warp, [], [16 * R * WN, 16])


@gluon.constexpr_function
def tail_layout(WN, R):
    """[16 R WN, 4]: a tail group's words, one for each row and lane: high, r."""
    reg = [[8, 0]] + [[16 * WN << i, 0] for i in range(R.bit_length() - 1)]
    lane = [[0, 1], [0, 2], [1, 0], [2, 0], [4, 0]]
    warp = [[16 << i, 0] for i in range(WN.bit_length() - 1)]
    return gl.DistributedLinearLayout(reg, lane, warp, [], [16 * R * WN, 4])


@gluon.jit
def factor(scales, slot: gl.constexpr):
    """decode.factor, in Gluon."""
    asm: gl.constexpr = _F0 if slot == 0 else _F1 if slot == 1 else _F2 if slot == 2 else _F3
    return gl.inline_asm_elementwise(asm, "=r,r", [scales], dtype=gl.int32, is_pure=True, pack=1)


@gluon.jit
def pairs_of(words, factors, slot: gl.constexpr):
    """decode.apply, in Gluon, two bf16 still in one int32."""
    value: gl.constexpr = _B0 if slot == 0 else _B1 if slot == 1 else _B2 if slot == 2 else _B3
    return gl.inline_asm_elementwise(_OPEN + value + _NARROW, "=r,r,r", [words, factors], dtype=gl.int32, is_pure=True, pack=1)


@gluon.jit
def halves(pair):
    """int32 [...] -> bf16 [..., 2]"""
    lo = pair.to(gl.int16).to(gl.bfloat16, bitcast=True)
    hi = (pair >> 16).to(gl.int16).to(gl.bfloat16, bitcast=True)
    return gl.join(lo, hi)


@gluon.jit
def part(words, scales, slot: gl.constexpr, WN: gl.constexpr, R: gl.constexpr, A: gl.constexpr):
    """Group `slot` of a chunk -> [16 R WN, 32] bf16 operand."""
    pair = pairs_of(words, gl.expand_dims(factor(scales, slot), 1), slot)
    return gl.convert_layout(gl.reshape(halves(pair), [16 * R * WN, 32]), A, assert_trivial=True)


@gluon.jit
def tail_part(words, scales, WN: gl.constexpr, R: gl.constexpr, A: gl.constexpr):
    """A tail group -> [16 R WN, 32] bf16 operand."""
    f = gl.expand_dims(factor(scales, 0), 1)
    s0 = halves(pairs_of(words, f, 0))
    s1 = halves(pairs_of(words, f, 1))
    s2 = halves(pairs_of(words, f, 2))
    s3 = halves(pairs_of(words, f, 3))
    tile = gl.join(gl.join(s0, s2), gl.join(s1, s3))  # [rows, tid, half, u, k1]
    tile = gl.reshape(gl.permute(tile, [0, 3, 4, 1, 2]), [16 * R * WN, 32])
    return gl.convert_layout(tile, A, assert_trivial=True)


@gluon.jit
def load_words(w_tile, w_off, chunk, ok, WN: gl.constexpr, R: gl.constexpr, W: gl.constexpr):
    """A chunk's words in the operand's registers."""
    words = gl.load(w_tile + chunk * 256 + w_off, mask=ok, other=0)
    words = gl.permute(gl.reshape(words, [R, 2, WN, 8, 4, 2, 2]), [0, 2, 5, 3, 1, 6, 4])
    return gl.convert_layout(gl.reshape(words, [16 * R * WN, 16]), W, assert_trivial=True)


@gluon.jit
def swiglu(gate, up, alpha, limit):
    """kernel.py's, in Gluon."""
    gate = gl.minimum(gate, limit, propagate_nan=tl.PropagateNan.ALL)
    up = gl.maximum(gl.minimum(up, limit, propagate_nan=tl.PropagateNan.ALL), -limit, propagate_nan=tl.PropagateNan.ALL)
    return (up + 1.0) * gate / (1.0 + gl.exp(-alpha * gate))


@gluon.jit
def fetch(xd, xe, ring, extra, bars, slot, row, column, BM: gl.constexpr, EXTRA: gl.constexpr, pred):
    """Begin the copies of one tile of x into the ring."""
    bar = bars.index(slot)
    mbarrier.expect(bar, (BM + EXTRA) * 128, pred=pred)
    _load_tile(xd, [row, column], bar, ring.index(slot), pred=pred)
    if EXTRA > 0:
        _load_tile(xe, [row + BM, column], bar, extra.index(slot), pred=pred)


@gluon.jit
def store(acc, bias_ptr, h_ptr, first, start, rows, alpha, limit, INTER: gl.constexpr, WN: gl.constexpr, R: gl.constexpr, BM: gl.constexpr):
    """SwiGLU of a tile of sums; rows: columns that are stored."""
    STRIPS: gl.constexpr = WN * R
    OUT: gl.constexpr = STRIPS * 8
    HELD: gl.constexpr = (INTER + 31) // 32 * 32
    gate, up = gl.split(gl.permute(gl.reshape(acc, [STRIPS, 2, 8, BM]), [0, 2, 3, 1]))
    gate = gl.reshape(gate, [OUT, BM])
    up = gl.reshape(up, [OUT, BM])
    L: gl.constexpr = gate.type.layout
    out = first + gl.arange(0, OUT, gl.SliceLayout(1, L))
    ok = out < INTER
    gate_bias = gl.load(bias_ptr + 2 * out, mask=ok, other=0.0).to(gl.float32)
    up_bias = gl.load(bias_ptr + 2 * out + 1, mask=ok, other=0.0).to(gl.float32)
    h = swiglu(gate + gl.expand_dims(gate_bias, 1), up + gl.expand_dims(up_bias, 1), alpha, limit).to(gl.bfloat16)
    if INTER % OUT != 0:
        h = gl.where(gl.expand_dims(ok, 1), h, 0.0)
    h = gl.reshape(gl.permute(gl.reshape(h, [OUT // 32, 4, 4, 2, BM]), [0, 2, 1, 3, 4]), [OUT, BM])
    ACROSS: gl.constexpr = OUT // 8
    S: gl.constexpr = gl.BlockedLayout([8, 1], [ACROSS, 32 // ACROSS], [1, WN], [0, 1])
    h = gl.convert_layout(h, S)
    out = first + gl.arange(0, OUT, gl.SliceLayout(1, S))
    column = gl.arange(0, BM, gl.SliceLayout(0, S))
    at = h_ptr + gl.expand_dims((start + column) * HELD, 0) + gl.expand_dims(out, 1)
    gl.store(at, h, mask=gl.expand_dims(out < HELD, 1) & gl.expand_dims(column < rows, 0))


@gluon.jit
def product(a, ring, extra, slot, half: gl.constexpr, acc, more, EXTRA: gl.constexpr):
    """Issue the products of 32 columns."""
    b = ring.index(slot).slice(32 * half, 32, dim=1).permute([1, 0])
    acc = warpgroup_mma(a, b, acc, is_async=True)
    if EXTRA > 0:
        e = extra.index(slot).slice(32 * half, 32, dim=1).permute([1, 0])
        more = warpgroup_mma(a, e, more, is_async=True)
    return acc, more


@gluon.jit
def settle(acc, more, a, PENDING: gl.constexpr, EXTRA: gl.constexpr):
    """At most PENDING parts' products run on; `a` was the operand of one that ended."""
    if EXTRA > 0:
        acc, more, a = warpgroup_mma_wait(2 * PENDING, deps=[acc, more, a])
    else:
        acc, a = warpgroup_mma_wait(PENDING, deps=[acc, a])
    return acc, more


@gluon.jit
def block(
    xd, xe, w_ptr, s_ptr, s32_ptr, bias_ptr, h_ptr, ring, extra, bars, expert, start, rows, tile, alpha, limit,
    N: gl.constexpr, K: gl.constexpr, WN: gl.constexpr, R: gl.constexpr, BM: gl.constexpr, EXTRA: gl.constexpr, STAGES: gl.constexpr,
):
    """One tile of h for up to BM + EXTRA rows of one expert."""
    STRIPS: gl.constexpr = N // 16
    CHUNKS: gl.constexpr = K // 128
    gl.static_assert(K - CHUNKS * 128 == 64)
    STRIP_SCALES: gl.constexpr = 16 * (K // 32)
    TILES: gl.constexpr = 2 * CHUNKS + 1
    MMA: gl.constexpr = mma_layout(WN, BM)
    A: gl.constexpr = gl.DotOperandLayout(0, MMA, 2)
    W: gl.constexpr = words_layout(WN, R)
    T: gl.constexpr = tail_layout(WN, R)
    LOAD: gl.constexpr = gl.BlockedLayout([1, 4], [32, 1], [WN, 1], [1, 0])
    ROWS: gl.constexpr = 16 * R * WN

    for i in gl.static_range(STAGES):
        fetch(xd, xe, ring, extra, bars, i, start, (CHUNKS * 128 if i == 0 else (i - 1) * 64), BM, EXTRA, True)

    # A tile's strips lie behind one another: one base, small offsets that fold into the loads.
    first = tile * (WN * R)
    EXACT: gl.constexpr = STRIPS % (WN * R) == 0
    last = STRIPS - 1 - first
    base = (expert * STRIPS + first).to(gl.int64)
    w_tile = w_ptr + base * (2 * K)
    s_tile = s_ptr + base * STRIP_SCALES
    s32_tile = s32_ptr + base * (STRIP_SCALES // 4)
    index = gl.arange(0, R * 2 * WN * 32, gl.SliceLayout(1, LOAD))
    strip = index // (64 * WN) * WN + (index // 32) % WN
    if not EXACT:
        strip = gl.minimum(strip, last)
    w_off = strip * (2 * K) + ((index // (32 * WN)) % 2) * 128 + (index % 32) * 4
    w_off = gl.expand_dims(w_off, 1) + gl.expand_dims(gl.arange(0, 4, gl.SliceLayout(0, LOAD)), 0)
    row = gl.arange(0, ROWS, gl.SliceLayout(1, W))
    strip = row // 16
    if not EXACT:
        strip = gl.minimum(strip, last)
    s_off = strip * (STRIP_SCALES // 4) + (row % 8) * 2 + (row // 8) % 2
    t_row = gl.arange(0, ROWS, gl.SliceLayout(1, T))
    t_strip = t_row // 16
    if not EXACT:
        t_strip = gl.minimum(t_strip, last)
    tid = gl.expand_dims(gl.arange(0, 4, gl.SliceLayout(0, T)), 0)
    t_off = gl.expand_dims(t_strip * (2 * K) + CHUNKS * 256 + (t_row % 16) * 4, 1) + tid
    ts_off = t_strip * STRIP_SCALES + CHUNKS * 64 + t_row % 16
    t0 = gl.load(w_tile + t_off)
    t1 = gl.load(w_tile + t_off + 64)
    ts0 = gl.load(s_tile + ts_off).to(gl.int32) * 0x01010101
    ts1 = gl.load(s_tile + ts_off + 16).to(gl.int32) * 0x01010101
    words = load_words(w_tile, w_off, 0, True, WN, R, W)
    scales = gl.load(s32_tile + s_off)

    acc = warpgroup_mma_init(gl.zeros([ROWS, BM], gl.float32, MMA))
    more = 0
    if EXTRA > 0:
        more = warpgroup_mma_init(gl.zeros([ROWS, EXTRA], gl.float32, mma_layout(WN, EXTRA)))
    a0 = tail_part(t0, ts0, WN, R, A)
    mbarrier.wait(bars.index(0), 0)
    acc, more = product(a0, ring, extra, 0, 0, acc, more, EXTRA)
    before = tail_part(t1, ts1, WN, R, A)
    acc, more = product(before, ring, extra, 0, 1, acc, more, EXTRA)
    a = part(words, scales, 0, WN, R, A)
    acc, more = settle(acc, more, a0, 1, EXTRA)
    slot = 1
    phase = 0
    free = 0
    for chunk in range(0, CHUNKS):
        ahead = chunk + 1
        ok = ahead < CHUNKS
        next_words = load_words(w_tile, w_off, ahead, ok, WN, R, W)
        next_scales = gl.load(s32_tile + ahead * 16 + s_off, mask=ok, other=0)
        for half in gl.static_range(2):
            mbarrier.wait(bars.index(slot), phase)
            acc, more = product(a, ring, extra, slot, 0, acc, more, EXTRA)
            acc, more = settle(acc, more, before, 1, EXTRA)
            _barrier()
            coming = 2 * chunk + half + STAGES
            fetch(xd, xe, ring, extra, bars, free, start, (coming - 1) * 64, BM, EXTRA, coming < TILES)
            before = a
            a = part(words, scales, 2 * half + 1, WN, R, A)
            acc, more = product(a, ring, extra, slot, 1, acc, more, EXTRA)
            acc, more = settle(acc, more, before, 1, EXTRA)
            before = a
            if half == 0:
                a = part(words, scales, 2, WN, R, A)
            else:
                a = part(next_words, next_scales, 0, WN, R, A)
            free = slot
            slot += 1
            if slot == STAGES:
                slot = 0
                phase ^= 1
        words = next_words
        scales = next_scales
    acc, more = settle(acc, more, before, 0, EXTRA)
    INTER: gl.constexpr = N // 2
    bias = bias_ptr + expert * N
    store(acc, bias, h_ptr, tile * (WN * R * 8), start, rows, alpha, limit, INTER, WN, R, BM)
    if EXTRA > 0:
        store(more, bias, h_ptr, tile * (WN * R * 8), start + BM, rows - BM, alpha, limit, INTER, WN, R, EXTRA)


@gluon.jit
def up_gluon(
    xd, xe, w_ptr, s_ptr, s32_ptr, bias_ptr, h_ptr, block_expert_ptr, block_start_ptr, block_rows_ptr, block_count_ptr, alpha, limit,
    N: gl.constexpr, K: gl.constexpr, WN: gl.constexpr, R: gl.constexpr, BM: gl.constexpr, EXTRA: gl.constexpr, STAGES: gl.constexpr,
):
    """h = SwiGLU(w13 x + b13) for up to BM + EXTRA pairs of one expert and 16 R WN rows. xd: x in expert order, (pairs, K) interleaved."""
    TILES: gl.constexpr = (N // 16 + WN * R - 1) // (WN * R)
    pid = gl.program_id(0)
    live = gl.load(block_count_ptr) * TILES
    if pid < live:
        number = pid // TILES
        tile = pid % TILES
        expert = gl.load(block_expert_ptr + number)
        start = gl.load(block_start_ptr + number)
        rows = gl.load(block_rows_ptr + number)
        bars = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
        ring = gl.allocate_shared_memory(gl.bfloat16, [STAGES, BM, 64], xd.layout)
        extra = gl.allocate_shared_memory(gl.bfloat16, [STAGES, EXTRA if EXTRA > 0 else 8, 64], xe.layout)
        for i in gl.static_range(STAGES):
            mbarrier.init(bars.index(i), count=1)
        fence_async_shared()
        if EXTRA > 0:
            if rows > BM:
                block(xd, xe, w_ptr, s_ptr, s32_ptr, bias_ptr, h_ptr, ring, extra, bars, expert, start, rows, tile, alpha, limit,
                      N, K, WN, R, BM, EXTRA, STAGES)
            else:
                block(xd, xe, w_ptr, s_ptr, s32_ptr, bias_ptr, h_ptr, ring, extra, bars, expert, start, rows, tile, alpha, limit,
                      N, K, WN, R, BM, 0, STAGES)
        else:
            block(xd, xe, w_ptr, s_ptr, s32_ptr, bias_ptr, h_ptr, ring, extra, bars, expert, start, rows, tile, alpha, limit,
                  N, K, WN, R, BM, 0, STAGES)
