"""The MoE layer's gfx950 machine code, executed: numbers of tokens, hard routings, padded rows, scales, limits, and faults that must be seen."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from loading import module

from tunefork.kernels.amdgcn.errors import ExecutionError, LdsRace, MissingWait
from tunefork.kernels.moe_a16w4 import GemmConfig, LayerConfig, prepare_weights
from tunefork.kernels.mxfp4 import dequantize

layer = module("moe_layer_on_gfx950", Path(__file__).with_name("layer.py"))

pytestmark = pytest.mark.slow
HIDDEN, INTER, EXPERTS = 272, 40, 8
SLOT = LayerConfig("slot", GemmConfig(1, 2, 1, 16), GemmConfig(1, 4, 1, 16))
SORTED = LayerConfig("sorted", GemmConfig(1, 2, 1, 16), GemmConfig(2, 1, 1, 16), fused=True)
PLAIN = layer.plain_weights(HIDDEN, INTER, EXPERTS)


def tokens_like(count: int, routing: str = "random") -> tuple[torch.Tensor, torch.Tensor]:
    gen = torch.Generator().manual_seed(count)
    x, logits = torch.randn(count, HIDDEN, generator=gen).bfloat16(), torch.randn(count, EXPERTS, generator=gen)
    if routing == "one set":
        logits[:, 2:6] += 50
    elif routing == "each its own":
        logits = torch.full_like(logits, -5.0)
        for choice in range(4):
            logits[torch.arange(count), (torch.arange(count) * 4 + choice) % EXPERTS] = 4.0 - choice
    elif routing == "empty experts":
        logits[:, 5:] -= 50
    elif routing == "ties":
        logits = (logits * 1.5).round()
    return x, logits.bfloat16()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 16])
def test_tokens_in_slot_order(count: int) -> None:
    assert layer.run_layer(PLAIN, *tokens_like(count), SLOT)[0] <= layer.TOLERANCE


@pytest.mark.parametrize("count", [3, 31, 32, 64])
def test_tokens_in_sorted_order(count: int) -> None:
    assert layer.run_layer(PLAIN, *tokens_like(count), SORTED)[0] <= layer.TOLERANCE


def test_tokens_by_two_routing_passes() -> None:
    assert layer.run_layer(PLAIN, *tokens_like(128), replace(SORTED, fused=False))[0] <= layer.TOLERANCE


@pytest.mark.parametrize("config", [SLOT, SORTED], ids=["slot", "sorted"])
@pytest.mark.parametrize("routing", ["one set", "each its own", "empty experts", "ties"])
def test_hard_routings(config: LayerConfig, routing: str) -> None:
    assert layer.run_layer(PLAIN, *tokens_like(7, routing), config)[0] <= layer.TOLERANCE


@pytest.mark.parametrize("config", [SLOT, SORTED], ids=["slot", "sorted"])
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_padded_rows_may_hold_anything_and_are_left_alone(config: LayerConfig, poison: float) -> None:
    x, logits = tokens_like(7)
    x[3:], logits[3:] = poison, poison
    error, out, _ = layer.run_layer(PLAIN, x, logits, config, live=3)
    assert error <= layer.TOLERANCE and out[3:].isnan().all()


@pytest.mark.parametrize("config", [SLOT, SORTED], ids=["slot", "sorted"])
def test_limits_clamp_on_both_sides(config: LayerConfig) -> None:
    x, logits = tokens_like(7)
    assert layer.run_layer(PLAIN, x * 40, logits, config)[0] <= layer.TOLERANCE
    assert layer.run_layer(PLAIN, x, logits, config, alpha=0.9, limit=1.5)[0] <= layer.TOLERANCE


@pytest.mark.parametrize(("low", "high", "factor"), [(0, 60, 1.0), (200, 230, 2.0**-110), (126, 132, 0.01)])
def test_scales_over_their_whole_range(low: int, high: int, factor: float) -> None:
    """e8m0 from 2**-127 up; activations are scaled so that the sums stay finite."""
    first, second = layer.plain_weights(HIDDEN, INTER, EXPERTS, scales=(low, high)), layer.plain_weights(HIDDEN, INTER, EXPERTS, scales=(110, 130))
    plain = (*first[:2], torch.zeros_like(first[2]), *second[3:5], torch.zeros_like(second[5]))
    x, logits = tokens_like(7)
    error, _, _ = layer.run_layer(plain, (x.float() * factor).bfloat16(), logits, SLOT)
    assert error <= layer.TOLERANCE


def test_one_hot_activations_decode_every_weight_bit_exactly() -> None:
    """w2 seen through gates of 1: with w13 zero, h is SwiGLU of the bias alone, which the bias makes a one-hot of exactly 1."""
    hidden, inter, experts = 32, 40, 4
    w13, s13, b13, w2, s2, b2 = layer.plain_weights(hidden, inter, experts, scales=(100, 129))
    x, logits = torch.zeros(1, hidden).bfloat16(), torch.tensor([[200.0, 0.0, 0.0, 0.0]]).bfloat16()
    want, got = dequantize(w2, s2)[0], torch.empty(hidden, inter)
    for column in range(inter):
        bias = torch.zeros_like(b13)
        bias[:, 2 * column] = 1.0  # gate; up stays 0, so that h = (0 + 1) * g * sigmoid(alpha g) with alpha so large that the sigmoid is 1
        plain = (torch.zeros_like(w13), s13, bias, w2, s2, torch.zeros_like(b2))
        _, out, _ = layer.run_layer(plain, x, logits, SLOT, alpha=200.0)
        got[:, column] = out[0].float()
    assert torch.equal(got, want)


FAULTS: dict[str, tuple[str, str, str]] = {
    "byte order": ("up_kernel", r"op_sel:\[1,0,0\]", "op_sel:[0,1,0]"),
    "scale off by one": ("up_kernel", r"(v_lshlrev_b32_e32 v\d+, )23(, v\d+)", r"\g<1>24\2"),
    "missing bias of gate and up": ("up_kernel", r"buffer_load_ushort (v\d+),[^\n]*", r"v_mov_b32_e32 \1, 0"),
    "missing bias of the output": ("down_token_kernel", r"buffer_load_ushort (v\d+),[^\n]*", r"v_mov_b32_e32 \1, 0"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_machine_code_is_seen(fault: str) -> None:
    kernel, pattern, by = FAULTS[fault]
    changed = []

    def change(text: str) -> str:
        if f".amdhsa_kernel {kernel}" not in text:
            return text
        new, times = re.subn(pattern, by, text)
        changed.append(times)
        return str(new)

    assert layer.run_layer(PLAIN, *tokens_like(3), SLOT)[0] <= layer.TOLERANCE
    try:
        error = layer.run_layer(PLAIN, *tokens_like(3), SLOT, change=change)[0]
    except ExecutionError:
        error = 1.0
    assert sum(changed) > 0, "nothing in the code matches"
    assert not error <= 3 * layer.TOLERANCE


def test_swapped_nibbles_are_seen() -> None:
    swapped = [(part >> 4) | (part << 4) if at in (0, 3) else part for at, part in enumerate(PLAIN)]
    assert not layer.run_layer(PLAIN, *tokens_like(3), SLOT, weights=prepare_weights(*swapped, arch="gfx950"))[0] <= 3 * layer.TOLERANCE


def without(kernel: str, mnemonic: str, at: int) -> Callable[[str], str]:
    """A filter that takes the ``at``-th such instruction of a kernel's running code out."""

    def change(text: str) -> str:
        if f".amdhsa_kernel {kernel}" not in text:
            return text
        lines = text.split("\n")
        lines[[number for number, line in enumerate(lines) if line.startswith(f"\t{mnemonic}")][at]] = "\ts_nop 0"
        return "\n".join(lines)

    return change


def outcomes(kernel: str, mnemonic: str, *, first: int = 0) -> dict[int, str]:
    counts: list[int] = []

    def look(text: str) -> str:
        if f".amdhsa_kernel {kernel}" in text:
            counts.append(len(re.findall(rf"^\t{mnemonic}", text, re.M)))
        return text

    layer.run_layer(PLAIN, *tokens_like(3), SLOT, change=look)
    found: dict[int, Any] = {}
    for at in range(first, counts[0]):
        try:
            error = layer.run_layer(PLAIN, *tokens_like(3), SLOT, change=without(kernel, mnemonic, at))[0]
            found[at] = "same" if error <= layer.TOLERANCE else "wrong"
        except ExecutionError as caught:
            found[at] = type(caught).__name__
    return found


def test_every_dropped_wait_of_the_first_gemm_is_seen() -> None:
    """The fallback prologue before the entry has the first wait, and does not run."""
    found = outcomes("up_kernel", "s_waitcnt", first=1)
    assert len(found) > 10 and MissingWait.__name__ in found.values()
    assert "same" not in found.values(), found


def test_every_removed_barrier_of_the_first_gemm_is_seen() -> None:
    """Three of its four order accesses that meet; the last stands between bytes that differ, so that no byte is raced for without it."""
    found = outcomes("up_kernel", "s_barrier")
    assert list(found.values()).count(LdsRace.__name__) >= 3 and set(found.values()) <= {LdsRace.__name__, MissingWait.__name__, "same"}, found
