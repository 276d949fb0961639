"""qkv projection + RoPE + KV-cache write for few tokens, and RoPE + KV-cache write alone for any number of them.

A program of the product has whole pairs (d, d + D / 2) of one head: the rows of its tile are picked so, since a tile's rows are addressed one by one
anyway. q goes out as rows; k and v go straight to their pages and nowhere else. Rounding is where vLLM's path has it: the product with its bias to
bf16, cos and sin to bf16, the rotation in float32 and once to bf16, then, for an fp8 cache, divided by its scale and converted, saturating.
"""

from __future__ import annotations

import triton
import triton.language as tl

from tunefork.kernels.moe_a16w4.overlap import release, wait
from tunefork.kernels.skinny.kernel import contract, weight_index


@triton.jit
def _as_stored(value, scale, TO: tl.constexpr):
    """float32 of bf16 -> TO: bf16, or fp8 of value / scale, at most its largest."""
    if TO.is_fp8():
        return tl.minimum(tl.maximum(value / scale, -448.0), 448.0).to(TO)
    else:
        return value.to(TO)


@triton.jit
def _rotated(first, second, cos, sin):
    """float32 halves of a head -> rotated, rounded to bf16, as float32. Source: NeoX's convention (chunks, not pairs), RoFormer (Su et al. 2021)."""
    one = (first * cos - second * sin).to(tl.bfloat16)
    two = (second * cos + first * sin).to(tl.bfloat16)
    return one.to(tl.float32), two.to(tl.float32)


@triton.jit
def qkv_rope_kernel(
    x_ptr,  # (M, K) bf16
    x_stride,
    w_ptr,  # ((HEADS + 2 * KV_HEADS) * D, K) bf16, contiguous
    bias_ptr,  # [N] bf16, or None
    res_ptr,  # (M, K) bf16; NORM only, as norm_ptr and sum_ptr
    res_stride,
    norm_ptr,  # [K] bf16
    sum_ptr,  # (M, K) bf16: x + residual
    pos_ptr,  # [M] int64
    rope_ptr,  # (positions, D): cos, then sin, D / 2 each; float32 or bf16
    slot_ptr,  # [slots] int64: block * PAGE + place; negative: not kept
    slots,  # rows of slot_ptr; later tokens are not kept
    q_ptr,  # (M, HEADS * D) bf16 or fp8
    cache_ptr,  # pages: k of a token and head at [block, head, place, 0], its v D behind
    block_stride,
    head_stride,
    place_stride,
    k_scale_ptr,  # [1] float32, as the two behind it; None where nothing is fp8
    v_scale_ptr,
    q_scale_ptr,
    M,
    eps,
    K: tl.constexpr,
    SIZES: tl.constexpr,  # (HEADS, KV_HEADS, D, PAGE)
    TILE: tl.constexpr,  # (PARTS, R, BM)
    CODE: tl.constexpr,  # (LAYOUT, ASM)
    STREAM: tl.constexpr,  # (DEPTH, CACHE)
    NORM: tl.constexpr,
    OVERLAP: tl.constexpr,
):
    """16 * R columns of [norm(x + residual)] W^T + bias, rotated where they are q's or k's."""
    HEADS: tl.constexpr = SIZES[0]
    KV_HEADS: tl.constexpr = SIZES[1]
    D: tl.constexpr = SIZES[2]
    PAGE: tl.constexpr = SIZES[3]
    PARTS: tl.constexpr = TILE[0]
    R: tl.constexpr = TILE[1]
    BM: tl.constexpr = TILE[2]
    LAYOUT: tl.constexpr = CODE[0]
    ASM: tl.constexpr = CODE[1]
    DEPTH: tl.constexpr = STREAM[0]
    CACHE: tl.constexpr = STREAM[1]
    HALF: tl.constexpr = D // 2
    SHARES: tl.constexpr = D // (16 * R)  # programs of a head
    pid = tl.program_id(0)
    release(OVERLAP)
    head = pid // SHARES
    from_d = pid % SHARES * (8 * R)  # of the first half
    row, _part, _k = weight_index(PARTS, R, LAYOUT)
    base = head * D + from_d
    row = base + row // 16 * 8 + row % 8 + row % 16 // 8 * HALF
    column = tl.arange(0, BM)
    live = column < M
    d = from_d + tl.arange(0, 8 * R)
    # Neither is written by a launch that this one may overlap: under way before the weights.
    position = tl.load(pos_ptr + column, mask=live, other=0)
    slot = tl.load(slot_ptr + column, mask=live & (column < slots), other=-1)
    if bias_ptr is not None:
        bias_one = tl.load(bias_ptr + head * D + d).to(tl.float32)
        bias_two = tl.load(bias_ptr + head * D + d + HALF).to(tl.float32)
    if OVERLAP:
        rope_at = rope_ptr + position[None, :] * D + d[:, None]
        cos = tl.load(rope_at, mask=live[None, :], other=0.0)
        sin = tl.load(rope_at + HALF, mask=live[None, :], other=0.0)
    acc, square = contract(w_ptr, row, x_ptr, x_stride, res_ptr, res_stride, norm_ptr, sum_ptr, pid == 0, M, K, K, PARTS, R, BM, LAYOUT, ASM, DEPTH, CACHE,
                           NORM, OVERLAP, False)  # fmt: skip
    if not OVERLAP:
        rope_at = rope_ptr + position[None, :] * D + d[:, None]
        cos = tl.load(rope_at, mask=live[None, :], other=0.0)
        sin = tl.load(rope_at + HALF, mask=live[None, :], other=0.0)
    if NORM:
        acc = acc * tl.rsqrt(square / K + eps)[None, :]
    one, two = tl.split(tl.permute(tl.reshape(acc, [R, 2, 8, BM]), [0, 2, 3, 1]))
    one = tl.reshape(one, [8 * R, BM])
    two = tl.reshape(two, [8 * R, BM])
    if bias_ptr is not None:
        one += bias_one[:, None]
        two += bias_two[:, None]
    one = one.to(tl.bfloat16).to(tl.float32)
    two = two.to(tl.bfloat16).to(tl.float32)
    turned, turned_two = _rotated(one, two, cos.to(tl.bfloat16).to(tl.float32), sin.to(tl.bfloat16).to(tl.float32))
    if head < HEADS:
        at = q_ptr + (column[None, :] * (HEADS * D) + (head * D + d)[:, None])
        scale = 1.0
        if q_ptr.dtype.element_ty.is_fp8():
            scale = tl.load(q_scale_ptr)
        tl.store(at, _as_stored(turned, scale, q_ptr.dtype.element_ty), mask=live[None, :])
        tl.store(at + HALF, _as_stored(turned_two, scale, q_ptr.dtype.element_ty), mask=live[None, :])
    else:
        is_v = head >= HEADS + KV_HEADS
        kv_head = (head - HEADS) % KV_HEADS
        one = tl.where(is_v, one, turned)
        two = tl.where(is_v, two, turned_two)
        scale = 1.0
        if cache_ptr.dtype.element_ty.is_fp8():
            scale = tl.where(is_v, tl.load(v_scale_ptr), tl.load(k_scale_ptr))
        kept = live & (slot >= 0)
        page = tl.where(kept, slot // PAGE, 0) * block_stride + tl.where(kept, slot % PAGE, 0) * place_stride
        at = cache_ptr + (page[None, :] + (kv_head.to(tl.int64) * head_stride + is_v.to(tl.int64) * D + d)[:, None])
        tl.store(at, _as_stored(one, scale, cache_ptr.dtype.element_ty), mask=kept[None, :])
        tl.store(at + HALF, _as_stored(two, scale, cache_ptr.dtype.element_ty), mask=kept[None, :])


@triton.jit
def rope_cache_kernel(
    qkv_ptr,  # (M, (HEADS + 2 * KV_HEADS) * D) bf16
    qkv_stride,
    pos_ptr,  # [M] int64
    rope_ptr,  # (positions, D): cos, then sin; float32 or bf16
    slot_ptr,  # [slots] int64
    slots,
    q_ptr,  # (M, HEADS * D) bf16 or fp8
    cache_ptr,
    block_stride,
    head_stride,
    place_stride,
    k_scale_ptr,  # [1] float32, as the two behind it; None where nothing is fp8
    v_scale_ptr,
    q_scale_ptr,
    SIZES: tl.constexpr,  # (HEADS, KV_HEADS, D, PAGE)
    GROUP: tl.constexpr,  # heads of a program
    OVERLAP: tl.constexpr,
):
    """One token's heads from GROUP * program_id(1) on: rotate q and k, keep k and v."""
    HEADS: tl.constexpr = SIZES[0]
    KV_HEADS: tl.constexpr = SIZES[1]
    D: tl.constexpr = SIZES[2]
    PAGE: tl.constexpr = SIZES[3]
    HALF: tl.constexpr = D // 2
    token = tl.program_id(0).to(tl.int64)
    release(OVERLAP)
    position = tl.load(pos_ptr + token)
    slot = tl.load(slot_ptr + token, mask=token < slots, other=-1)
    d = tl.arange(0, HALF)
    cos = tl.load(rope_ptr + position * D + d).to(tl.bfloat16).to(tl.float32)[None, :]
    sin = tl.load(rope_ptr + position * D + HALF + d).to(tl.bfloat16).to(tl.float32)[None, :]
    head = (tl.program_id(1) * GROUP + tl.arange(0, GROUP))[:, None]
    inside = head < HEADS + 2 * KV_HEADS
    wait(OVERLAP)
    at = qkv_ptr + (token * qkv_stride + head * D + d[None, :])
    one = tl.load(at, mask=inside, other=0.0).to(tl.float32)
    two = tl.load(at + HALF, mask=inside, other=0.0).to(tl.float32)
    turned, turned_two = _rotated(one, two, cos, sin)
    scale = 1.0
    if q_ptr.dtype.element_ty.is_fp8():
        scale = tl.load(q_scale_ptr)
    at = q_ptr + (token * (HEADS * D) + head * D + d[None, :])
    tl.store(at, _as_stored(turned, scale, q_ptr.dtype.element_ty), mask=head < HEADS)
    tl.store(at + HALF, _as_stored(turned_two, scale, q_ptr.dtype.element_ty), mask=head < HEADS)
    is_v = head >= HEADS + KV_HEADS
    one = tl.where(is_v, one, turned)
    two = tl.where(is_v, two, turned_two)
    scales = tl.full([GROUP, 1], 1.0, tl.float32)
    if cache_ptr.dtype.element_ty.is_fp8():
        scales = tl.where(is_v, tl.load(v_scale_ptr), tl.load(k_scale_ptr))
    kept = inside & (head >= HEADS) & (slot >= 0)
    kv_head = tl.where(kept, (head - HEADS) % KV_HEADS, 0).to(tl.int64)
    at = cache_ptr + (slot // PAGE * block_stride + slot % PAGE * place_stride + kv_head * head_stride + is_v.to(tl.int64) * D + d[None, :])
    tl.store(at, _as_stored(one, scales, cache_ptr.dtype.element_ty), mask=kept)
    tl.store(at + HALF, _as_stored(two, scales, cache_ptr.dtype.element_ty), mask=kept)
