"""Asking L2 ahead: off unless asked for, refused where it cannot be, and a prefetch in the machine code where it is. What it is worth nobody has timed."""

from __future__ import annotations

import pytest
import torch

from tunefork.base.errors import BadInput
from tunefork.kernels.moe_a16w4.device import Target
from tunefork.kernels.qkv_rope import pick
from tunefork.kernels.qkv_rope.entries import shape
from tunefork.kernels.qkv_rope.plan import fused
from tunefork.kernels.registry import shipped
from tunefork.kernels.skinny.launch import check_ahead
from tunefork.kernels.skinny.plan import norm_step

WEIGHT = torch.zeros(64, 128, dtype=torch.bfloat16)
H200 = Target("sm90", asm=True)


def test_it_is_off_unless_asked_for() -> None:
    for step in (fused("sm90", shape(1), pick("sm90", shape(1), 4)), norm_step(4, 2880, True)):
        assert step.constants["AHEAD"] == 0 and step.bind["ahead_ptr"] is None and step.bind["ahead_bytes"] is None
    assert check_ahead(None, H200) == {}


def test_every_thread_asks_once() -> None:
    """LANES is the program's threads: a tensor of fewer elements is held by several threads, which would all ask."""
    for step in (fused("sm90", shape(1), pick("sm90", shape(1), 4), ahead=True), norm_step(4, 2880, True, ahead=True)):
        assert step.constants["AHEAD"] == 32 * step.warps
        assert step.bind["ahead_ptr"] == "ahead" and step.bind["ahead_bytes"] == "ahead_bytes"


def test_what_it_takes() -> None:
    assert check_ahead(WEIGHT, H200) == {"ahead": WEIGHT, "ahead_bytes": 64 * 128 * 2}
    assert check_ahead(WEIGHT[:32], H200)["ahead_bytes"] == 32 * 128 * 2, "rows from the first on: a share"
    assert check_ahead(WEIGHT, Target("sm90", asm=False)) == {}, "the interpreter has no L2"


@pytest.mark.parametrize("wrong", [WEIGHT[:, :64], WEIGHT.flatten()[1:65], WEIGHT.flatten()[:7], WEIGHT[:0]], ids=["strided", "unaligned", "no 16 bytes", "empty"])
def test_other_memory_is_refused(wrong: torch.Tensor) -> None:
    with pytest.raises(BadInput, match="ahead: expected contiguous memory, 16-byte aligned, a multiple of 16 bytes below 1 GiB"):
        check_ahead(wrong, H200)


def test_gfx950_has_none() -> None:
    with pytest.raises(BadInput, match="gfx950 has no prefetch into L2"):
        check_ahead(WEIGHT, Target("gfx950", asm=True))


@pytest.mark.slow
def test_the_machine_code_asks_and_loads_no_more() -> None:
    from tunefork.kernels.ratchet.record import records
    from tunefork.kernels.sm90 import machine_code

    (row,) = (row for row in shipped("sm90") if row.config == "tp1-m4-ahead")
    assert machine_code(row).count("UBLKPF.L2") == 1
    for held in records("sm90"):  # every Triton's: the row differs from the one without in nothing that the ratchet counts but registers
        with_, without = (held.rows[f"qkv_rope.qkv_rope_kernel [{name}] N5120 K2880 M4"] for name in ("tp1-m4-ahead", "tp1-m4"))
        assert {**with_.numbers, "registers": 0} == {**without.numbers, "registers": 0}, held.triton  # type: ignore[union-attr] # all compile
