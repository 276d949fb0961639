"""Faults put into working machine code are caught: missing waits, missing barriers, short buffers, wrong decoding."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
import triton
import triton.language as tl

from tunefork.kernels.amdgcn.driver import on_gfx950
from tunefork.kernels.amdgcn.errors import ExecutionError, LdsRace, MissingWait, NoProgress, OutOfBounds, UnknownInstruction

TILE, DEPTH = 32, 256
Filter = Callable[[str], str]


@triton.jit
def product_kernel(a, b, c, depth, columns, TILE: tl.constexpr, STEP: tl.constexpr):
    rows, cs, ks = tl.program_id(0) * TILE + tl.arange(0, TILE), tl.arange(0, TILE), tl.arange(0, STEP)
    total = tl.zeros((TILE, TILE), tl.float32)
    for k in range(0, depth, STEP):
        left = tl.load(a + rows[:, None] * depth + (k + ks)[None, :])
        right = tl.load(b + (k + ks)[:, None] * columns + cs[None, :])
        total = tl.dot(left, right, total)
    tl.store(c + rows[:, None] * columns + cs[None, :], total)


@triton.jit
def decode_kernel(x, w, s, c, depth, TILE: tl.constexpr, STEP: tl.constexpr):
    rows, packed, blocks = tl.arange(0, TILE), tl.arange(0, STEP // 2), tl.arange(0, STEP // 32)
    ks = tl.arange(0, STEP)
    total = tl.zeros((TILE, TILE), tl.float32)
    for k in range(0, depth, STEP):
        left = tl.load(x + rows[:, None] * depth + (k + ks)[None, :])
        right = tl.load(w + rows[None, :] * (depth // 2) + (k // 2 + packed)[:, None])
        scale = tl.load(s + rows[:, None] * (depth // 32) + (k // 32 + blocks)[None, :])
        total = tl.dot_scaled(left, None, "bf16", right, scale, "e2m1", total)
    tl.store(c + rows[:, None] * TILE + rows[None, :], total)


def run_product(change: Filter | None = None, *, short: int = 0, lockstep: bool = True) -> float:
    """Largest error of the small matmul, its text changed by ``change``; ``short`` elements are missing from a."""
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(TILE * DEPTH, generator=generator).bfloat16()
    b = torch.randn(DEPTH, TILE, generator=generator).bfloat16()
    c = torch.full((TILE, TILE), float("nan"))
    given = a[: a.numel() - short].clone()
    with on_gfx950(program_filter=change, lockstep=lockstep, most_steps=20_000):
        product_kernel[(1,)](given, b, c, DEPTH, TILE, TILE=TILE, STEP=64)
    return float((c - a.view(TILE, DEPTH).float() @ b.float()).abs().max())


def run_decode(change: Filter | None = None) -> float:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(TILE, DEPTH, generator=generator).bfloat16()
    w = torch.randint(0, 256, (TILE, DEPTH // 2), generator=generator, dtype=torch.uint8)
    s = torch.randint(120, 134, (TILE, DEPTH // 32), generator=generator, dtype=torch.uint8)
    c = torch.full((TILE, TILE), float("nan"))
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
    weights = torch.stack((values[(w & 15).long()], values[(w >> 4).long()]), -1).flatten(-2)
    weights = weights * torch.exp2(s.float() - 127).repeat_interleave(32, -1)
    with on_gfx950(program_filter=change, most_steps=20_000):
        decode_kernel[(1,)](x, w, s, c, DEPTH, TILE=TILE, STEP=128)
    return float((c - x.float() @ weights.T).abs().max() / c.abs().max())


def replaced(pattern: str, at: int, by: str) -> Filter:
    """A filter that replaces the ``at``-th line that matches."""

    def change(text: str) -> str:
        lines = text.split("\n")
        places = [number for number, line in enumerate(lines) if re.match(pattern, line)]
        lines[places[at]] = by
        return "\n".join(lines)

    return change


def count(pattern: str) -> int:
    """How many lines of the small matmul's text match."""
    found = []
    run_product(lambda text: found.append(len(re.findall(pattern, text, re.M))) or text)  # type: ignore[func-returns-value]
    return found[0]


def outcome(change: Filter, *, lockstep: bool = True) -> str:
    """What a changed text leads to: the name of the error, "wrong", or "same"."""
    try:
        error = run_product(change, lockstep=lockstep)
    except ExecutionError as caught:
        return type(caught).__name__
    return "same" if error < 1e-3 else "wrong"


def test_the_unchanged_code_is_right() -> None:
    assert run_product() < 1e-3
    assert run_product(lockstep=False) < 1e-3
    assert run_decode() < 1e-5


def test_every_removed_wait_is_caught() -> None:
    """Each wait of the code that runs is removed once; the fallback prologue before the entry does not run."""
    pattern = r"^\ts_waitcnt"
    outcomes = {at: outcome(replaced(pattern, at, "\ts_nop 0")) for at in range(1, count(pattern))}
    missed = {at: found for at, found in outcomes.items() if found == "same"}
    assert not missed, outcomes
    assert "MissingWait" in outcomes.values()


@pytest.mark.slow
@pytest.mark.parametrize("lockstep", [True, False], ids=["lockstep", "one-by-one"])
def test_every_removed_barrier_is_caught(lockstep: bool) -> None:
    pattern = r"^\ts_barrier"
    total = count(pattern)
    assert total >= 2
    for at in range(total):
        # A barrier that orders direct-to-LDS loads (newer Triton) is missed as bytes still in flight.
        assert outcome(replaced(pattern, at, "\ts_nop 0"), lockstep=lockstep) in (LdsRace.__name__, MissingWait.__name__), at


def test_a_missing_wait_names_register_instruction_and_source_line() -> None:
    pattern = r"^\ts_waitcnt vmcnt"
    with pytest.raises(MissingWait, match=r"`.*` \(test_executor_faults.py:\d+\): (v\d+ is used while the load|LDS bytes are used while)"):
        run_product(replaced(pattern, 0, "\ts_nop 0"))


def test_a_short_buffer_is_out_of_bounds() -> None:
    with pytest.raises(OutOfBounds, match=r"_load_.*faults.py:\d+.*in no registered buffer.*argument 0"):
        run_product(short=1)


@pytest.mark.parametrize(
    ("name", "pattern", "by"),
    [
        ("wrong nibble order", r"(v_cvt_scalef32_pk_bf16_fp4 \S+ \S+ \S+) op_sel:\[1,0,0\]", r"\1 op_sel:[0,1,0]"),
        ("same byte twice", r"(v_cvt_scalef32_pk_bf16_fp4 \S+ \S+ \S+) op_sel:\[1,1,0\]", r"\1"),
        ("another matrix operand", r"(v_mfma_f32_\S+ [va]\[\d+:\d+\]), (v\[\d+:\d+\]), (v\[\d+:\d+\])", r"\1, \3, \2"),
        ("negated input", r"(v_cvt_scalef32_pk_bf16_fp4 \S+ \S+) (v\d+)", r"\1 1.0"),
    ],
)
def test_wrong_decoding_is_wrong(name: str, pattern: str, by: str) -> None:
    changed = []

    def change(text: str) -> str:
        new, times = re.subn(pattern, by, text)
        changed.append(times)
        return new

    try:
        error = run_decode(change)
    except ExecutionError:
        error = 1.0
    assert changed[0] > 0, f"{name}: nothing in the code matches"
    assert not error < 1e-3


def test_an_unknown_mnemonic_is_named() -> None:
    with pytest.raises(UnknownInstruction, match="the executor does not know v_made_up_b32"):
        run_product(replaced(r"^\tv_\w+", 3, "\tv_made_up_b32 v0, v1"))


def test_waiting_for_a_barrier_that_cannot_come_is_no_progress() -> None:
    """Wave 0 alone waits: the readfirstlane of the lane number decides."""

    def change(text: str) -> str:
        start = ".LBB0_0:"
        extra = (
            "\n\tv_readfirstlane_b32 s30, v0\n\ts_cmp_lg_u32 s30, 0\n\ts_cbranch_scc1 .Lelse\n\ts_barrier"
            "\n\ts_branch .Lboth\n.Lelse:\n\ts_nop 0\n.Lspin:\n\ts_branch .Lspin\n.Lboth:"
        )
        return text.replace(start, start + extra, 1)

    with pytest.raises(NoProgress, match="still running"):
        run_product(change)
