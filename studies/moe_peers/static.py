"""What can be known of the candidates without a GPU: values in Triton's interpreter, and their code for sm_90."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from studies.moe_peers.variants import CANDIDATES, SHIPPED, call, compilations, size
from tunefork.kernels.arch import ARCHES, SM90
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.moe_a16w4.config import MoeShape, illegal
from tunefork.kernels.moe_a16w4.plan import Case

SHARED = 227 << 10  # bytes of an SM that programs may have, 1 KiB of each goes to the system
WARPS = 64


def programs(registers: int, warps: int, shared: int) -> int:
    """Programs that an SM can hold. registers: of a lane, dealt out to warps by 256."""
    arch = ARCHES[SM90.name]
    by_registers = arch.register_file // (-(-registers * arch.lanes // 256) * 256 * warps)
    return min(by_registers, SHARED // (shared + 1024), WARPS // warps)


def code_rows(tokens: int = 8192, only: str | None = None) -> Iterator[dict[str, Any]]:
    """Each candidate's two kernels at TP1: registers, shared bytes, programs an SM holds, instructions, registers written too early (0 is right)."""
    from tunefork.kernels.sm90 import compiled, overwritten, tool

    case = Case(SM90.name, MoeShape(MODEL.hidden, MODEL.intermediate, MODEL.experts, MODEL.topk), tokens, MODEL.experts)
    for name, (config, variant) in CANDIDATES.items():
        if only not in (None, name):
            continue
        assert illegal(config, case.shape, tokens, case.arch) is None, name
        for row in compilations(case, config, variant):
            done = compiled(row)
            text, usage = tool(done, "--dump-sass"), tool(done, "--dump-resource-usage")
            found = re.search(r"\bREG:(\d+)", usage)
            registers, warps = int(found[1]) if found else 0, int(row.options["num_warps"])
            yield {"candidate": name, "kernel": row.kernel.partition(".")[2], "registers": registers, "shared": done.metadata.shared, "warps": warps,
                   "programs": programs(registers, warps, done.metadata.shared), "hgmma": text.count("HGMMA"), "barriers": text.count("BAR.SYNC"),
                   "spills": len(re.findall(r"\b(?:LDL|STL)\b", text)), "early writes": len(overwritten(text))}  # fmt: skip


def value_rows() -> Iterator[dict[str, Any]]:
    """Every variant on CPU tensors, in Triton's interpreter (TRITON_INTERPRET=1 before Triton is imported): its error, and whether each bit is what the
    shipped kernels give, since no sum changes its order. The interpreter truncates to bf16, so an error may reach 1e-2 there.

    Six experts in blocks of 16, so that a group of four blocks is followed by a short one; K of 3 chunks and a tail, and of a tail alone.
    """
    from tunefork.kernels.moe_a16w4 import prepare_weights
    from tunefork.kernels.moe_a16w4.reference import fused_moe_reference

    gen = torch.Generator().manual_seed(5)
    hidden, inter, experts, topk, tokens = 400, 24, 6, 4, 12

    def matrix(rows: int, cols: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return (torch.randint(0, 256, (experts, rows, cols // 2), dtype=torch.uint8, generator=gen),
                torch.randint(119, 123, (experts, rows, -(-cols // 32)), dtype=torch.uint8, generator=gen),
                torch.randn(experts, rows, generator=gen).bfloat16())

    plain = (*matrix(2 * inter, hidden), *matrix(hidden, inter))
    weights = prepare_weights(*plain, SM90.name)
    x, logits = torch.randn(tokens, hidden, generator=gen).bfloat16(), torch.randn(tokens, experts, generator=gen).bfloat16()
    want = fused_moe_reference(x, logits, plain, topk)
    case = Case(SM90.name, MoeShape(hidden, inter, experts, topk), tokens, experts, asm=False)
    base = CANDIDATES["shipped"][0]
    small = replace(base.up, wn=8, r=1, bm=16, rest=0)
    config = replace(base, up=small, down=small)
    shipped: torch.Tensor | None = None
    for variant in dict.fromkeys((SHIPPED, *(variant for _, variant in CANDIDATES.values()))):
        out = torch.full_like(x, float("nan"))
        call(case, config, variant, weights, x, logits, torch.full((size(case, config),), 0xFF, dtype=torch.uint8), out)
        shipped = out if shipped is None else shipped
        yield {"variant": str(variant), "error": float((out.float() - want).norm() / want.norm()), "as shipped": torch.equal(out, shipped)}
