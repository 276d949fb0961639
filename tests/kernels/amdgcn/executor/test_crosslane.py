"""Lane movement: DPP, readlane, permlane swaps, ds_permute and ds_swizzle, each against the lane it must read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

MOVES: dict[str, Callable[[int], int | None]] = {
    "quad_perm:[3,1,0,2]": lambda lane: lane // 4 * 4 + [3, 1, 0, 2][lane % 4],
    "row_shl:3": lambda lane: lane + 3 if lane % 16 + 3 < 16 else None,
    "row_shr:5": lambda lane: lane - 5 if lane % 16 >= 5 else None,
    "row_ror:4": lambda lane: lane // 16 * 16 + (lane - 4) % 16,
    "row_mirror": lambda lane: lane // 16 * 16 + 15 - lane % 16,
    "row_half_mirror": lambda lane: lane // 8 * 8 + 7 - lane % 8,
    "row_newbcast:6": lambda lane: lane // 16 * 16 + 6,
    "row_bcast:15": lambda lane: lane // 16 * 16 - 1 if lane >= 16 else None,
    "row_bcast:31": lambda lane: 31 if lane >= 32 else None,
    "wave_shl:1": lambda lane: lane + 1 if lane < 63 else None,
    "wave_shr:1": lambda lane: lane - 1 if lane else None,
    "wave_rol:1": lambda lane: (lane + 1) % 64,
    "wave_ror:1": lambda lane: (lane - 1) % 64,
}


@pytest.mark.parametrize("control", MOVES)
@pytest.mark.parametrize("fill", ["", " bound_ctrl:0"])
def test_dpp_control(control: str, fill: str, bench: Callable[..., Any]) -> None:
    """Without bound_ctrl a lane with no source keeps its value; with it, it reads zero."""
    run = bench()
    before, source = run.words(10), run.words(0)
    run.run(f"v_mov_b32_dpp v10, v0 {control} row_mask:0xf bank_mask:0xf{fill}")
    for lane, found in enumerate(run.words(10)[:64]):
        place = MOVES[control](lane)
        wanted = source[place] if place is not None else (0 if fill else before[lane])
        assert found == wanted, lane


def test_dpp_masks_and_inactive_sources(bench: Callable[..., Any]) -> None:
    run = bench()
    before, source, other = run.words(10), run.words(0), run.words(1)
    run.exec_mask(~(1 << 5) & (2**64 - 1))
    run.run("v_add_u32_dpp v10, v0, v1 quad_perm:[1,0,3,2] row_mask:0xa bank_mask:0x6")
    for lane, found in enumerate(run.words(10)[:64]):
        enabled = (lane // 16) in (1, 3) and (lane % 16 // 4) in (1, 2)
        wanted = (source[lane ^ 1] + other[lane]) & 0xFFFFFFFF if enabled else before[lane]
        assert found == wanted, lane
    run.run("v_mov_b32_dpp v11, v0 quad_perm:[1,0,3,2] row_mask:0xf bank_mask:0xf bound_ctrl:0")
    assert run.words(11)[4] == 0  # lane 5 is inactive


def test_reading_and_writing_one_lane(bench: Callable[..., Any]) -> None:
    run = bench()
    source = run.batch.vector[0].copy()
    run.scalar(4, 37 + 64)
    run.run("v_readlane_b32 s8, v0, s4")
    assert run.batch.scalar[:, 8].tolist() == source[:, 37].tolist()
    run.exec_mask(0xFF00)
    run.run("v_readfirstlane_b32 s9, v0")
    assert run.batch.scalar[:, 9].tolist() == source[:, 8].tolist()
    run.exec_mask(0)
    run.run("v_readfirstlane_b32 s9, v0", "v_writelane_b32 v0, 7, 63")
    assert run.batch.scalar[:, 9].tolist() == source[:, 0].tolist()
    assert (run.batch.vector[0][:, 63] == 7).all() and (run.batch.vector[0][:, :63] == source[:, :63]).all()


@pytest.mark.parametrize("distance", [16, 32])
def test_permlane_swap(distance: int, bench: Callable[..., Any]) -> None:
    """Odd rows of the first register change places with the even rows of the second."""
    run = bench()
    a, b = run.words(0), run.words(1)
    run.run(f"v_permlane{distance}_swap_b32_e32 v0, v1")
    odd = [lane // distance % 2 for lane in range(64)]
    assert run.words(0)[:64] == [b[lane - distance] if odd[lane] else a[lane] for lane in range(64)]
    assert run.words(1)[:64] == [b[lane] if odd[lane] else a[lane + distance] for lane in range(64)]


def test_swap(bench: Callable[..., Any]) -> None:
    run = bench()
    a, b = run.words(0), run.words(1)
    run.run("v_swap_b32 v0, v1")
    assert (run.words(0), run.words(1)) == (b, a)


def test_pull_and_push_through_lds_hardware(bench: Callable[..., Any]) -> None:
    run = bench()
    order = np.random.default_rng(1).permutation(64)
    run.batch.vector[2] = order * 4
    source = run.words(0)[:64]
    run.run("ds_bpermute_b32 v10, v2, v0", "ds_permute_b32 v11, v2, v0")
    assert run.words(10)[:64] == [source[order[lane]] for lane in range(64)]
    pushed = {int(order[lane]): source[lane] for lane in range(64)}
    assert run.words(11)[:64] == [pushed[lane] for lane in range(64)]
    run.exec_mask(1)
    run.batch.vector[2] = 4
    run.run("ds_bpermute_b32 v12, v2, v0")
    assert run.words(12)[0] == 0  # lane 1 is inactive


@pytest.mark.parametrize(("offset", "formula"), [
    ("swizzle(SWAP,16)", lambda lane: lane ^ 16),
    ("swizzle(REVERSE,8)", lambda lane: lane ^ 7),
    ("swizzle(BROADCAST,8,3)", lambda lane: lane // 8 * 8 + 3),
    ("swizzle(QUAD_PERM,1,0,3,2)", lambda lane: lane ^ 1),
    ('swizzle(BITMASK_PERM,"00p1i")', lambda lane: lane & 32 | (lane & 4) | 2 | (lane & 1 ^ 1)),
    ("0x401f", lambda lane: lane ^ 16),
    ("0x801b", lambda lane: lane // 4 * 4 + 3 - lane % 4),
])  # fmt: skip
def test_swizzle(offset: str, formula: Callable[[int], int], bench: Callable[..., Any]) -> None:
    run = bench()
    source = run.words(0)
    run.run(f"ds_swizzle_b32 v10, v0 offset:{offset}")
    assert run.words(10)[:64] == [source[formula(lane)] for lane in range(64)]
