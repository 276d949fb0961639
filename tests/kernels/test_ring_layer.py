"""The layer with a ring: what may have one, what its plan binds, which M takes it, and all of its launches executed on the CPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("triton.experimental.gluon", reason="NOT TESTED: needs a triton with Gluon (`pip install -e .[kernels]`)")
pytest.importorskip("torch", reason="NOT TESTED: needs torch (`pip install -e .[kernels]` and a torch)")

import torch

from tunefork.base.errors import BadInput
from tunefork.kernels import warming
from tunefork.kernels.moe_a16w4 import config as C
from tunefork.kernels.moe_a16w4 import launch
from tunefork.kernels.moe_a16w4.config import RINGS, LayerConfig, MoeShape, illegal, pick, ring_ends, ringed, row_of
from tunefork.kernels.moe_a16w4.plan import Case, buffers, plan
from tunefork.kernels.registry import ring_rows

WIDE, WIDER = (gemm for _, gemm in RINGS)
LAYER = LayerConfig("sorted", WIDE, WIDE, partial="bf16", overlap=True)
SHAPE = MoeShape(2880, 2880, 128)
NAMES = ("every count around a block's ends", "the same, one program", "one program sorts", "two passes", "an expert for half of the pairs", "topk 3, x in a buffer of its own", "fp32 parts", "padded rows",
         "half of the experts", "no extra")  # fmt: skip


@pytest.fixture(scope="module")
def executed(cases: Any) -> dict[str, dict[str, Any]]:
    return cases("ring_interpreted.py")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_launch_of_a_layer_does_what_the_next_one_reads(name: str, executed: dict[str, dict[str, Any]]) -> None:
    """Tables, places and the copy against a plain way; the layer against float32, from a poisoned workspace."""
    found = executed[name]
    assert found["error"] < 4e-3
    assert [key for key, value in found.items() if value is False] == []
    assert {"pairs", "places", "blocks", "room", "copied", "finite", "untouched"} <= set(found)


def changed(**values: Any) -> LayerConfig:
    return replace(LAYER, up=replace(WIDE, **values), down=replace(WIDE, **values))


@pytest.mark.parametrize(("config", "match"), [
    (changed(ring=2), "3 to 11 tiles, not 2"), (changed(wn=8, r=1, bm=256, ring=7), "3 to 6 tiles, not 7"), (changed(ring=12), "tiles, not 12"),
    (changed(extra=8), "extra is a power of two"), (changed(extra=48), "extra is a power of two"), (changed(extra=128), "extra is a power of two"),
    (changed(bm=256), "288 sums a lane, at most 160"), (changed(wn=16), "wn 4 or 8"), (changed(tiled=False), "a ring is of a tiled GEMM"),
    (changed(rest=32), "without rest"), (changed(ring=0), "extra is of a ring"), (replace(LAYER, down=WIDER), "one bm"),
    (replace(LAYER, down=replace(WIDE, extra=0)), "one extra"), (replace(LAYER, down=replace(WIDE, ring=0, extra=0), up=replace(WIDE, extra=0)), "or neither"),
    (replace(LAYER, fused=True), "fused"), (replace(changed(wn=8, bm=64), partial="fp32"), "8 to"),
])  # fmt: skip
def test_what_cannot_have_a_ring_is_refused_with_the_reason(config: LayerConfig, match: str) -> None:
    assert match in str(illegal(config, SHAPE, 4096, "sm90"))


def test_a_ring_is_for_sm90_and_for_at_least_a_chunk() -> None:
    assert illegal(LAYER, SHAPE, 4096, "sm90") is None
    assert "sm90 only" in str(illegal(replace(LAYER, overlap=False), SHAPE, 4096, "gfx950"))
    assert "one chunk" in str(illegal(LAYER, MoeShape(2880, 120, 128), 4096, "sm90"))
    assert illegal(LAYER, MoeShape(2880, 128, 128), 4096, "sm90") is None


@pytest.mark.parametrize("inter", [2880, 1440, 720, 360])
def test_both_tiles_run_every_size(inter: int) -> None:
    for gemm in (WIDE, WIDER):
        assert illegal(replace(LAYER, up=gemm, down=gemm), MoeShape(2880, inter, 128), 4096, "sm90") is None


def test_the_plan_reads_x_in_expert_order_and_writes_the_parts_over_it() -> None:
    case = Case("sm90", SHAPE, 4096, 128)
    route, sort, copy, up, down, combine = plan(case, LAYER)
    assert [step.kernel.__name__ for step in (copy, up, down, combine)] == ["sorted_copy_kernel", "up_ring_kernel", "down_ring_kernel", "combine_kernel"]
    assert route.constants["EXTRA"] == sort.constants["EXTRA"] == 32 and sort.bind["places_ptr"] == copy.bind["places_ptr"] == "places"
    assert {name: (tiles.buffer, tiles.columns, tiles.rows) for name, tiles in up.tiles.items()} == {"xd": ("part", 2880, 128), "xe": ("part", 2880, 32)}
    assert {name: (tiles.buffer, tiles.columns, tiles.rows) for name, tiles in down.tiles.items()} == {"hd": ("h", 2880, 128), "he": ("h", 2880, 32)}
    assert copy.bind["out_ptr"] == down.bind["part_ptr"] == "part" and copy.grid == (4096,)
    assert "xi" not in buffers(case, LAYER) and "xs" not in buffers(case, LAYER)
    for step in (up, down):
        assert set(step.kernel.arg_names) == {*step.bind, *step.tiles, *step.constants}
    odd = Case("sm90", MoeShape(2896, 360, 128), 4096, 128)
    assert plan(odd, LAYER)[3].tiles["xd"].buffer == "xs" and buffers(odd, LAYER)["xs"] == (4 * 4096 * 2912, "bfloat16")
    assert plan(odd, LAYER)[4].tiles["hd"].columns == 384


def test_without_a_ring_the_routing_has_neither_extra_nor_places() -> None:
    for step in plan(Case("sm90", SHAPE, 4096, 128), row_of("sm90", SHAPE, 4096))[:2]:
        assert step.constants["EXTRA"] == 0 and step.bind["places_ptr"] is None


def test_no_row_has_a_ring_until_a_gpu_has_checked_it() -> None:
    assert not C.RING
    assert not any(pick("sm90", MoeShape(2880, inter, 128), tokens).up.ring for inter in (360, 2880) for tokens in (1, 4096, 16384))


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(C, "RING", True)


def test_the_rule_goes_by_pairs_per_expert(on: None) -> None:
    assert ring_ends(SHAPE) == (4095, 6143)
    assert [pick("sm90", SHAPE, tokens).up.ring for tokens in (4095, 4096, 6143, 6144, 16384)] == [0, WIDE.ring, WIDE.ring, WIDER.ring, WIDER.ring]
    assert ring_ends(MoeShape(2880, 2880, 32)) == (1023, 1535) == ring_ends(MoeShape(2880, 2880, 8), 32)
    assert pick("sm90", SHAPE, 4096, asm=False) == row_of("sm90", SHAPE, 4096), "the interpreter has no Gluon"
    assert pick("gfx950", SHAPE, 16384) == row_of("gfx950", SHAPE, 16384)
    small = MoeShape(2880, 64, 8)
    assert ringed(row_of("sm90", small, 16384), "sm90", small, 16384) == row_of("sm90", small, 16384), "K of down is less than a chunk"


@pytest.mark.parametrize("most", [4095, 4200, 6144, 7000])
def test_a_workspace_serves_every_smaller_number_of_tokens_on_both_sides_of_the_rule(on: None, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring needs no copy of x of its own: its workspace at M = 4096 is smaller than the row's at 4095."""
    asked: list[int] = []
    monkeypatch.setattr(torch, "empty", lambda size, **_options: asked.append(size))
    from types import SimpleNamespace

    weights: Any = SimpleNamespace(hidden=2880, intermediate=360, experts=128, layout13=SimpleNamespace(arch="sm90"), w13=torch.zeros(1))
    launch.make_workspace(weights, most)
    shape = MoeShape(2880, 360, 128)
    need = {tokens: launch.workspace_size(buffers(Case("sm90", shape, tokens, 128), pick("sm90", shape, tokens))) for tokens in (1, 64, 4095, 4096, 6143, 6144, most)}
    assert asked == [max(size for tokens, size in need.items() if tokens <= most)]


def test_the_interpreter_is_told_that_there_is_none() -> None:
    launch.prepare.cache_clear()
    with pytest.raises(BadInput, match="Gluon, which has no interpreter"):
        launch.prepare(Case("sm90", SHAPE, 4096, 128, asm=False), LAYER)
    assert launch.prepare(Case("sm90", SHAPE, 4096, 128), LAYER).sizes["places"] == (16384, "int32")


def test_a_triton_without_gluon_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "triton.experimental.gluon.nvidia.hopper", None)
    with pytest.raises(BadInput, match="has no Gluon"):
        launch.described(plan(Case("sm90", SHAPE, 4096, 128), LAYER)[3].tiles["xd"], torch.zeros(64), 1)


def test_the_registry_has_each_tile_at_each_size() -> None:
    found = ring_rows()
    assert {(row.intermediate, row.config.up.bm) for row in found} == {(inter, bm) for inter in (360, 720, 1440, 2880) for bm in (128, 256)}
    assert all("not shipped" in row.source and illegal(row.config, MoeShape(2880, row.intermediate, 128), row.tokens, "sm90") is None for row in found)


@pytest.mark.slow
def test_both_gemms_are_compiled_ahead_once_into_tritons_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Any, on: None) -> None:
    monkeypatch.setattr("triton.knobs.cache.dir", str(tmp_path))
    shape = MoeShape(2880, 360, 128)
    jobs = [job for job in warming.wanted("sm90", shape, (6144, 8192), live=(False,)) if plan(job.case, pick("sm90", shape, job.case.tokens))[job.at].tiles]
    assert len(jobs) == 2, "M does not change them"
    import triton

    driver = triton.runtime.driver._active
    try:
        assert [warming.compile_one(job) for job in jobs] == ["", ""]
        made = sorted(path.name for path in tmp_path.rglob("*.cubin"))
        assert made == ["down_ring_kernel.cubin", "up_ring_kernel.cubin"]
        assert [warming.compile_one(job) for job in jobs] == ["", ""]
    finally:
        triton.runtime.driver._active = driver
    assert len(list(tmp_path.rglob("*.cubin"))) == 2
