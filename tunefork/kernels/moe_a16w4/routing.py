"""Kernels that choose each token's experts and, for larger batches, order the (token, choice) pairs by expert.

A pair is ``token * TOPK + choice``. Ties go to the lower expert id. Tokens at or beyond the live count choose nothing (id -1, weight 0), whatever
their logits hold. Ids are local: an expert map turns a global id into this rank's, or -1.
"""

from __future__ import annotations

import triton
import triton.language as tl

from tunefork.kernels.moe_a16w4.overlap import release, wait


@triton.jit
def _sortable(logits):
    """float32 -> int32 with the same order."""
    bits = logits.to(tl.int32, bitcast=True)
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def _keys(logits, expert, valid, NARROW: tl.constexpr, E_PAD: tl.constexpr):
    """Sort keys whose maximum is the best logit and, among equals, the lowest id; NARROW: the logits are bf16, so 16 bits hold them."""
    if NARROW:
        keys = (_sortable(logits) & -65536) | (E_PAD - 1 - expert)
        return tl.where(valid, keys, -2147483648)
    else:
        keys = (_sortable(logits).to(tl.int64) << 32) | (E_PAD - 1 - expert)
        return tl.where(valid, keys, -9223372036854775808)


@triton.jit
def choose(
    logits_ptr,  # (M, E)
    stride,
    tokens,  # [BT] token ids
    live,  # [BT] bool
    E: tl.constexpr,
    E_PAD: tl.constexpr,
    TOPK: tl.constexpr,
    BT: tl.constexpr,
):
    """-> chosen [BT, E_PAD] int32 (choice + 1, or 0), weights [BT, E_PAD] float32: softmax over the chosen logits."""
    expert = tl.arange(0, E_PAD)[None, :]
    raw = tl.load(logits_ptr + tokens[:, None] * stride + expert, mask=live[:, None] & (expert < E), other=0.0)
    NARROW: tl.constexpr = logits_ptr.dtype.element_ty == tl.bfloat16
    return select(raw, live, NARROW, E, E_PAD, TOPK, BT)


@triton.jit
def select(
    raw,  # [BT, E_PAD]: logits
    live,  # [BT] bool
    NARROW: tl.constexpr,  # whether they are bf16
    E: tl.constexpr,
    E_PAD: tl.constexpr,
    TOPK: tl.constexpr,
    BT: tl.constexpr,
):
    """`choose`, of logits that are loaded."""
    expert = tl.arange(0, E_PAD)[None, :]
    valid = live[:, None] & (expert < E)
    logits = raw.to(tl.float32) + 0.0  # -0.0 becomes 0.0: they are a tie
    keys = _keys(logits, expert, valid, NARROW, E_PAD)
    chosen = tl.zeros([BT, E_PAD], tl.int32)
    best = tl.zeros([BT], tl.float32)
    for choice in tl.static_range(TOPK):
        top = tl.max(keys, 1)
        hit = (keys == top[:, None]) & valid
        chosen = tl.where(hit, choice + 1, chosen)
        if choice == 0:
            best = tl.sum(tl.where(hit, logits, 0.0), 1)
        keys = tl.where(hit, -2147483648 if NARROW else -9223372036854775808, keys)
    power = tl.where(chosen > 0, tl.exp(logits - best[:, None]), 0.0)
    return chosen, power / tl.maximum(tl.sum(power, 1), 1e-30)[:, None]


@triton.jit
def _store_choice(chosen, weights, local, ids_ptr, gates_ptr, tokens, inside, TOPK: tl.constexpr):
    """Write ids and gates in choice order; a token without choices gets -1 and 0."""
    for choice in tl.static_range(TOPK):
        hit = chosen == choice + 1
        id = tl.sum(tl.where(hit, local + 1, 0), 1) - 1
        gate = tl.sum(tl.where(hit, weights, 0.0), 1)
        tl.store(ids_ptr + tokens * TOPK + choice, id, mask=inside)
        tl.store(gates_ptr + tokens * TOPK + choice, gate, mask=inside)


@triton.jit
def _place(
    chosen,  # [BT, E_PAD] choice + 1 at local expert columns
    tokens,
    before,  # [E_PAD] pairs of this expert in earlier programs
    total,  # [E_PAD] pairs of this expert in all programs
    pairs_ptr,
    block_expert_ptr,
    block_start_ptr,
    block_rows_ptr,
    block_count_ptr,
    places_ptr,  # [M * TOPK] int32, or None: each pair's place
    first,  # whether this program writes the number of blocks
    names,  # [1, E_PAD] the local id that a column stands for
    E_PAD: tl.constexpr,
    TOPK: tl.constexpr,
    BM: tl.constexpr,
    EXTRA: tl.constexpr,
):
    """Write each pair at its place in expert order, and a block for every BM pairs of one expert; its last block has up to BM + EXTRA."""
    selected = (chosen > 0).to(tl.int32)
    start = tl.cumsum(total, 0) - total
    if EXTRA > 0:
        blocks = (tl.maximum(total - EXTRA, tl.minimum(total, 1)) + BM - 1) // BM
    else:
        blocks = (total + BM - 1) // BM
    block_start = tl.cumsum(blocks, 0) - blocks
    rank = before[None, :] + tl.cumsum(selected, 0) - selected
    hit = chosen > 0
    place = start[None, :] + rank
    tl.store(pairs_ptr + place, tokens[:, None] * TOPK + chosen - 1, mask=hit)
    if places_ptr is not None:
        for choice in tl.static_range(TOPK):
            at = tl.sum(tl.where(chosen == choice + 1, place + 1, 0), 1) - 1
            tl.store(places_ptr + tokens * TOPK + choice, at, mask=at >= 0)
    head = hit & (rank % BM == 0)
    if EXTRA > 0:
        head = head & (rank // BM < blocks[None, :])
    block = block_start[None, :] + rank // BM
    tl.store(block_expert_ptr + block, tl.broadcast_to(names, chosen.shape), mask=head)
    tl.store(block_start_ptr + block, place, mask=head)
    rows = total[None, :] - rank
    if EXTRA > 0:
        rows = tl.where(rank // BM == blocks[None, :] - 1, rows, BM)
    else:
        rows = tl.minimum(rows, BM)
    tl.store(block_rows_ptr + block, rows, mask=head)
    tl.store(block_count_ptr, tl.sum(blocks, 0), mask=first)


@triton.jit
def _localize(chosen, map_ptr, E: tl.constexpr, E_PAD: tl.constexpr, HAS_MAP: tl.constexpr):
    """-> [1, E_PAD] local id of each global expert, -1 where another rank owns it."""
    expert = tl.arange(0, E_PAD)
    if HAS_MAP:
        return tl.load(map_ptr + expert, mask=expert < E, other=-1)[None, :]
    else:
        return expert[None, :]


@triton.jit
def route_kernel(
    logits_ptr,  # (M, E)
    stride,
    live_ptr,  # [1] int32 or None
    map_ptr,  # [E] int32 or None
    ids_ptr,  # [M * TOPK] int32
    gates_ptr,  # [M * TOPK] float32
    pairs_ptr,
    block_expert_ptr,
    block_start_ptr,
    block_rows_ptr,
    block_count_ptr,
    places_ptr,
    hist_ptr,  # (programs, E_PAD) int32
    counters_ptr,  # [COUNTERS] int32
    M,
    E: tl.constexpr,
    E_PAD: tl.constexpr,
    TOPK: tl.constexpr,
    BT: tl.constexpr,
    BM: tl.constexpr,
    EXTRA: tl.constexpr,
    SORT: tl.constexpr,  # "none", "here" (one program has all tokens), "count" (route_sort_kernel follows)
    HAS_MAP: tl.constexpr,
    HAS_LIVE: tl.constexpr,
    COUNTERS: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Top-k and softmax of BT tokens; with SORT, order the pairs or count them, by local id, for the pass that does."""
    program = tl.program_id(0)
    release(OVERLAP)
    live_count = M
    if HAS_LIVE:
        live_count = tl.minimum(M, tl.load(live_ptr))
    tokens = program * BT + tl.arange(0, BT)
    chosen, weights = choose(logits_ptr, stride, tokens, tokens < live_count, E, E_PAD, TOPK, BT)
    local = _localize(chosen, map_ptr, E, E_PAD, HAS_MAP)
    _store_choice(chosen, weights, local, ids_ptr, gates_ptr, tokens, tokens < M, TOPK)
    chosen = tl.where(local >= 0, chosen, 0)
    expert = tl.arange(0, E_PAD)
    total = tl.sum((chosen > 0).to(tl.int32), 0)
    if SORT == "here":
        _place(chosen, tokens, tl.zeros_like(total), total, pairs_ptr, block_expert_ptr, block_start_ptr, block_rows_ptr, block_count_ptr,
               places_ptr, True, local, E_PAD, TOPK, BM, EXTRA)
    if SORT == "count":
        column = tl.sum(local, 0)
        tl.store(hist_ptr + program * E_PAD + column, total, mask=(column >= 0) & (expert < E))
    if COUNTERS > 0:
        slot = tl.arange(0, triton.next_power_of_2(COUNTERS))
        tl.store(counters_ptr + slot, tl.zeros_like(slot), mask=slot < COUNTERS)


@triton.jit
def route_sort_kernel(
    ids_ptr,
    hist_ptr,
    pairs_ptr,
    block_expert_ptr,
    block_start_ptr,
    block_rows_ptr,
    block_count_ptr,
    places_ptr,
    M,
    programs,
    E: tl.constexpr,  # local experts
    E_PAD: tl.constexpr,
    TOPK: tl.constexpr,
    BT: tl.constexpr,
    BM: tl.constexpr,
    EXTRA: tl.constexpr,
    PB: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """Second pass for many tokens: each program adds up the counts before it and places its own pairs (ids are local here)."""
    program = tl.program_id(0)
    release(OVERLAP)
    wait(OVERLAP)
    tokens = program * BT + tl.arange(0, BT)
    expert = tl.arange(0, E_PAD)
    before = tl.zeros([E_PAD], tl.int32)
    total = tl.zeros([E_PAD], tl.int32)
    for first in range(0, programs, PB):
        other = first + tl.arange(0, PB)[:, None]
        count = tl.load(hist_ptr + other * E_PAD + expert[None, :], mask=(other < programs) & (expert[None, :] < E), other=0)
        total += tl.sum(count, 0)
        before += tl.sum(tl.where(other < program, count, 0), 0)
    chosen = tl.zeros([BT, E_PAD], tl.int32)
    for choice in tl.static_range(TOPK):
        id = tl.load(ids_ptr + tokens * TOPK + choice, mask=tokens < M, other=-1)
        chosen = tl.where(id[:, None] == expert[None, :], choice + 1, chosen)
    _place(chosen, tokens, before, total, pairs_ptr, block_expert_ptr, block_start_ptr, block_rows_ptr, block_count_ptr,
           places_ptr, program == 0, expert[None, :], E_PAD, TOPK, BM, EXTRA)
