"""The floor: a kernel that only reads the hit experts' weights, in two launches like the two GEMMs."""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl

from tunefork.kernels.moe_a16w4 import Weights
from tunefork.kernels.moe_a16w4.reference import route

BLOCK = 8192


@triton.jit  # type: ignore[untyped-decorator] # triton has no types
def read_kernel(  # type: ignore[no-untyped-def] # its arguments are Triton's
    words_ptr,  # int32 (E, words)
    experts_ptr,  # [hit] int32
    out_ptr,  # [programs] int32
    words,
    per_expert,
    BLOCK: tl.constexpr,
):
    """Read one block of one expert and keep what the compiler may not drop."""
    pid = tl.program_id(0)
    expert = tl.load(experts_ptr + pid // per_expert).to(tl.int64)
    at = (pid % per_expert) * BLOCK + tl.arange(0, BLOCK)
    value = tl.load(words_ptr + expert * words + at, mask=at < words, other=0)
    tl.store(out_ptr + pid, tl.max(value, 0))


def floor_call(weights: Weights, logits: torch.Tensor, topk: int) -> Callable[[], torch.Tensor]:
    """-> a call that reads w13 and w2 (values and scales) of the experts these logits choose."""
    hit = route(logits, topk)[0].unique().to(torch.int32)
    parts = [(t.view(torch.int32) if t.dtype == torch.uint8 else t) for t in (weights.w13, weights.s13, weights.w2, weights.s2)]
    joined = [(a, -(-a.shape[1] // BLOCK)) for a in parts]
    sink = torch.empty(sum(len(hit) * n for _, n in joined), dtype=torch.int32, device=logits.device)

    def run() -> torch.Tensor:
        for words, per_expert in joined[0::2]:
            read_kernel[(len(hit) * per_expert,)](words, hit, sink, words.shape[1], per_expert, BLOCK=BLOCK, num_warps=8)
        return sink

    return run
