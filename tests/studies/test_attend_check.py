"""The GPU's check of the way to attention: what it takes for a stray write, at the sizes and with the filler of the H200's rows."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
import torch

from studies.decode_step.check import places, strays
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.qkv_rope.reference import rope_cache_reference
from tunefork.kernels.skinny.reference import add_norm_reference, linear_reference

RECORD = Path(__file__).resolve().parents[2] / "studies/decode_step/records/h200-2026-11-30-attend-check.jsonl"
HIDDEN, FILLER, DRAWS = MODEL.hidden, 0.75, 12


@cache
def weight(rows: int) -> torch.Tensor:
    """One for all draws of a TP: the sums vary by what is multiplied."""
    return (torch.randn(rows, HIDDEN, generator=torch.Generator().manual_seed(1)) * HIDDEN**-0.5).bfloat16()


def drawn(tp: int, tokens: int, fp8: bool, gen: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(pages before, as the reference writes them, as the kernel with its norm in front does by its own places of rounding, slots). One head of q alone:
    q has no pages. That kernel rounds sum times norm weight and multiplies the products by 1 / rms, where the reference rounds the norm."""
    def randn(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=gen).bfloat16()

    heads = MODEL.kv_heads // tp
    rows, dtype = (1 + 2 * heads) * MODEL.head_dim, torch.float8_e4m3fn if fp8 else torch.bfloat16
    x, residual, norm, bias = randn(tokens, HIDDEN), randn(tokens, HIDDEN), randn(HIDDEN), randn(rows)
    w = weight(rows)
    positions, rope = torch.randint(0, 4096, (tokens,), generator=gen), torch.randn(4096, MODEL.head_dim, generator=gen)
    slots = torch.randperm(1024, generator=gen)[:tokens]
    if tokens > 2:
        slots[1] = -1
    before = torch.full((64, heads, 16, 2 * MODEL.head_dim), FILLER).to(dtype)
    scales = tuple(torch.tensor(value) for value in (0.5, 0.25, 2.0))
    normed, both = add_norm_reference(x, residual, norm, 1e-5)
    wide = both.float()
    late = (wide * norm.float()).bfloat16().float() @ w.float().T * torch.rsqrt(wide.square().mean(1, keepdim=True) + 1e-5) + bias.float()
    want, got = before.clone(), before.clone()
    rope_cache_reference(linear_reference(normed.bfloat16(), w, bias).bfloat16(), positions, rope, slots, want, scales, 1, dtype)
    rope_cache_reference(late.bfloat16(), positions, rope, slots, got, scales, 1, dtype)
    return before, want, got, slots


@pytest.mark.slow
@pytest.mark.parametrize("row", [row for row in map(json.loads, RECORD.read_text().splitlines()) if row["tokens"] <= 16],
                         ids=lambda row: f"tp{row['tp']}-m{row['tokens']}-{'fp8' if row['fp8'] else 'bf16'}")
def test_the_recorded_strays_are_what_the_mask_by_values_makes_of_right_pages(row: dict[str, int]) -> None:
    """By values, a place whose right value is the filler counts as one that nobody may write; a kernel that rounds elsewhere writes its neighbour there.
    Without any stray write that mask gives as many as were recorded, within what draws differ by; the mask by slots gives none."""
    gen = torch.Generator().manual_seed(0)
    by_values = []
    for _ in range(DRAWS):
        before, want, got, slots = drawn(row["tp"], row["tokens"], bool(row["fp8"]), gen)
        by_values.append(strays(got, before, want.float() != before.float()))
        assert strays(got, before, places(slots, before)) == 0
    assert min(by_values) <= row["strays"] <= max(by_values)


def test_one_place_too_many_is_one_stray() -> None:
    before = torch.full((64, 2, 16, 128), FILLER).bfloat16()
    slots = torch.tensor([35, -1])
    kept, got = places(slots, before), before.clone()
    assert int(kept.sum()) == 2 * 128 and bool(kept[2, :, 3].all())
    got[2, :, 3] = 1.0
    assert strays(got, before, kept) == 0
    got[2, 1, 4, 7] = 1.0
    assert strays(got, before, kept) == 1
