"""The two grouped GEMMs of the MXFP4 MoE layer for few rows per expert (tiled_kernel.py has those for many), and the reduction over a token's experts.

Rows of the accumulators are weight rows, columns are tokens. A program's G = WN * WK warps are the batch dimension of every `tl.dot`: WN along N,
WK along K (or, for DOWN by token, along the token's experts). A warp has R strips of 16 rows and BM columns.

What always goes together is one tuple of constants: WARPS (how the warps lie), CODE (how weights are laid out and decoded), STREAM (how they are loaded).
Each element gets its name before it is used: Triton 3.6.0 hands an element of a tuple to a function as no constant.
Pointers stay apart: a row of the gate and the executor's reports name each by its argument.
"""

from __future__ import annotations

import triton
import triton.language as tl

from tunefork.kernels.moe_a16w4.operands import act_index, scale_index, tail_index, word_index
from tunefork.kernels.moe_a16w4.overlap import release, wait
from tunefork.kernels.moe_a16w4.streamed import contract


@triton.jit
def _swiglu(gate, up, alpha, limit):
    """SwiGLU-OAI: (clamp(up, -limit, limit) + 1) * g * sigmoid(alpha * g), g = min(gate, limit). NaN stays NaN."""
    gate = tl.minimum(gate, limit, propagate_nan=tl.PropagateNan.ALL)
    up = tl.maximum(tl.minimum(up, limit, propagate_nan=tl.PropagateNan.ALL), -limit, propagate_nan=tl.PropagateNan.ALL)
    return (up + 1.0) * gate / (1.0 + tl.exp(-alpha * gate))


@triton.jit
def activate(acc, bias_ptr, first, alpha, limit, INTER: tl.constexpr, STRIPS: tl.constexpr, BM: tl.constexpr):
    """[STRIPS * 16, BM] sums of one expert -> [STRIPS * 8, BM] bf16 activations and their columns of h, which begin at `first`. A strip holds 8 gates,
    then their ups."""
    gate, up = tl.split(tl.permute(tl.reshape(acc, [STRIPS, 2, 8, BM]), [0, 2, 3, 1]))
    out = first + tl.arange(0, STRIPS * 8)
    gate_bias = tl.load(bias_ptr + 2 * out, mask=out < INTER, other=0.0).to(tl.float32)
    up_bias = tl.load(bias_ptr + 2 * out + 1, mask=out < INTER, other=0.0).to(tl.float32)
    gate = tl.reshape(gate, [STRIPS * 8, BM]) + gate_bias[:, None]
    up = tl.reshape(up, [STRIPS * 8, BM]) + up_bias[:, None]
    return _swiglu(gate, up, alpha, limit).to(tl.bfloat16), out


@triton.jit
def spread(pid, total, XCDS: tl.constexpr):
    """Program id -> work item, so that neighbours in work share an XCD (the hardware deals programs out round-robin)."""
    if XCDS == 1:
        return pid
    else:
        xcd = pid % XCDS
        return xcd * (total // XCDS) + tl.minimum(xcd, total % XCDS) + pid // XCDS


@triton.jit
def _nowhere(index):
    """False for every element of a tensor of indices, in its layout."""
    return index < 0


@triton.jit
def _stored(value, LAYOUT: tl.constexpr, ASM: tl.constexpr):
    """The same scalar, once this wave's stores have arrived. On gfx950 neither a barrier nor the release by one wave behind it waits for the stores of
    the others, and the program that reads them may be on another XCD, behind another L2."""
    if ASM and LAYOUT == "gfx950":
        return tl.inline_asm_elementwise("s_waitcnt vmcnt(0)", "=s,0", [value], dtype=tl.int32, is_pure=False, pack=1)
    else:
        return value


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
    WARPS: tl.constexpr,  # (WN, WK, R, BM)
    CODE: tl.constexpr,  # (LAYOUT, ASM, WIDE)
    STREAM: tl.constexpr,  # (AHEAD, UNROLL, CACHE, DEPTH)
    OVERLAP: tl.constexpr,
    XCDS: tl.constexpr,
):
    """h = SwiGLU(w13 x + b13) for BM pairs of one expert and 16 * R * WN rows.

    Not sorted (M <= BM): one program column per pair; the first pair of an expert does all of its tokens, column = token, the others leave at
    once. SPLIT > 1: the last program of a tile adds the parts, in their order.
    """
    WN: tl.constexpr = WARPS[0]
    WK: tl.constexpr = WARPS[1]
    R: tl.constexpr = WARPS[2]
    BM: tl.constexpr = WARPS[3]
    LAYOUT: tl.constexpr = CODE[0]
    ASM: tl.constexpr = CODE[1]
    WIDE: tl.constexpr = CODE[2]
    AHEAD: tl.constexpr = STREAM[0]
    UNROLL: tl.constexpr = STREAM[1]
    CACHE: tl.constexpr = STREAM[2]
    DEPTH: tl.constexpr = STREAM[3]
    G: tl.constexpr = WN * WK
    STRIPS: tl.constexpr = N // 16
    TILES: tl.constexpr = (STRIPS + WN * R - 1) // (WN * R)
    pid = tl.program_id(0)
    wait(OVERLAP)
    release(OVERLAP)
    column = tl.arange(0, BM)
    x_col, x_g, _lane = act_index(G, BM, LAYOUT)
    if SORTED:
        live = tl.load(block_count_ptr) * TILES
        if pid >= live:
            return
        item = spread(pid, live, XCDS)
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
        item = spread(pid // SPLIT, M * TOPK * TILES, XCDS)
        pair = item // TILES
        tile = item % TILES
        expert = tl.load(ids_ptr + pair)
        if expert < 0:
            return
        every = tl.arange(0, triton.next_power_of_2(BM * TOPK))
        earlier = tl.load(ids_ptr + every, mask=every < pair, other=-1)
        if tl.sum((earlier == expert).to(tl.int32), 0) > 0:
            return
        x_ok = _nowhere(x_col)
        h_row = column * TOPK
        h_ok = _nowhere(column)
        for choice in tl.static_range(TOPK):
            x_ok |= tl.load(ids_ptr + x_col * TOPK + choice, mask=x_col < M, other=-1) == expert
            hit = tl.load(ids_ptr + column * TOPK + choice, mask=column < M, other=-1) == expert
            h_ok |= hit
            h_row += tl.where(hit, choice, 0)
        token = x_col
    w_r, w_g, _lane = word_index(G, R, LAYOUT)
    s_r, s_g, _lane = scale_index(G, R, LAYOUT)
    t_r, t_g, _row, _lane = tail_index(G, R, LAYOUT)
    first = tile * (WN * R)
    w_strip = first + (w_g // WK) * R + w_r
    s_strip = first + (s_g // WK) * R + s_r
    t_strip = first + (t_g // WK) * R + t_r
    base = expert * STRIPS
    split = (pid % SPLIT) * WK
    acc = contract(
        (w_ptr, s_ptr, s32_ptr, x_ptr), (base + w_strip, w_strip < STRIPS, split + w_g % WK), (base + s_strip, s_strip < STRIPS, split + s_g % WK),
        (base + t_strip, t_strip < STRIPS, split + t_g % WK), (token * x_stride, x_ok, split + x_g % WK),
        K, WK * SPLIT, G, R, BM, LAYOUT, ASM, WIDE, AHEAD, UNROLL, CACHE, DEPTH, WAIT=False,
    )  # fmt: skip
    if WK > 1:
        acc = tl.sum(tl.reshape(acc, [WN, WK, R * 16, BM]), 1)
    acc = tl.reshape(acc, [WN * R * 16, BM])
    if SPLIT > 1:
        cell = tl.arange(0, WN * R * 16)[:, None] * BM + column[None, :]
        size: tl.constexpr = WN * R * 16 * BM
        tl.store(part_ptr + (item * SPLIT + pid % SPLIT) * size + cell, acc)
        item = _stored(item, LAYOUT, ASM)
        tl.debug_barrier()
        done = tl.atomic_add(counters_ptr + item, 1, sem="acq_rel")
        if done < SPLIT - 1:
            return
        tl.debug_barrier()
        acc = tl.zeros([WN * R * 16, BM], tl.float32)
        for other in tl.static_range(SPLIT):
            acc += tl.load(part_ptr + (item * SPLIT + other) * size + cell, cache_modifier=".cg")
    h, out = activate(acc, bias_ptr + expert * N, tile * (WN * R * 8), alpha, limit, N // 2, WN * R, BM)
    tl.store(h_ptr + h_row[None, :] * (N // 2) + out[:, None], h, mask=(out < N // 2)[:, None] & h_ok[None, :])


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
    WARPS: tl.constexpr,  # (WN, WK, R, BM); WK is TOPK times the K parts of each expert
    CODE: tl.constexpr,  # (LAYOUT, ASM, WIDE)
    STREAM: tl.constexpr,  # (AHEAD, UNROLL, CACHE, DEPTH)
    OVERLAP: tl.constexpr,
    XCDS: tl.constexpr,
    HAS_LIVE: tl.constexpr,
):
    """out[token] = sum of gate * (w2 h + b2) over the token's experts, which are the program's warps: no partial sums leave it.

    Neighbouring programs are the tokens of one tile, so that an expert two tokens share is read from memory once.
    """
    WN: tl.constexpr = WARPS[0]
    WK: tl.constexpr = WARPS[1]
    R: tl.constexpr = WARPS[2]
    BM: tl.constexpr = WARPS[3]
    LAYOUT: tl.constexpr = CODE[0]
    ASM: tl.constexpr = CODE[1]
    WIDE: tl.constexpr = CODE[2]
    AHEAD: tl.constexpr = STREAM[0]
    UNROLL: tl.constexpr = STREAM[1]
    CACHE: tl.constexpr = STREAM[2]
    DEPTH: tl.constexpr = STREAM[3]
    G: tl.constexpr = WN * WK
    PARTS: tl.constexpr = WK // TOPK
    STRIPS: tl.constexpr = N // 16
    TILES: tl.constexpr = (STRIPS + WN * R - 1) // (WN * R)
    release(OVERLAP)
    EARLY: tl.constexpr = ".cg" if OVERLAP else ""
    item = spread(tl.program_id(0), M * TILES, XCDS)
    token = item % M
    tile = item // M
    if HAS_LIVE:
        if token >= tl.load(live_ptr):
            wait(OVERLAP)
            return
    w_r, w_g, _lane = word_index(G, R, LAYOUT)
    s_r, s_g, _lane = scale_index(G, R, LAYOUT)
    t_r, t_g, _row, _lane = tail_index(G, R, LAYOUT)
    x_col, x_g, _lane = act_index(G, BM, LAYOUT)
    pair = token * TOPK
    w_expert = tl.load(ids_ptr + pair + (w_g % WK) // PARTS, cache_modifier=EARLY)
    s_expert = tl.load(ids_ptr + pair + (s_g % WK) // PARTS, cache_modifier=EARLY)
    t_expert = tl.load(ids_ptr + pair + (t_g % WK) // PARTS, cache_modifier=EARLY)
    x_choice = (x_g % WK) // PARTS
    x_expert = tl.load(ids_ptr + pair + x_choice, cache_modifier=EARLY)
    first = tile * (WN * R)
    w_strip = first + (w_g // WK) * R + w_r
    s_strip = first + (s_g // WK) * R + s_r
    t_strip = first + (t_g // WK) * R + t_r
    acc = contract(
        (w_ptr, s_ptr, s32_ptr, h_ptr),
        (w_expert * STRIPS + w_strip, (w_strip < STRIPS) & (w_expert >= 0), w_g % PARTS),
        (s_expert * STRIPS + s_strip, (s_strip < STRIPS) & (s_expert >= 0), s_g % PARTS),
        (t_expert * STRIPS + t_strip, (t_strip < STRIPS) & (t_expert >= 0), t_g % PARTS),
        ((pair + x_choice) * K, (x_col == 0) & (x_expert >= 0), x_g % PARTS),
        K, PARTS, G, R, BM, LAYOUT, ASM, WIDE, AHEAD, UNROLL, CACHE, DEPTH, WAIT=OVERLAP,
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
    column = tl.where(expert[:, None] >= 0, (column + bias.to(tl.float32)) * gate[:, None], 0.0)
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
    WARPS: tl.constexpr,  # (WN, WK, R, BM)
    CODE: tl.constexpr,  # (LAYOUT, ASM, WIDE)
    STREAM: tl.constexpr,  # (AHEAD, UNROLL, CACHE, DEPTH)
    OVERLAP: tl.constexpr,
    XCDS: tl.constexpr,
    FUSED: tl.constexpr,
):
    """part[pair] = gate * (w2 h + b2) for BM pairs of one expert. FUSED: the program that completes a token's tile also adds its TOPK parts, in
    choice order whoever comes last, and writes it out."""
    WN: tl.constexpr = WARPS[0]
    WK: tl.constexpr = WARPS[1]
    R: tl.constexpr = WARPS[2]
    BM: tl.constexpr = WARPS[3]
    LAYOUT: tl.constexpr = CODE[0]
    ASM: tl.constexpr = CODE[1]
    WIDE: tl.constexpr = CODE[2]
    AHEAD: tl.constexpr = STREAM[0]
    UNROLL: tl.constexpr = STREAM[1]
    CACHE: tl.constexpr = STREAM[2]
    DEPTH: tl.constexpr = STREAM[3]
    G: tl.constexpr = WN * WK
    STRIPS: tl.constexpr = N // 16
    ROWS: tl.constexpr = WN * R * 16
    TILES: tl.constexpr = (STRIPS + WN * R - 1) // (WN * R)
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
    w_r, w_g, _lane = word_index(G, R, LAYOUT)
    s_r, s_g, _lane = scale_index(G, R, LAYOUT)
    t_r, t_g, _row, _lane = tail_index(G, R, LAYOUT)
    first = tile * (WN * R)
    w_strip = first + (w_g // WK) * R + w_r
    s_strip = first + (s_g // WK) * R + s_r
    t_strip = first + (t_g // WK) * R + t_r
    base = expert * STRIPS
    x_col, x_g, _lane = act_index(G, BM, LAYOUT)
    acc = contract(
        (w_ptr, s_ptr, s32_ptr, h_ptr), (base + w_strip, w_strip < STRIPS, w_g % WK), (base + s_strip, s_strip < STRIPS, s_g % WK),
        (base + t_strip, t_strip < STRIPS, t_g % WK), ((start + x_col) * K, x_col < rows, x_g % WK),
        K, WK, G, R, BM, LAYOUT, ASM, WIDE, AHEAD, UNROLL, CACHE, DEPTH, WAIT=OVERLAP,
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
        tile = _stored(tile, LAYOUT, ASM)
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
    OVERLAP: tl.constexpr,
):
    """out[token] = sum of its local experts' parts, in choice order."""
    token = tl.program_id(0)
    wait(OVERLAP)
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
