"""AITER's Triton A16W4 kernel with each patch and without: what its launcher picks, what its gfx950 code shows and computes.

Of aiter/a16w4-split-k-tail, aiter/a16w4-two-stages, aiter/a16w4-waves, aiter/a16w4-split-k, aiter/a16w4-tiles, aiter/a16w4-unpadded and
aiter/a16w4-dead-rows.
GPT-OSS's shapes are compiled, small ones are executed on the CPU (docs/series-aiter.md has both as tables): facts and values, not times.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

pytest.importorskip("torch", reason="NOT TESTED: needs torch (`pip install -e .[kernels]` and a torch)")
pytest.importorskip("triton", reason="NOT TESTED: needs triton (`pip install -e .[kernels]`)")

from studies.a16w4.__main__ import TOLERANCE
from studies.a16w4.case import SWIZZLED, Case, choose
from studies.a16w4.plan import EXECUTED, PATCHES, TAILS, TALL, both_layouts, down, forced, gate_up
from studies.a16w4.sides import Job, Result, run_at

pytestmark = [pytest.mark.aiter, pytest.mark.slow]

Sides = Callable[..., list[tuple[Case, Result, Result]]]
DECODE = both_layouts(
    *(gate_up(tp, tokens) for tp in (1, 8) for tokens in (1, 16)), down(1, 1), down(1, 16), down(8, 1), replace(down(1, 1), pad=False)
)


@pytest.fixture
def sides(patched: Any) -> Sides:
    """Cases with what the tree before a patch and the tree with it make of them: compiled, or executed too."""

    def run(name: str, cases: list[Case], *, execute: bool = False) -> list[tuple[Case, Result, Result]]:
        patch = patched(f"aiter/{name}")
        jobs = [Job(case, execute) for case in cases]
        before, after = (run_at(patch.tree, commit, jobs) for commit in (f"{patch.commit}^", patch.commit))
        return list(zip(cases, before, after, strict=True))

    return run


def right(result: Result) -> bool:
    return not result.fault and result.error <= TOLERANCE


def same(old: Result, new: Result) -> bool:
    return old.y is not None and new.y is not None and bool((old.y == new.y).all())


@pytest.mark.parametrize("name", PATCHES)
def test_values(sides: Sides, name: str) -> None:
    """The patched kernel's gfx950 code gives what fp32 gives, in every case of the table."""
    for case, _, new in sides(name, EXECUTED[name], execute=True):
        assert right(new), (case, new.fault, new.error)


def test_tail_of_split_k(sides: Sides) -> None:
    """Parts of K: wrong or out of bounds before, right after; one part gives what it gave."""
    cases = [*forced(2, *TAILS[:2]), *forced(4, *TAILS[2:]), *forced(2, replace(TAILS[0], k=768))]
    for case, old, new in sides("a16w4-split-k-tail", cases, execute=True):
        assert new.config["split_k"] == case.force["split_k"] and right(new), (case, new.fault, new.error)
        assert not right(old), (case, old.error)
    for case, old, new in sides("a16w4-split-k-tail", TAILS, execute=True):
        assert new.config["split_k"] == 1 and same(old, new), case


def test_tail_refuses_weights_before_a_split_swiglu(patched: Any) -> None:
    """Parts would be weighted before the activation; the launcher says so."""
    patch = patched("aiter/a16w4-split-k-tail")
    with pytest.raises(RuntimeError, match="parts of K would be weighted before SwiGLU"):
        run_at(patch.tree, patch.commit, [Job(replace(gate_up(8, 1), gammas=True, force={"split_k": 2}))])


def test_two_stages(sides: Sides) -> None:
    """Each decode tile loads ahead: MFMAs stand between a load and its wait, two barriers are left of six, nothing spills."""
    for case, old, new in sides("a16w4-two-stages", DECODE):
        assert (old.config["num_stages"], new.config["num_stages"]) == (1, 2)
        assert (old.facts["barrier"], new.facts["barrier"]) == (6, 2), (case, old, new)
        assert new.facts["spills"] == new.facts["scratch"] == 0, (case, new)
        assert new.facts["shared"] <= 65536 and new.facts["vgpr"] <= 168, (case, new)  # three waves per SIMD at least
        assert old.facts["mfma_before_wait"] == 0 and new.facts["mfma_before_wait"] >= new.facts["mfma"] // 2, (case, old, new)


def test_two_stages_leave_larger_tiles(sides: Sides) -> None:
    """The reason for the condition: with two stages the old tiles of 64 and 128 rows spill, or spill more."""
    tall = [gate_up(1, 2048), gate_up(1, 8192)]
    twice = [replace(case, force={"num_stages": 2}) for case in tall]
    for case, old, new in sides("a16w4-two-stages", [gate_up(1, 1024), *tall]):
        assert old.config == new.config and new.config["num_stages"] == 1, case
    for (_, one, _), (_, two, _) in zip(sides("a16w4-two-stages", tall), sides("a16w4-two-stages", twice), strict=True):
        assert two.facts["spills"] > one.facts["spills"]


def test_waves(sides: Sides) -> None:
    """On narrow tiles no wave does more MFMAs than with four waves, and the work-group moves less through LDS; others keep four."""
    narrow = set()
    for case, old, new in sides("a16w4-waves", DECODE):
        tile = new.config["block_n"], case.swizzle
        if new.config["num_warps"] == 4:
            assert tile in {(128, SWIZZLED), (128, None), (64, None)} and new.facts["repeated"] == 1, (case, new)
            continue
        narrow.add(tile)
        assert (old.config["num_warps"], new.config["num_warps"]) == (4, 2)
        assert new.facts["repeated"] <= old.facts["repeated"] / 2 and new.facts["mfma"] <= old.facts["mfma"], (case, old, new)
        assert new.facts["lds_bytes"] < 0.65 * old.facts["lds_bytes"], (case, old, new)
        assert new.facts["spills"] == new.facts["scratch"] == 0, (case, new)
    assert narrow == {(32, SWIZZLED), (32, None), (64, SWIZZLED)}


def test_split_k(sides: Sides) -> None:
    """Parts where the grid is below 256 work-groups and K is deep; one part elsewhere, and where weights come before SwiGLU."""
    thin = sides("a16w4-split-k", [gate_up(8, 1), gate_up(8, 2), gate_up(4, 1)])
    for parts, (case, old, new) in zip((4, 2, 2), thin, strict=True):
        assert (old.config["split_k"], new.config["split_k"]) == (1, parts)
        assert old.config["grid"] < 256 <= new.config["grid"] == old.config["grid"] * parts
        assert new.facts["spills"] == 0 and new.facts["barrier"] == old.facts["barrier"], (case, new)
    weighted = replace(gate_up(8, 1), gammas=True)
    for case, old, new in sides("a16w4-split-k", [weighted, gate_up(8, 4), gate_up(1, 1), down(1, 1), down(8, 1), gate_up(1, 1024)]):
        assert old.config == new.config and new.config["split_k"] == 1, case


def test_tiles(sides: Sides) -> None:
    """No spills at 128 rows, fewer barriers below; the model's cycles for the same work fall; 16 rows stay."""
    cases = both_layouts(*(gemm(1, tokens) for tokens in (1024, 2048, 8192) for gemm in (gate_up, down)))
    for case, old, new in sides("a16w4-tiles", cases):
        assert new.config["block_m"] == old.config["block_m"] and new.config["block_n"] == 256
        assert new.facts["spills"] == new.facts["scratch"] == 0 and new.facts["waves"] >= 2, (case, new)
        assert (old.facts["spills"] > 0) == (new.config["block_m"] == 128), (case, old)
        assert (old.facts["barrier"], new.facts["barrier"]) == (6, 6 if new.config["block_m"] == 128 else 2), (case, old, new)
        if new.facts["cycles_each"] is not None:  # the model is optional
            assert new.facts["cycles_each"] < 1.05 * old.facts["cycles_each"], (case, old, new)
    for case, old, new in sides("a16w4-tiles", [gate_up(1, 1), gate_up(8, 16)]):
        assert old.config == new.config, case
    for case, old, new in sides("a16w4-tiles", TALL, execute=True):
        assert same(old, new), case


def test_tiles_take_the_most_exact_row(patched: Any, run_source: Any, tmp_path: Path) -> None:
    """A row for block_m, N and K wins over one for block_m; a table of another chip is not read."""
    patch, root = patched("aiter/a16w4-tiles"), MagicMock()
    module = run_source(patch.after("aiter/ops/triton/utils/a16w4_config_utils.py"), root, ("aiter",))
    module.AITER_TRITON_CONFIGS_PATH, module.get_arch = str(tmp_path), lambda: "gfx950"
    (tmp_path / "moe").mkdir()
    table = {"bm32": {"BLOCK_SIZE_N": 256, "num_warps": 8}, "bm32_n720_k2880": {"BLOCK_SIZE_N": 128}}
    (tmp_path / "moe/gfx950-A16W4.json").write_text(json.dumps(table))
    assert module.tuned_tile(32, 5760, 2880) == {"block_n": 256, "num_warps": 8}
    assert module.tuned_tile(32, 720, 2880) == {"block_n": 128}
    assert module.tuned_tile(16, 720, 2880) == {}
    module.get_arch = lambda: "gfx942"
    assert module.tuned_tile(32, 720, 2880) == {}


def test_unpadded(sides: Sides) -> None:
    """32 and 64 rows: padding is neither computed nor read, and what lies in it does not count; 128 rows keep it."""
    for case, old, new in sides("a16w4-unpadded", TALL, execute=True):
        assert same(old, new) and new.w_unique < old.w_unique, (case, old, new)
    dirty = [replace(case, dirty=True) for case in TALL if case.swizzle is None]
    for case, old, new in sides("a16w4-unpadded", dirty, execute=True):
        assert right(new) and not right(old), (case, old.error, new.error)
    for case, old, new in sides("a16w4-unpadded", [gate_up(tp, tokens) for tp in (1, 8) for tokens in (1024, 2048)]):
        assert new.facts["spills"] == 0 and new.facts["waves"] == old.facts["waves"], (case, old, new)
        tiles = (4, 3) if case.n == 720 else (24, 23)
        assert old.config["grid"] * tiles[1] == new.config["grid"] * tiles[0], (case, old, new)
    for case, old, new in sides("a16w4-unpadded", [gate_up(1, 8192), gate_up(8, 16)]):
        assert old.config == new.config, case


def test_dead_rows(sides: Sides) -> None:
    """X is asked for its live rows alone; values, registers and occupancy stay."""
    for case, old, new in sides("a16w4-dead-rows", [*TAILS, *TALL[:2]], execute=True):
        assert same(old, new), case
        rows = choose(case)[1].flatten().bincount()
        loaded = sum(-(-rows // new.config["block_m"])) * new.config["block_m"]
        assert int(new.x_bytes * loaded) == int(old.x_bytes * sum(rows)), (case, old.x_bytes, new.x_bytes)
    for case, old, new in sides("a16w4-dead-rows", [gate_up(1, 1), gate_up(8, 1), down(1, 1), gate_up(1, 16), gate_up(1, 1024)]):
        assert new.facts["spills"] == 0 and new.facts["waves"] == old.facts["waves"], (case, old, new)
        assert new.facts["barrier"] == old.facts["barrier"], (case, old, new)
