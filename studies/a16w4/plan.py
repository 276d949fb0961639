"""Which cases show what each patch of the A16W4 kernel does: GPT-OSS's shapes to compile, small ones to execute.

GPT-OSS-120B: 128 experts, 4 per token, hidden 2880, intermediate 2880 / TP. As vLLM hands it over: padded to 256, scales swizzled,
unpadded sizes passed along.
"""

from __future__ import annotations

from dataclasses import replace

from studies.a16w4.case import SWIZZLED, Case
from tunefork.kernels.model import GPT_OSS_120B

PATCHES = (
    "a16w4-split-k-tail",
    "a16w4-two-stages",
    "a16w4-waves",
    "a16w4-split-k",
    "a16w4-tiles",
    "a16w4-unpadded",
    "a16w4-dead-rows",
)
HIDDEN, INTERMEDIATE = GPT_OSS_120B.hidden, GPT_OSS_120B.intermediate


def gate_up(tp: int, tokens: int) -> Case:
    return Case(tokens, 2 * INTERMEDIATE // tp, HIDDEN, gate_up=True, swizzle=SWIZZLED, pad=True)


def down(tp: int, tokens: int) -> Case:
    return Case(tokens, HIDDEN, INTERMEDIATE // tp, gate_up=False, swizzle=SWIZZLED, pad=True)


def both_layouts(*cases: Case) -> list[Case]:
    return [replace(case, swizzle=swizzle) for case in cases for swizzle in (SWIZZLED, None)]


def forced(split: int, *cases: Case) -> list[Case]:
    return [replace(case, force={"split_k": split}) for case in cases]


SMALL = Case(3, 96, 360, gate_up=False, pad=True, experts=4, top_k=2)
"""Three tokens on four experts: 1 or 2 live rows of 16, K with a tail, the last tile of columns incomplete."""
TAILS = both_layouts(replace(SMALL, dirty=True), replace(SMALL, n=90, k=HIDDEN, gate_up=True, tokens=1, dirty=True))
TALL = both_layouts(
    *(Case(tokens, 512, 360, gate_up=False, pad=True, experts=2, top_k=2) for tokens in (30, 50)),
    *(Case(tokens, 352, 320, gate_up=True, pad=True, experts=2, top_k=2) for tokens in (30, 50)),
)
"""32 and 64 rows per block; N with whole tiles of padding."""
TALLEST = both_layouts(Case(100, 512, 360, gate_up=False, pad=True, experts=2, top_k=2), Case(100, 352, 320, gate_up=True, pad=True, experts=2, top_k=2))
"""128 rows, where the unpatched kernel spills to scratch, which the executor does not have."""

COMPILED: dict[str, list[Case]] = {
    "a16w4-split-k-tail": [gate_up(8, 1), *forced(4, gate_up(8, 1))],
    "a16w4-two-stages": both_layouts(gate_up(1, 16), gate_up(1, 1), down(1, 1), gate_up(8, 16), down(8, 1)),
    "a16w4-waves": both_layouts(gate_up(1, 1), down(1, 1), gate_up(8, 1), down(8, 1)),
    "a16w4-split-k": both_layouts(gate_up(8, 1), gate_up(8, 2), gate_up(4, 1)),
    "a16w4-tiles": both_layouts(*(gemm(1, tokens) for tokens in (1024, 2048, 8192) for gemm in (gate_up, down))),
    "a16w4-unpadded": [gemm(tp, tokens) for tokens in (1024, 2048) for tp in (1, 8) for gemm in (gate_up, down)],
    "a16w4-dead-rows": [gate_up(1, 1), down(1, 1), gate_up(8, 1), gate_up(1, 16), gate_up(1, 1024), gate_up(1, 8192)],
}
EXECUTED: dict[str, list[Case]] = {
    "a16w4-split-k-tail": [*TAILS, *forced(2, *TAILS[:2]), *forced(4, *TAILS[2:]), *forced(2, replace(SMALL, k=768))],
    "a16w4-two-stages": TAILS,
    "a16w4-waves": TAILS,
    "a16w4-split-k": [*TAILS, replace(TAILS[2], dirty=False, gammas=True)],
    "a16w4-tiles": [*TALL, *TALLEST],
    "a16w4-unpadded": [*TALL, replace(TALL[3], dirty=True), replace(TALL[5], dirty=True)],
    "a16w4-dead-rows": [*TAILS, *TALL[:2]],
}
WHOLE: list[Case] = [
    *(gemm(tp, tokens) for tp in (1, 8) for tokens in (1, 4, 16, 128) for gemm in (gate_up, down)),
    *(gemm(tp, tokens) for tp in (1, 8) for tokens in (1024, 2048, 8192) for gemm in (gate_up, down)),
]
"""The pin against the whole series."""
