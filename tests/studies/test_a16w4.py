"""studies.a16w4 without AITER: the scale layout, the expected values, what is read from machine code, and what is printed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch", reason="NOT TESTED: needs torch (`pip install -e .[kernels]` and a torch)")
pytest.importorskip("triton", reason="NOT TESTED: needs triton (`pip install -e .[kernels]`)")

import torch

from studies.a16w4 import facts
from studies.a16w4.__main__ import compiled_row, executed_row, verdict
from studies.a16w4.case import SWIZZLED, Case, reference, swizzle_scales
from studies.a16w4.plan import COMPILED, EXECUTED, PATCHES, gate_up
from studies.a16w4.sides import Result
from tunefork.kernels.amdgcn.assembly import parse_instruction


def test_swizzled_scales_come_back_as_the_kernel_reads_them() -> None:
    """unswizzle_mx_scale_cdna4's reshape and permutation, on a whole matrix, gives the plain scales."""
    scales = torch.randint(0, 256, (2, 96, 16), dtype=torch.uint8)
    stored = swizzle_scales(scales)
    assert stored.shape == (2, 512, 3) and stored.stride()[-2] == 1
    packed = stored.transpose(-1, -2).reshape(2, 3, 2, 4, 16, 2, 2, 1)
    assert bool((packed.permute(0, 1, 6, 4, 2, 5, 3, 7).reshape(2, 96, 16) == scales).all())


def test_stored_sizes_are_vllms() -> None:
    """Gate and up are padded each: 360 channels of TP8 become 512, twice."""
    assert gate_up(8, 1).stored == (1024, 3072) and gate_up(1, 1).stored == (6144, 3072)
    assert Case(1, 2880, 360, gate_up=False, pad=True).stored == (3072, 512)
    assert Case(1, 720, 2880, gate_up=True).stored == (720, 2880)


def test_reference_of_one_row() -> None:
    """By hand: one expert's row, SwiGLU with the clamps, the routing weight after it."""
    case = Case(1, 2, 2, gate_up=True, experts=1, top_k=1)
    data = SimpleNamespace(expt_hist=torch.tensor([1]))
    x, w, bias = torch.tensor([[1.0, 2.0]]), torch.tensor([[[1.0, 1.0], [4.0, 3.0]]]), torch.tensor([[0.5, -0.5]])
    y = reference(case, x, w, bias, data, torch.tensor([0]), None, torch.tensor([0.5]), 1.702, 7.0)
    gate, up = 3.5, 7.0  # 4 + 6 - 0.5 is clamped
    assert y.item() == pytest.approx(0.5 * gate / (1 + 2.718281828 ** (-1.702 * gate)) * (up + 1), rel=1e-5)


def body(*lines: str) -> list[Any]:
    return [parse_instruction(line, at) for at, line in enumerate(lines)]


def test_overlap_and_lds_bytes() -> None:
    """Matrix instructions between the first load and the wait for one; bytes of 64 lanes by width, twice for the paired forms."""
    mfma = "v_mfma_f32_16x16x32_bf16 v[0:3], v[4:7], v[8:11], v[0:3]"
    loop = body(mfma, "buffer_load_dwordx4 v[0:3], v4, s[0:3], 0 offen", mfma, mfma, "s_waitcnt lgkmcnt(0)", mfma, "s_waitcnt vmcnt(0)", mfma)
    assert facts.mfma_before_wait(loop) == 3
    assert facts.mfma_before_wait(body(mfma)) == 0
    assert facts.lds_bytes(body("ds_read_b128 v[0:3], v4", "ds_write2_b64 v0, v[1:2], v[3:4]", "ds_read_u8 v0, v1", mfma)) == 64 * (16 + 16 + 1)


def result(**changes: Any) -> Result:
    config = {"block_m": 16, "block_n": 32, "num_warps": 4, "num_stages": 1, "split_k": 1, "grid": 92}
    found = {"vgpr": 100, "spills": 0, "waves": 4, "barrier": 6, "cycles_each": 20.0}
    return Result(config | changes.pop("config", {}), found | changes.pop("facts", {}), **changes)


def test_rows_say_what_changed() -> None:
    """A cell holds one value where both sides agree, else old -> new."""
    case = Case(1, 720, 2880, gate_up=True, swizzle=SWIZZLED, force={"split_k": 4})
    row = compiled_row(case, result(), result(config={"split_k": 4, "grid": 368}, facts={"vgpr": 98}))
    assert row == (
        "| M=1 gate-up N=720 K=2880 swizzled split_k=4 | 16x32, 4, 1 -> 16x32, 4, 1, 4 parts | 92 -> 368 | 100 -> 98 | 0 | 4 | 6 | 20.0 |"
    )
    old, new = result(error=2.5, y=torch.ones(2, 2), x_bytes=64), result(error=0.01, y=torch.ones(2, 2), x_bytes=8)
    assert executed_row(case, old, new).split(" | ")[1:5] == ["WRONG, error 2.50", "error 0.0100", "equal, bit for bit", "64 -> 8"]
    assert executed_row(case, result(fault="spills to scratch"), new).split(" | ")[3:5] == ["-", "- -> 8"]


def test_a_fault_is_no_pass() -> None:
    assert verdict(result(fault="16 bytes at 0x0 are in no registered buffer (...)")) == "reads out of bounds"
    assert verdict(result(fault="spills to scratch")) == "spills to scratch"
    assert verdict(result(error=float("inf"))).startswith("WRONG")


def test_every_patch_of_the_kernel_is_in_the_plan() -> None:
    """One that the table lacks would look compared."""
    from tunefork.base.layout import Layout

    names = Layout.here().series_dir("aiter").joinpath("series").read_text().split()
    assert [name.removesuffix(".patch") for name in names if name.startswith("a16w4-")] == list(PATCHES)
    assert set(COMPILED) == set(EXECUTED) == set(PATCHES)
