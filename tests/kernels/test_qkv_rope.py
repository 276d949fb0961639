"""qkv + RoPE + KV-cache write without a GPU: in Triton's interpreter; configurations, rules, errors. The gate executes it as gfx950 machine code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tunefork.base.errors import BadInput
from tunefork.kernels.arch import ARCHES
from tunefork.kernels.qkv_rope import QkvShape, fuses, illegal, pick
from tunefork.kernels.qkv_rope.entries import shape
from tunefork.kernels.qkv_rope.launch import qkv_rope_cache, rope_cache
from tunefork.kernels.qkv_rope.plan import apart, fused
from tunefork.kernels.skinny import SkinnyConfig

NAMES = ("rule", "fp8", "one token, a head in one program", "four strips, sixteen columns")


@pytest.fixture(scope="module")
def interpreted(cases: Any) -> dict[str, dict[str, Any]]:
    return cases("decode_interpreted.py", "qkv")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_whole_numbers_come_out_exactly_in_either_layout(name: str, interpreted: dict[str, dict[str, Any]]) -> None:
    """q, the pages of tokens that have a slot, and no other place; in one launch (heads inside a page's places) and in two (places inside heads)."""
    found = interpreted[name]
    assert found["largest"] >= 1 and found["kept"] > 0 and found["none"], "zeros would hide a wrong one"
    same = ("q", "cache", "q apart", "cache apart", "bare", "sum")
    assert {key: found[key] for key in same} == dict.fromkeys(same, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "fp8"])
def test_with_the_norm_in_front(name: str, interpreted: dict[str, dict[str, Any]]) -> None:
    """2e-2: the interpreter cuts bf16 off instead of rounding it, three times here (findings/triton_interpreter_bf16_truncates.sh)."""
    assert interpreted[name]["norm"] < 2e-2


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("tp", [1, 2, 4, 8])
@pytest.mark.parametrize("tokens", [1, 4, 16, 17, 64])
def test_the_rule_is_legal_for_every_rank(arch: str, tp: int, tokens: int) -> None:
    for norm in (False, True) if tokens <= 16 else (False,):
        one = shape(tp, norm)
        assert illegal(pick(arch, one, tokens), one, tokens, arch) is None
        assert fused(arch, one, pick(arch, one, tokens)).grid[0] * 16 * pick(arch, one, tokens).strips == one.rows


def test_one_launch_where_it_was_measured_and_two_elsewhere() -> None:
    assert [fuses("sm90", shape(1), tokens) for tokens in (1, 4, 16, 17)] == [True, True, True, False]
    assert not fuses("gfx950", shape(1), 4), "never timed there: vLLM's own skinny GEMM keeps the product"
    assert apart(shape(1), 7, False).grid == (7, 5) and apart(shape(8), 7, False).grid == (7, 1)


@pytest.mark.parametrize(
    ("changes", "config", "says"),
    [({"head_dim": 48, "hidden": 128}, SkinnyConfig(8, 1, 16), "power of two"), ({"page": 0}, SkinnyConfig(8, 1, 16), "at least 1"),
     ({}, SkinnyConfig(8, 8, 16), "more than a head"), ({"norm": True}, SkinnyConfig(8, 1, 32), "bm <= 16"), ({"hidden": 96}, SkinnyConfig(8, 1, 16), "of 64")],
)  # fmt: skip
def test_what_cannot_run_is_refused(changes: dict[str, Any], config: SkinnyConfig, says: str) -> None:
    assert says in str(illegal(config, replace(QkvShape(128, 4, 2, 64, 16), **changes), 4, "gfx950"))


def test_bad_input_is_said_before_anything_is_launched() -> None:
    x, w, cache = torch.zeros(2, 128).bfloat16(), torch.zeros(512, 128).bfloat16(), torch.zeros(3, 2, 4, 128).bfloat16()
    at, rope, slots = torch.zeros(2, dtype=torch.int64), torch.zeros(9, 64), torch.zeros(2, dtype=torch.int64)
    for call, says in (
        (lambda: qkv_rope_cache(x, w.float(), None, at, rope, slots, cache), "weight: expected"),
        (lambda: qkv_rope_cache(x, w, x[0], at, rope, slots, cache), "bias: expected"),
        (lambda: qkv_rope_cache(x, w, None, at[:1], rope, slots, cache), "positions: expected"),
        (lambda: qkv_rope_cache(x, w, None, at, rope, slots.int(), cache), "slots: expected"),
        (lambda: qkv_rope_cache(x, w, None, at, rope[:, :32], slots, cache), "rope: expected"),
        (lambda: qkv_rope_cache(x, w, None, at, rope, slots, cache.float()), "cache: expected"),
        (lambda: qkv_rope_cache(x, w, None, at, rope, slots, cache.to(torch.float8_e4m3fn)), "scales: an fp8 cache"),
        (lambda: qkv_rope_cache(x, w, None, at, rope, slots, cache, residual=x), "norm_weight: "),
        (lambda: qkv_rope_cache(x, w[:496], None, at, rope, slots, cache), "no q, k and v"),
        (lambda: rope_cache(w[:2, :96], at, rope, slots, cache), "no q, k and v"),
    ):
        with pytest.raises(BadInput, match=says):
            call()
