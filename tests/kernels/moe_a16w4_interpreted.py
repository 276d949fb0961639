"""Run in a process of its own by test_moe_a16w4.py (TRITON_INTERPRET holds for a whole process): prints one JSON line per case."""

from __future__ import annotations

import json
import os
import sys
import zlib

os.environ["TRITON_INTERPRET"] = "1"

import torch
import triton
import triton.language as tl
from enclosure import Stored, enclosure, nearest, truncated  # beside this script

from tunefork.kernels.moe_a16w4 import GemmConfig, LayerConfig, fused_moe, operands, prepare_weights
from tunefork.kernels.moe_a16w4.launch import Workspace

HIDDEN, INTER, EXPERTS = 144, 24, 4


def plain(seed: int) -> tuple[torch.Tensor, ...]:
    gen = torch.Generator().manual_seed(seed)

    def matrix(rows: int, cols: int) -> tuple[torch.Tensor, ...]:
        return (torch.randint(0, 256, (EXPERTS, rows, cols // 2), dtype=torch.uint8, generator=gen),
                torch.randint(121, 125, (EXPERTS, rows, -(-cols // 32)), dtype=torch.uint8, generator=gen),
                torch.randn(EXPERTS, rows, generator=gen).bfloat16())

    return (*matrix(2 * INTER, HIDDEN), *matrix(HIDDEN, INTER))


def faulty(weights: tuple[torch.Tensor, ...], fault: str) -> tuple[torch.Tensor, ...]:
    w13, s13, b13, w2, s2, b2 = weights
    if fault == "nibble order":
        return ((w13 >> 4) | (w13 << 4), s13, b13, w2, s2, b2)
    if fault == "scale off by one":
        return (w13, s13, b13, w2, s2 + 1, b2)
    if fault == "missing bias":
        return (w13, s13, b13, w2, s2, torch.zeros_like(b2))
    if fault == "gate and up swapped":
        order = torch.arange(2 * INTER) ^ 1
        return (w13[:, order], s13[:, order], b13[:, order], w2, s2, b2)
    raise AssertionError(fault)


@triton.jit
def _store_bf16(x_ptr, out_ptr):
    tl.store(out_ptr, tl.load(x_ptr).to(tl.bfloat16))


def interpreters_store() -> Stored:
    """How this Triton's interpreter stores bf16: three quarters of the way to the next value tell."""
    value = torch.tensor([1 + 0.75 * 2**-7], dtype=torch.float32)
    out = torch.zeros(1, dtype=torch.bfloat16)
    _store_bf16[(1,)](value, out)
    return nearest if float(out) > 1 else truncated


STORED = interpreters_store()
OTHER = nearest if STORED is truncated else truncated


def inputs(name: str, tokens: int, experts: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(x of twice the row stride, logits) of a case, the same in every run."""
    gen = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    x = torch.randn(tokens, 2 * HIDDEN, generator=gen).bfloat16()[:, :HIDDEN]
    logits = torch.randn(tokens, experts, generator=gen)
    return x, logits.bfloat16() if tokens % 2 else logits


def case(name: str, arch: str, config: LayerConfig, tokens: int, live: int | None = None, mapped: bool = False) -> None:
    """Prints where the output lies: `outside`, how many elements are outside their interval; `faults`, how far outside the intervals of a
    layer with that fault they are, over the output's norm."""
    weights = plain(tokens)
    prepared = prepare_weights(*weights, arch=arch)
    x, logits = inputs(name, tokens, 2 * EXPERTS if mapped else EXPERTS)
    emap = torch.tensor([-1, 0, -1, 1, 2, -1, 3, -1], dtype=torch.int32) if mapped else None
    rows = tokens if live is None else live
    x[rows:], logits[rows:] = float("nan"), float("nan")
    out = torch.full((tokens, HIDDEN), float("nan")).bfloat16()
    space = Workspace(torch.full((1 << 20,), 255, dtype=torch.uint8))
    fused_moe(x, logits, prepared, out=out, workspace=space, config=config, expert_map=emap,
              num_live=None if live is None else torch.tensor([live], dtype=torch.int32))

    def outside(weights: tuple[torch.Tensor, ...], stored: Stored = STORED) -> torch.Tensor:
        return enclosure(x[:rows], logits[:rows], weights, stored, expert_map=emap).distance(out[:rows])

    wide = enclosure(x[:rows], logits[:rows], weights, STORED, expert_map=emap).radius > 0
    faults = {fault: float(outside(faulty(weights, fault)).norm() / out[:rows].double().norm())
              for fault in ("nibble order", "scale off by one", "missing bias", "gate and up swapped")}
    print(json.dumps({"name": name, "finite": bool(out[:rows].isfinite().all()), "outside": int((outside(weights) > 0).sum()),
                      "wide": float(wide.double().mean()), "outside_other": int((outside(weights, OTHER) > 0).sum()),
                      "untouched": bool(out[rows:].isnan().all()), "faults": faults}), flush=True)


def main() -> None:
    g = GemmConfig
    for arch, bm in (("sm90", 8), ("gfx950", 16)):
        case(f"{arch} slot", arch, LayerConfig("slot", g(1, 2, 1, bm), g(1, 4, 2, bm, ahead=False)), 1)
        case(f"{arch} slot split", arch, LayerConfig("slot", g(2, 1, 1, bm, split=2), g(1, 4, 4, bm)), 2, live=1)
        case(f"{arch} sorted fused", arch, LayerConfig("sorted", g(2, 1, 2, bm), g(2, 2, 2, bm), fused=True), 3)
        case(f"{arch} sorted mapped", arch, LayerConfig("sorted", g(2, 1, 2, bm), g(2, 2, 4, bm)), 3, mapped=True)
    case("sm90 tiled", "sm90", LayerConfig("sorted", g(4, 1, 1, 16, ahead=False, tiled=True), g(4, 1, 2, 16, ahead=False, tiled=True)), 5)
    up, down = (g(4, 1, r, 32, ahead=False, tiled=True, rest=16) for r in (1, 2))
    case("sm90 tiled rest", "sm90", LayerConfig("sorted", up, down), 18)
    for parts in (2, 4):
        up, down = (g(4, 1, r, 32, ahead=False, unroll=parts, tiled=True, rest=16) for r in (1, 2))
        case(f"sm90 tiled in {parts} parts", "sm90", LayerConfig("sorted", up, down), 18)
    operands.K_WIDTH = tl.constexpr(6 - operands.K_WIDTH.value)  # the labels of K for the other versions of Triton
    case("sm90 slot other K_WIDTH", "sm90", LayerConfig("slot", g(1, 2, 1, 8), g(1, 4, 2, 8, ahead=False)), 1)
    case("sm90 sorted fused other K_WIDTH", "sm90", LayerConfig("sorted", g(2, 1, 2, 8), g(2, 2, 2, 8), fused=True), 3)


if __name__ == "__main__":
    sys.exit(main())
