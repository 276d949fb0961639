"""Ask L2 for memory that a launch behind this one reads, while memory is idle. Nobody waits for it (NVIDIA, sm90; a hint: it changes no value)."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def ask(ptr, size, LANES: tl.constexpr, PIECE: tl.constexpr):
    """Bytes [0, size) behind ptr, dealt out to all programs in pieces. size: a multiple of 16. LANES: threads of a program, so that each asks once; a
    warp's threads ask one after another, so that PIECE bytes are many where programs are few."""
    turn = tl.arange(0, LANES) * tl.num_programs(0) + tl.program_id(0)
    start = ptr.to(tl.int64)
    for first in range(0, (size + PIECE - 1) // PIECE, tl.num_programs(0) * LANES):
        here = (first + turn) * PIECE
        left = tl.minimum(size - here, PIECE)
        tl.inline_asm_elementwise(
            "{ .reg .pred inside; setp.gt.s32 inside, $2, 0; @inside cp.async.bulk.prefetch.L2.global [$1], $2; mov.u32 $0, 0; }",
            "=r,l,r", [start + here, left], dtype=tl.int32, is_pure=False, pack=1,
        )  # fmt: skip
