"""add + RMSNorm + router + top-k + softmax + sort of a decode step, in one launch or two.

A program has 16 experts, all tokens and, where the norm is a launch of its own, one of SPLIT parts of K. The one that comes last adds the parts up, in
their order, chooses and, where the MoE layer wants it, sorts. In one launch every program also writes its share of the normalised activations.
"""

from __future__ import annotations

import triton
import triton.language as tl

from tunefork.kernels.moe_a16w4.kernel import _stored
from tunefork.kernels.moe_a16w4.overlap import release
from tunefork.kernels.moe_a16w4.routing import _place, _store_choice, select
from tunefork.kernels.skinny.kernel import BY_HALVES, contract, weight_index


@triton.jit
def _write_normed(
    x_ptr, x_stride, res_ptr, res_stride, norm_ptr, normed_ptr, scale, pid, M, K: tl.constexpr, BM: tl.constexpr, SHARES: tl.constexpr,
):  # fmt: skip
    """This program's share of the columns of RMSNorm(x + residual)."""
    SHARE: tl.constexpr = (K + 8 * SHARES - 1) // (8 * SHARES) * 8
    WIDTH: tl.constexpr = triton.next_power_of_2(SHARE)
    k = pid * SHARE + tl.arange(0, WIDTH)
    token = tl.arange(0, BM)[:, None]
    inside = (token < M) & ((tl.arange(0, WIDTH) < SHARE) & (k < K))[None, :]
    x = tl.load(x_ptr + token * x_stride + k[None, :], mask=inside, other=0.0).to(tl.float32)
    both = (x + tl.load(res_ptr + token * res_stride + k[None, :], mask=inside, other=0.0).to(tl.float32)).to(tl.bfloat16)
    weight = tl.load(norm_ptr + k, mask=k < K, other=0.0).to(tl.float32)[None, :]
    tl.store(normed_ptr + token * K + k[None, :], (both.to(tl.float32) * scale[:, None] * weight).to(tl.bfloat16), mask=inside)


@triton.jit
def router_kernel(
    x_ptr,  # (M, K) bf16; without NORM what add_norm_kernel has normalised
    x_stride,
    res_ptr,  # (M, K) bf16; NORM only, as norm_ptr, sum_ptr and normed_ptr
    res_stride,
    norm_ptr,  # [K] bf16
    sum_ptr,  # (M, K) bf16: x + residual
    normed_ptr,  # (M, K) bf16
    w_ptr,  # (E, K) bf16
    bias_ptr,  # [E] bf16
    part_ptr,  # (SPLIT, BM, E) float32
    logits_ptr,  # (M, E) bf16
    live_ptr,  # [1] int32 or None: later tokens choose nothing
    ids_ptr,  # [M * TOPK] int32
    gates_ptr,  # [M * TOPK] float32
    pairs_ptr,
    block_expert_ptr,
    block_start_ptr,
    block_rows_ptr,
    block_count_ptr,
    counters_ptr,  # [COUNTERS] int32: the MoE layer's, set to zero
    done_ptr,  # [1] int32: zero before and after
    M,
    eps,
    K: tl.constexpr,
    E: tl.constexpr,
    TOPK: tl.constexpr,
    TILE: tl.constexpr,  # (PARTS, BM, SPLIT)
    SORT: tl.constexpr,  # (whether to sort, BT tokens, rows of a block)
    CODE: tl.constexpr,  # (LAYOUT, ASM)
    STREAM: tl.constexpr,  # (DEPTH, CACHE)
    NORM: tl.constexpr,
    HAS_LIVE: tl.constexpr,
    COUNTERS: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Logits, rounded to bf16, of 16 experts; the last program: top-k with softmax over the chosen (ties: the lower id), sorted where asked."""
    PARTS: tl.constexpr = TILE[0]
    BM: tl.constexpr = TILE[1]
    SPLIT: tl.constexpr = TILE[2]
    SORTED: tl.constexpr = SORT[0]
    BT: tl.constexpr = SORT[1]
    BLOCK: tl.constexpr = SORT[2]
    LAYOUT: tl.constexpr = CODE[0]
    ASM: tl.constexpr = CODE[1]
    DEPTH: tl.constexpr = STREAM[0]
    CACHE: tl.constexpr = STREAM[1]
    PROGRAMS: tl.constexpr = E // 16 * SPLIT
    COUNT: tl.constexpr = K // SPLIT
    pid = tl.program_id(0)
    release(OVERLAP)
    tile = pid // SPLIT
    split = pid % SPLIT
    row, _part, _k = weight_index(PARTS, 1, LAYOUT)
    every = tl.arange(0, E)
    bias = tl.load(bias_ptr + every).to(tl.float32)[None, :]  # under way before the launch waits
    acc, square = contract(w_ptr + split * COUNT, tile * 16 + row, x_ptr + split * COUNT, x_stride, res_ptr, res_stride, norm_ptr, sum_ptr, pid == 0, M, K,
                           COUNT, PARTS, 1, BM, LAYOUT, ASM, DEPTH, CACHE, NORM, OVERLAP, BY_HALVES and LAYOUT != "gfx950")  # fmt: skip
    if NORM:
        scale = tl.rsqrt(square / K + eps)
        _write_normed(x_ptr, x_stride, res_ptr, res_stride, norm_ptr, normed_ptr, scale, pid, M, K, BM, PROGRAMS)
        acc = acc * scale[None, :]
    expert = tile * 16 + tl.arange(0, 16)
    column = tl.arange(0, BM)
    tl.store(part_ptr + (split * BM + column[None, :]) * E + expert[:, None], acc)
    one = _stored(1, LAYOUT, ASM)
    tl.debug_barrier()
    done = tl.atomic_add(done_ptr, one, sem="acq_rel")
    if done < PROGRAMS - 1:
        return
    tl.debug_barrier()
    tl.store(done_ptr, 0)
    live = M
    if HAS_LIVE:
        live = tl.minimum(M, tl.load(live_ptr))
    tokens = tl.arange(0, BT)
    here = part_ptr + tokens[:, None] * E + every[None, :]
    sums = tl.zeros([BT, E], tl.float32)
    for other in tl.static_range(SPLIT):
        sums += tl.load(here + other * BM * E, mask=(tokens < M)[:, None], other=0.0, cache_modifier=".cg")
    logits = (sums + bias).to(tl.bfloat16)
    chosen, weights = select(logits, tokens < live, True, E, E, TOPK, BT)
    local = every[None, :]
    _store_choice(chosen, weights, local, ids_ptr, gates_ptr, tokens, tokens < M, TOPK)
    tl.store(logits_ptr + tokens[:, None] * E + every[None, :], logits, mask=(tokens < M)[:, None])
    if SORTED:
        total = tl.sum((chosen > 0).to(tl.int32), 0)
        _place(chosen, tokens, tl.zeros_like(total), total, pairs_ptr, block_expert_ptr, block_start_ptr, block_rows_ptr, block_count_ptr,
               None, True, local, E, TOPK, BLOCK, 0)  # fmt: skip
    if COUNTERS > 0:
        slot = tl.arange(0, triton.next_power_of_2(COUNTERS))
        tl.store(counters_ptr + slot, tl.zeros_like(slot), mask=slot < COUNTERS)
