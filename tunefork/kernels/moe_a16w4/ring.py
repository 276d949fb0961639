"""The contraction for very many rows per expert, sm_90, in Gluon: wide tiles, one product in flight while the next operand is decoded, activations by TMA.

Weights go from 16-byte loads through the conversion into wgmma's register operand, as tiled.py has them, and in its layout. An operand has 32 columns: its
products run while the next one is decoded, and it is kept until the wait that ends them (`settle`). Activations come into a ring of tiles of 64 columns,
K in the operand's order (tiled.py's `interleave`) and the pairs in expert order. What lies behind the chunks of 128 comes first.

Gluon has no interpreter; tests/kernels/gluon_model.py executes this text.
"""

from __future__ import annotations

from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import mbarrier, tma, warpgroup_mma, warpgroup_mma_init, warpgroup_mma_wait

from tunefork.kernels.mxfp4 import decode as D

# Names that moved: 3.6.0 has thread_barrier, 3.7.1 and later barrier; 3.8.0 renames the copy, 3.9.0 drops its old name.
_barrier = gl.thread_barrier if hasattr(gl, "thread_barrier") else gl.barrier
_load_tile = tma.async_load if hasattr(tma, "async_load") else tma.async_copy_global_to_shared
_OPEN = gl.constexpr(D._PTX_OPEN.value)
_BITS_0 = gl.constexpr(D._PTX_BITS_0.value)
_BITS_1 = gl.constexpr(D._PTX_BITS_1.value)
_BITS_2 = gl.constexpr(D._PTX_BITS_2.value)
_BITS_3 = gl.constexpr(D._PTX_BITS_3.value)
_FACTOR_0 = gl.constexpr(D._PTX_FACTOR_0.value)
_FACTOR_1 = gl.constexpr(D._PTX_FACTOR_1.value)
_FACTOR_2 = gl.constexpr(D._PTX_FACTOR_2.value)
_FACTOR_3 = gl.constexpr(D._PTX_FACTOR_3.value)
_FACTOR_NARROW = gl.constexpr(D._PTX_FACTOR_NARROW.value)
_FACTOR_WIDE = gl.constexpr(D._PTX_FACTOR_WIDE.value)
_APPLY_NARROW = gl.constexpr(D._PTX_APPLY_NARROW.value)
_APPLY_WIDE = gl.constexpr(D._PTX_APPLY_WIDE.value)


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
def wait(OVERLAP: gl.constexpr):
    """overlap.py's, in Gluon."""
    if OVERLAP:
        gl.inline_asm_elementwise("griddepcontrol.wait; // dummy $0", "=r", [], dtype=gl.int32, is_pure=False, pack=1)


@gluon.jit
def release(OVERLAP: gl.constexpr):
    """overlap.py's, in Gluon."""
    if OVERLAP:
        gl.inline_asm_elementwise("griddepcontrol.launch_dependents; // dummy $0", "=r", [], dtype=gl.int32, is_pure=False, pack=1)


@gluon.jit
def factor(scales, slot: gl.constexpr, WIDE: gl.constexpr):
    """decode.factor, in Gluon."""
    shift: gl.constexpr = _FACTOR_0 if slot == 0 else _FACTOR_1 if slot == 1 else _FACTOR_2 if slot == 2 else _FACTOR_3
    asm: gl.constexpr = shift + (_FACTOR_WIDE if WIDE else _FACTOR_NARROW)
    return gl.inline_asm_elementwise(asm, "=r,r", [scales], dtype=gl.int32, is_pure=True, pack=1)


@gluon.jit
def apply(words, factors, slot: gl.constexpr, WIDE: gl.constexpr):
    """decode.apply, in Gluon -> [..., 2] bf16."""
    value: gl.constexpr = _BITS_0 if slot == 0 else _BITS_1 if slot == 1 else _BITS_2 if slot == 2 else _BITS_3
    asm: gl.constexpr = _OPEN + value + (_APPLY_WIDE if WIDE else _APPLY_NARROW)
    pair = gl.inline_asm_elementwise(asm, "=r,r,r", [words, factors], dtype=gl.int32, is_pure=True, pack=1)
    return gl.join(pair.to(gl.int16).to(gl.bfloat16, bitcast=True), (pair >> 16).to(gl.int16).to(gl.bfloat16, bitcast=True))


@gluon.jit
def part(words, scales, slot: gl.constexpr, WN: gl.constexpr, R: gl.constexpr, WIDE: gl.constexpr, A: gl.constexpr):
    """Group `slot` of a chunk -> [16 R WN, 32] bf16 operand."""
    pair = apply(words, gl.expand_dims(factor(scales, slot, WIDE), 1), slot, WIDE)
    return gl.convert_layout(gl.reshape(pair, [16 * R * WN, 32]), A, assert_trivial=True)


@gluon.jit
def tail_part(words, scales, WN: gl.constexpr, R: gl.constexpr, WIDE: gl.constexpr, A: gl.constexpr):
    """A tail group's words and scale bytes -> [16 R WN, 32] bf16 operand."""
    f = gl.expand_dims(factor(scales, 0, WIDE), 1)
    s0 = apply(words, f, 0, WIDE)
    s1 = apply(words, f, 1, WIDE)
    s2 = apply(words, f, 2, WIDE)
    s3 = apply(words, f, 3, WIDE)
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
def load_tail(w_tile, s_tile, group: gl.constexpr, strip, row, K: gl.constexpr, T: gl.constexpr):
    """Words and scale bytes of group `group` behind the chunks; the last one may be short: 8, 16 or 24 columns. strip: of each row, in the tile."""
    BODY: gl.constexpr = K // 128 * 128
    LEFT: gl.constexpr = K - BODY - 32 * group
    LANES: gl.constexpr = 4 if LEFT >= 32 else LEFT // 8
    tid = gl.expand_dims(gl.arange(0, 4, gl.SliceLayout(0, T)), 0)
    at = gl.expand_dims(strip * (2 * K) + 2 * BODY + 64 * group + row * LANES, 1) + tid
    if LANES < 4:
        words = gl.load(w_tile + at, mask=tid < LANES, other=0)
    else:
        words = gl.load(w_tile + at)
    scales = gl.load(s_tile + strip * (16 * ((K + 31) // 32)) + BODY // 2 + 16 * group + row).to(gl.int32) * 0x01010101
    return words, scales


@gluon.jit
def fetch(xd, xe, ring, extra, bars, slot, row, column, BM: gl.constexpr, EXTRA: gl.constexpr, pred):
    """Begin the copies of one tile of activations into the ring."""
    bar = bars.index(slot)
    mbarrier.expect(bar, (BM + EXTRA) * 128, pred=pred)
    _load_tile(xd, [row, column], bar, ring.index(slot), pred=pred)
    if EXTRA > 0:
        _load_tile(xe, [row + BM, column], bar, extra.index(slot), pred=pred)


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


@gluon.constexpr_function
def fits(N, WN, R, STEP):
    """Whether every tile can have its full WN * R strips and begin at a multiple of STEP: the last one begins earlier where it would not be full."""
    strips = N // 16
    return strips % (WN * R) == 0 or (strips >= WN * R and (strips - WN * R) % STEP == 0)


@gluon.jit
def first_strip(tile, N: gl.constexpr, WN: gl.constexpr, R: gl.constexpr, STEP: gl.constexpr):
    """Where a tile begins. What two tiles have in common both compute, in the same order of sums, and both write."""
    if fits(N, WN, R, STEP):
        return gl.minimum(tile * (WN * R), N // 16 - WN * R)
    else:
        return tile * (WN * R)


@gluon.jit
def contract(
    xd, xe, w_ptr, s_ptr, s32_ptr, ring, extra, bars, expert, start, first,
    N: gl.constexpr, K: gl.constexpr, WN: gl.constexpr, R: gl.constexpr, BM: gl.constexpr, EXTRA: gl.constexpr, RING: gl.constexpr, WIDE: gl.constexpr,
    EXACT: gl.constexpr, WAIT: gl.constexpr,
):  # fmt: skip
    """-> [16 R WN, BM] and, with EXTRA, [16 R WN, EXTRA] float32: rows of the tile by the pairs from `start` on. Strip first + r * WN + warp; EXACT: there
    are as many, else those beyond the last repeat it.

    The ring's tile t lies in slot t % RING. A slot is filled again where all warps have passed a barrier behind the wait that ended its last product.
    """
    STRIPS: gl.constexpr = N // 16
    CHUNKS: gl.constexpr = K // 128
    GROUPS: gl.constexpr = (K - CHUNKS * 128 + 31) // 32
    TAILS: gl.constexpr = (GROUPS + 1) // 2
    TILES: gl.constexpr = TAILS + 2 * CHUNKS
    STRIP_SCALES: gl.constexpr = 16 * ((K + 31) // 32)
    gl.static_assert(CHUNKS > 0)
    gl.static_assert(RING >= 3)
    MMA: gl.constexpr = mma_layout(WN, BM)
    A: gl.constexpr = gl.DotOperandLayout(0, MMA, 2)
    W: gl.constexpr = words_layout(WN, R)
    T: gl.constexpr = tail_layout(WN, R)
    LOAD: gl.constexpr = gl.BlockedLayout([1, 4], [32, 1], [WN, 1], [1, 0])
    ROWS: gl.constexpr = 16 * R * WN

    wait(WAIT)
    for i in gl.static_range(RING if RING < TILES else TILES):
        fetch(xd, xe, ring, extra, bars, i, start, (CHUNKS * 128 + 64 * i if i < TAILS else (i - TAILS) * 64), BM, EXTRA, True)

    # A tile's strips lie behind one another: one base, small offsets that fold into the loads.
    last = STRIPS - 1 - first
    base = (expert * STRIPS + first).to(gl.int64)
    w_tile = w_ptr + base * (2 * K)
    s_tile = s_ptr + base * STRIP_SCALES
    s32_tile = s32_ptr + base * (STRIP_SCALES // 4)
    index = gl.arange(0, R * 2 * WN * 32, gl.SliceLayout(1, LOAD))
    strip = index // (64 * WN) * WN + (index // 32) % WN
    row = gl.arange(0, ROWS, gl.SliceLayout(1, W))
    s_strip = row // 16
    t_row = gl.arange(0, ROWS, gl.SliceLayout(1, T))
    t_strip = t_row // 16
    t_row = t_row % 16
    if not EXACT:
        strip = gl.minimum(strip, last)
        s_strip = gl.minimum(s_strip, last)
        t_strip = gl.minimum(t_strip, last)
    w_off = strip * (2 * K) + ((index // (32 * WN)) % 2) * 128 + (index % 32) * 4
    w_off = gl.expand_dims(w_off, 1) + gl.expand_dims(gl.arange(0, 4, gl.SliceLayout(0, LOAD)), 0)
    s_off = s_strip * (STRIP_SCALES // 4) + (row % 8) * 2 + (row // 8) % 2
    if GROUPS > 0:
        t0, ts0 = load_tail(w_tile, s_tile, 0, t_strip, t_row, K, T)
    if GROUPS > 1:
        t1, ts1 = load_tail(w_tile, s_tile, 1, t_strip, t_row, K, T)
    if GROUPS > 2:
        t2, ts2 = load_tail(w_tile, s_tile, 2, t_strip, t_row, K, T)
    if GROUPS > 3:
        t3, ts3 = load_tail(w_tile, s_tile, 3, t_strip, t_row, K, T)
    words = load_words(w_tile, w_off, 0, True, WN, R, W)
    scales = gl.load(s32_tile + s_off)

    acc = warpgroup_mma_init(gl.zeros([ROWS, BM], gl.float32, MMA))
    more = 0
    if EXTRA > 0:
        more = warpgroup_mma_init(gl.zeros([ROWS, EXTRA], gl.float32, mma_layout(WN, EXTRA)))
    # Behind every step one product runs on: `before` is its operand.
    if GROUPS > 0:
        before = tail_part(t0, ts0, WN, R, WIDE, A)
        mbarrier.wait(bars.index(0), 0)
        acc, more = product(before, ring, extra, 0, 0, acc, more, EXTRA)
    if GROUPS > 1:
        a = tail_part(t1, ts1, WN, R, WIDE, A)
        acc, more = product(a, ring, extra, 0, 1, acc, more, EXTRA)
        acc, more = settle(acc, more, before, 1, EXTRA)
        before = a
    if GROUPS > 2:
        a = tail_part(t2, ts2, WN, R, WIDE, A)
        mbarrier.wait(bars.index(1), 0)
        acc, more = product(a, ring, extra, 1, 0, acc, more, EXTRA)
        acc, more = settle(acc, more, before, 1, EXTRA)
        if RING < TILES:
            _barrier()
            fetch(xd, xe, ring, extra, bars, 0, start, (RING - TAILS) * 64, BM, EXTRA, True)
        before = a
    if GROUPS > 3:
        a = tail_part(t3, ts3, WN, R, WIDE, A)
        acc, more = product(a, ring, extra, 1, 1, acc, more, EXTRA)
        acc, more = settle(acc, more, before, 1, EXTRA)
        before = a
    a = part(words, scales, 0, WN, R, WIDE, A)
    if GROUPS == 0:
        before = a
    if GROUPS < 2:
        acc, more = settle(acc, more, before, 1, EXTRA)  # nothing to wait for: the loop begins with sums, as it ends
    slot = TAILS
    phase = 0
    free = TAILS - 1 if TAILS > 0 else 0
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
            coming = TAILS + 2 * chunk + half - 1 + RING
            wanted = coming < TILES
            if TAILS == 0 and half == 0:
                wanted = wanted & (chunk > 0)
            fetch(xd, xe, ring, extra, bars, free, start, (coming - TAILS) * 64, BM, EXTRA, wanted)
            before = a
            a = part(words, scales, 2 * half + 1, WN, R, WIDE, A)
            acc, more = product(a, ring, extra, slot, 1, acc, more, EXTRA)
            acc, more = settle(acc, more, before, 1, EXTRA)
            before = a
            if half == 0:
                a = part(words, scales, 2, WN, R, WIDE, A)
            else:
                a = part(next_words, next_scales, 0, WN, R, WIDE, A)
            free = slot
            slot += 1
            if slot == RING:
                slot = 0
                phase ^= 1
        words = next_words
        scales = next_scales
    return settle(acc, more, before, 0, EXTRA)
