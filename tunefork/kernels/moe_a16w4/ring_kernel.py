"""The two grouped GEMMs for very many rows per expert on sm_90, in Gluon: all warps of a program along N, the contraction as ring.py says.

A block has BM pairs of one expert, an expert's last block up to BM + EXTRA: what is left behind the full blocks is a second product of operands that are
decoded already.
"""

from __future__ import annotations

import triton
import triton.language as tl
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier

from tunefork.kernels.moe_a16w4.ring import _barrier, contract, first_strip, fits, release, wait

_MINOR = tuple(int(part) for part in triton.__version__.split(".")[:2])
# How the sums of `down` change lanes: over the whole ring's bytes (up to 3.7.1), over its first slots' (from 3.9.0 on), or, as 3.8.0 can do neither, by
# Triton's own conversion, which goes round by round: 130 barriers in the machine code of 128 x (256 + 32) sums where the others have 59 to 69.
_STAGE = gl.constexpr("ring" if _MINOR < (3, 8) else "slots" if _MINOR > (3, 8) else "")


@gluon.jit
def relaid(sums, ring, BM: gl.constexpr, S: gl.constexpr):
    """[rows, BM] sums in layout S, by way of the ring, which no product reads any more."""
    if _STAGE == "":
        return gl.convert_layout(sums, S)
    else:
        ROWS: gl.constexpr = sums.shape[0]
        WIDTH: gl.constexpr = sums.dtype.primitive_bitwidth
        LAYOUT: gl.constexpr = gl.NVMMASharedLayout(128, WIDTH, 2)
        if _STAGE == "ring":
            stage = ring._reinterpret(sums.dtype, [BM, ROWS], LAYOUT).permute([1, 0])
        else:
            stage = ring.slice(0, ROWS * WIDTH // 1024, dim=0).reinterpret(sums.dtype, [BM, ROWS], LAYOUT).permute([1, 0])
        _barrier()
        stage.store(sums)
        _barrier()
        return stage.load(S)


@gluon.jit
def allocate(xd, xe, BM: gl.constexpr, EXTRA: gl.constexpr, RING: gl.constexpr):
    """-> the ring, its tiles of what is beyond BM, its barriers."""
    bars = gl.allocate_shared_memory(gl.int64, [RING, 1], mbarrier.MBarrierLayout())
    ring = gl.allocate_shared_memory(gl.bfloat16, [RING, BM, 64], xd.layout)
    extra = gl.allocate_shared_memory(gl.bfloat16, [RING, EXTRA if EXTRA > 0 else 8, 64], xe.layout)
    for i in gl.static_range(RING):
        mbarrier.init(bars.index(i), count=1)
    fence_async_shared()
    return ring, extra, bars


@gluon.jit
def swiglu(gate, up, alpha, limit):
    """kernel.py's, in Gluon."""
    gate = gl.minimum(gate, limit, propagate_nan=tl.PropagateNan.ALL)
    up = gl.maximum(gl.minimum(up, limit, propagate_nan=tl.PropagateNan.ALL), -limit, propagate_nan=tl.PropagateNan.ALL)
    return (up + 1.0) * gate / (1.0 + gl.exp(-alpha * gate))


@gluon.jit
def store_h(acc, bias_ptr, h_ptr, first, start, rows, alpha, limit, INTER: gl.constexpr, WN: gl.constexpr, R: gl.constexpr, BM: gl.constexpr):
    """SwiGLU of a tile of sums, in the operand's order of K for `down`. first: its first column of h; rows: pairs that are stored."""
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
    ACROSS: gl.constexpr = OUT // 8 if OUT <= 256 else 32
    S: gl.constexpr = gl.BlockedLayout([8, 1], [ACROSS, 32 // ACROSS], [1, WN], [0, 1])
    h = gl.convert_layout(h, S)
    out = first + gl.arange(0, OUT, gl.SliceLayout(1, S))
    column = gl.arange(0, BM, gl.SliceLayout(0, S))
    at = h_ptr + gl.expand_dims((start + column) * HELD, 0) + gl.expand_dims(out, 1)
    gl.store(at, h, mask=gl.expand_dims(out < HELD, 1) & gl.expand_dims(column < rows, 0))


@gluon.jit
def places(pairs_ptr, gates_ptr, start, rows, WN: gl.constexpr, BM: gl.constexpr, EARLY: gl.constexpr):
    """-> the pairs of BM columns and their gates, one for each thread where there are enough: what `store_part` needs, on its way during the contraction."""
    EACH: gl.constexpr = BM // (32 * WN) if BM > 32 * WN else 1
    column = gl.arange(0, BM, gl.BlockedLayout([EACH], [32], [WN], [0]))
    pair = gl.load(pairs_ptr + start + column, mask=column < rows, other=0, cache_modifier=EARLY)
    return pair, gl.load(gates_ptr + pair, mask=column < rows, other=0.0, cache_modifier=EARLY)


@gluon.jit
def store_part(acc, ring, bias_ptr, part_ptr, pair, gate, first, rows, N: gl.constexpr, WN: gl.constexpr, R: gl.constexpr, BM: gl.constexpr):
    """Biased and weighted sums at their pairs. first: the tile's first row; rows: pairs that are stored."""
    ROWS: gl.constexpr = 16 * R * WN
    L: gl.constexpr = acc.type.layout
    out = first + gl.arange(0, ROWS, gl.SliceLayout(1, L))
    bias = gl.load(bias_ptr + out, mask=out < N, other=0.0).to(gl.float32)
    gate = gl.convert_layout(gate, gl.SliceLayout(0, L))
    sums = ((acc + gl.expand_dims(bias, 1)) * gl.expand_dims(gate, 0)).to(part_ptr.dtype.element_ty)
    VECTOR: gl.constexpr = 128 // part_ptr.dtype.element_ty.primitive_bitwidth
    ACROSS: gl.constexpr = ROWS // VECTOR if ROWS <= 32 * VECTOR else 32
    S: gl.constexpr = gl.BlockedLayout([VECTOR, 1], [ACROSS, 32 // ACROSS], [1, WN], [0, 1])
    sums = relaid(sums, ring, BM, S)
    out = first + gl.arange(0, ROWS, gl.SliceLayout(1, S))
    column = gl.arange(0, BM, gl.SliceLayout(0, S))
    pair = gl.convert_layout(pair, gl.SliceLayout(0, S))
    at = part_ptr + gl.expand_dims(pair * N, 0) + gl.expand_dims(out, 1)
    gl.store(at, sums, mask=gl.expand_dims(out < N, 1) & gl.expand_dims(column < rows, 0))


@gluon.jit
def up_block(
    xd, xe, w_ptr, s_ptr, s32_ptr, bias_ptr, h_ptr, ring, extra, bars, expert, start, rows, tile, alpha, limit,
    N: gl.constexpr, K: gl.constexpr, WN: gl.constexpr, R: gl.constexpr, BM: gl.constexpr, EXTRA: gl.constexpr, RING: gl.constexpr, WIDE: gl.constexpr,
):  # fmt: skip
    """One tile of h for up to BM + EXTRA pairs of one expert."""
    first = first_strip(tile, N, WN, R, 4)  # h is written in whole groups of 32 columns
    EXACT: gl.constexpr = fits(N, WN, R, 4)
    acc, more = contract(xd, xe, w_ptr, s_ptr, s32_ptr, ring, extra, bars, expert, start, first, N, K, WN, R, BM, EXTRA, RING, WIDE, EXACT, False)
    first = first * 8
    store_h(acc, bias_ptr + expert * N, h_ptr, first, start, rows, alpha, limit, N // 2, WN, R, BM)
    if EXTRA > 0:
        store_h(more, bias_ptr + expert * N, h_ptr, first, start + BM, rows - BM, alpha, limit, N // 2, WN, R, EXTRA)


@gluon.jit
def up_ring_kernel(
    xd,  # (M * TOPK, K up to whole groups) bf16 in expert order, interleaved; tiles of BM by 64
    xe,  # the same, in tiles of EXTRA by 64
    w_ptr,
    s_ptr,
    s32_ptr,
    bias_ptr,  # (E, 2 I) bf16
    h_ptr,  # (M * TOPK, I up to whole groups) bf16 in expert order, interleaved
    block_expert_ptr,
    block_start_ptr,
    block_rows_ptr,
    block_count_ptr,
    alpha,
    limit,
    N: gl.constexpr,  # 2 I
    K: gl.constexpr,
    WN: gl.constexpr,
    R: gl.constexpr,
    BM: gl.constexpr,
    EXTRA: gl.constexpr,
    RING: gl.constexpr,
    WIDE: gl.constexpr,
    OVERLAP: gl.constexpr,
):
    """h = SwiGLU(w13 x + b13) for up to BM + EXTRA pairs of one expert and 16 * R * WN rows."""
    TILES: gl.constexpr = (N // 16 + WN * R - 1) // (WN * R)
    pid = gl.program_id(0)
    wait(OVERLAP)
    release(OVERLAP)
    live = gl.load(block_count_ptr) * TILES
    if pid < live:
        tile = pid % TILES
        expert = gl.load(block_expert_ptr + pid // TILES)
        start = gl.load(block_start_ptr + pid // TILES)
        rows = gl.load(block_rows_ptr + pid // TILES)
        ring, extra, bars = allocate(xd, xe, BM, EXTRA, RING)
        if EXTRA > 0:
            if rows > BM:
                up_block(xd, xe, w_ptr, s_ptr, s32_ptr, bias_ptr, h_ptr, ring, extra, bars, expert, start, rows, tile, alpha, limit,
                         N, K, WN, R, BM, EXTRA, RING, WIDE)  # fmt: skip
            else:
                up_block(xd, xe, w_ptr, s_ptr, s32_ptr, bias_ptr, h_ptr, ring, extra, bars, expert, start, rows, tile, alpha, limit,
                         N, K, WN, R, BM, 0, RING, WIDE)  # fmt: skip
        else:
            up_block(xd, xe, w_ptr, s_ptr, s32_ptr, bias_ptr, h_ptr, ring, extra, bars, expert, start, rows, tile, alpha, limit,
                     N, K, WN, R, BM, 0, RING, WIDE)  # fmt: skip


@gluon.jit
def down_block(
    hd, he, w_ptr, s_ptr, s32_ptr, bias_ptr, part_ptr, gates_ptr, pairs_ptr, ring, extra, bars, expert, start, rows, tile,
    N: gl.constexpr, K: gl.constexpr, WN: gl.constexpr, R: gl.constexpr, BM: gl.constexpr, EXTRA: gl.constexpr, RING: gl.constexpr, WIDE: gl.constexpr,
    OVERLAP: gl.constexpr,
):  # fmt: skip
    """One tile of the parts of up to BM + EXTRA pairs of one expert."""
    EARLY: gl.constexpr = ".cg" if OVERLAP else ""  # through L2: read before the wait
    pair, gate = places(pairs_ptr, gates_ptr, start, rows, WN, BM, EARLY)
    first = first_strip(tile, N, WN, R, 1)
    EXACT: gl.constexpr = fits(N, WN, R, 1)
    acc, more = contract(hd, he, w_ptr, s_ptr, s32_ptr, ring, extra, bars, expert, start, first, N, K, WN, R, BM, EXTRA, RING, WIDE, EXACT, OVERLAP)
    if EXTRA > 0:  # no register is left for these meanwhile
        more_pair, more_gate = places(pairs_ptr, gates_ptr, start + BM, rows - BM, WN, EXTRA, "")
    first = first * 16
    store_part(acc, ring, bias_ptr + expert * N, part_ptr, pair, gate, first, rows, N, WN, R, BM)
    if EXTRA > 0:
        store_part(more, extra, bias_ptr + expert * N, part_ptr, more_pair, more_gate, first, rows - BM, N, WN, R, EXTRA)


@gluon.jit
def down_ring_kernel(
    hd,  # (M * TOPK, K up to whole groups) bf16 in expert order, interleaved; tiles of BM by 64
    he,  # the same, in tiles of EXTRA by 64
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
    N: gl.constexpr,
    K: gl.constexpr,
    WN: gl.constexpr,
    R: gl.constexpr,
    BM: gl.constexpr,
    EXTRA: gl.constexpr,
    RING: gl.constexpr,
    WIDE: gl.constexpr,
    OVERLAP: gl.constexpr,
):
    """part[pair] = gate * (w2 h + b2) for up to BM + EXTRA pairs of one expert."""
    TILES: gl.constexpr = (N // 16 + WN * R - 1) // (WN * R)
    pid = gl.program_id(0)
    release(OVERLAP)
    EARLY: gl.constexpr = ".cg" if OVERLAP else ""
    live = gl.load(block_count_ptr, cache_modifier=EARLY) * TILES
    if pid < live:
        tile = pid % TILES
        expert = gl.load(block_expert_ptr + pid // TILES, cache_modifier=EARLY)
        start = gl.load(block_start_ptr + pid // TILES, cache_modifier=EARLY)
        rows = gl.load(block_rows_ptr + pid // TILES, cache_modifier=EARLY)
        ring, extra, bars = allocate(hd, he, BM, EXTRA, RING)
        if EXTRA > 0:
            if rows > BM:
                down_block(hd, he, w_ptr, s_ptr, s32_ptr, bias_ptr, part_ptr, gates_ptr, pairs_ptr, ring, extra, bars, expert, start, rows, tile,
                           N, K, WN, R, BM, EXTRA, RING, WIDE, OVERLAP)  # fmt: skip
            else:
                down_block(hd, he, w_ptr, s_ptr, s32_ptr, bias_ptr, part_ptr, gates_ptr, pairs_ptr, ring, extra, bars, expert, start, rows, tile,
                           N, K, WN, R, BM, 0, RING, WIDE, OVERLAP)  # fmt: skip
        else:
            down_block(hd, he, w_ptr, s_ptr, s32_ptr, bias_ptr, part_ptr, gates_ptr, pairs_ptr, ring, extra, bars, expert, start, rows, tile,
                       N, K, WN, R, BM, 0, RING, WIDE, OVERLAP)  # fmt: skip
    else:
        wait(OVERLAP)
