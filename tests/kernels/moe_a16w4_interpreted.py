"""Run in a process of its own by test_moe_a16w4.py (TRITON_INTERPRET holds for a whole process): prints one JSON line per case."""

from __future__ import annotations

import json
import os
import sys
import time

os.environ["TRITON_INTERPRET"] = "1"

import torch

from tunefork.kernels.moe_a16w4 import GemmConfig, LayerConfig, fused_moe, prepare_weights
from tunefork.kernels.moe_a16w4.launch import Workspace
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference

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


def error(got: torch.Tensor, want: torch.Tensor) -> float:
    return float((got.float() - want).norm() / want.norm())


def case(name: str, arch: str, config: LayerConfig, tokens: int, live: int | None = None, mapped: bool = False) -> None:
    begin = time.monotonic()
    weights = plain(tokens)
    prepared = prepare_weights(*weights, arch=arch)
    x = torch.randn(tokens, 2 * HIDDEN).bfloat16()[:, :HIDDEN]
    x = torch.as_strided(torch.randn(tokens * 2 * HIDDEN).bfloat16(), (tokens, HIDDEN), (2 * HIDDEN, 1)).copy_(x)
    logits = torch.randn(tokens, 2 * EXPERTS if mapped else EXPERTS)
    logits = logits.bfloat16() if tokens % 2 else logits
    emap = torch.tensor([-1, 0, -1, 1, 2, -1, 3, -1], dtype=torch.int32) if mapped else None
    rows = tokens if live is None else live
    if live is not None:
        x[live:], logits[live:] = float("nan"), float("nan")
    out = torch.full((tokens, HIDDEN), float("nan")).bfloat16()
    space = Workspace(torch.full((1 << 20,), 255, dtype=torch.uint8))
    fused_moe(x, logits, prepared, out=out, workspace=space, config=config, expert_map=emap,
              num_live=None if live is None else torch.tensor([live], dtype=torch.int32))
    want = fused_moe_reference(x[:rows], logits[:rows], weights, expert_map=emap)
    faults = {}
    if live is None and not mapped:
        faults = {f: error(out, fused_moe_reference(x, logits, faulty(weights, f)))
                  for f in ("nibble order", "scale off by one", "missing bias", "gate and up swapped")}
    print(json.dumps({"name": name, "error": error(out[:rows], want), "untouched": bool(out[rows:].isnan().all()), "faults": faults,
                      "seconds": time.monotonic() - begin}), flush=True)


def main() -> None:
    g = GemmConfig
    for arch, bm in (("nvidia", 8), ("gfx950", 16)):
        case(f"{arch} slot", arch, LayerConfig("slot", g(1, 2, 1, bm), g(1, 4, 2, bm, ahead=False)), 1)
        case(f"{arch} slot split", arch, LayerConfig("slot", g(2, 1, 1, bm, split=2), g(1, 4, 4, bm)), 2, live=1)
        case(f"{arch} sorted fused", arch, LayerConfig("sorted", g(2, 1, 2, bm), g(2, 2, 2, bm), fused=True), 3)
        case(f"{arch} sorted mapped", arch, LayerConfig("sorted", g(2, 1, 2, bm), g(2, 2, 4, bm)), 3, mapped=True)
    case("nvidia tiled", "nvidia", LayerConfig("sorted", g(4, 1, 1, 16, ahead=False, tiled=True), g(4, 1, 2, 16, ahead=False, tiled=True)), 5)
    up, down = (g(4, 1, r, 32, ahead=False, tiled=True, rest=16) for r in (1, 2))
    case("nvidia tiled rest", "nvidia", LayerConfig("sorted", up, down), 18)


if __name__ == "__main__":
    sys.exit(main())
