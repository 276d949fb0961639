"""ring.py and ring_kernel.py executed on the CPU by gluon_model.py: values against float32, and the order in which the ring's tiles are used."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("torch", reason="NOT TESTED: needs torch (`pip install -e .[kernels]` and a torch)")
pytest.importorskip("triton.experimental.gluon", reason="NOT TESTED: needs a triton with Gluon (`pip install -e .[kernels]`)")

import torch

from tests.kernels import gluon_model as model
from tunefork.kernels.moe_a16w4.plan import held
from tunefork.kernels.moe_a16w4.reference import swiglu_oai
from tunefork.kernels.mxfp4 import dequantize
from tunefork.kernels.mxfp4.layout import FragmentLayout, pack_matrix

EXPERTS = 3
STAGES = ("ring", "slots", "")
TAILS = (0, 8, 24, 32, 40, 64, 72, 96, 104, 120)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The tensors are small: threads that wait for one another take twice the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def kernels() -> Any:
    return model.kernels()


def matrix(rows: int, cols: int, interleaved: bool, wide: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """-> plain weights [E, rows, cols] float32, and a kernel's arguments."""
    gen = torch.Generator().manual_seed(rows + cols)
    values = torch.randint(0, 256, (EXPERTS, rows, cols // 2), dtype=torch.uint8, generator=gen)
    scales = torch.randint(118, 131 if wide else 123, (EXPERTS, rows, -(-cols // 32)), dtype=torch.uint8, generator=gen)
    bias = torch.randn(EXPERTS, rows, generator=gen).bfloat16()
    words, packed = pack_matrix(values, scales, FragmentLayout("sm90", rows, cols, interleaved, wide))
    packed = packed.flatten()
    given = {"w_ptr": words.flatten(), "s_ptr": packed, "s32_ptr": packed.view(torch.int32), "bias_ptr": bias.flatten()}
    return dequantize(values, scales), given


def in_order(x: torch.Tensor) -> torch.Tensor:
    """Rows in whole groups of 32, each in the operand's order."""
    x = torch.nn.functional.pad(x, (0, held(x.shape[1]) - x.shape[1]))
    return x.view(x.shape[0], -1, 4, 4, 2).transpose(2, 3).reshape(x.shape)


def blocks(counts: list[int], bm: int, extra: int) -> list[tuple[int, int, int]]:
    """Pairs of each expert -> (expert, first pair, pairs) of each block: bm, an expert's last up to bm + extra."""
    found, first = [], 0
    for expert, count in enumerate(counts):
        number = -(-max(count - extra, min(count, 1)) // bm)
        for at in range(number):
            found.append((expert, first + at * bm, count - at * bm if at == number - 1 else bm))
        first += count
    return found


class Case:
    """Pairs in expert order, and what both kernels take of them."""

    def __init__(self, counts: list[int], bm: int, extra: int, wn: int, r: int, ring: int, wide: bool = False) -> None:
        self.counts, self.bm, self.extra, self.wn, self.r = counts, bm, extra, wn, r
        self.found = blocks(counts, bm, extra)
        columns = [torch.tensor(column, dtype=torch.int32) for column in zip(*self.found, strict=True)]
        self.tables = dict(zip(("block_expert_ptr", "block_start_ptr", "block_rows_ptr"), columns, strict=True))
        self.tables["block_count_ptr"] = torch.tensor([len(self.found)], dtype=torch.int32)
        self.constants = {"WN": wn, "R": r, "BM": bm, "EXTRA": extra, "RING": ring, "WIDE": wide, "OVERLAP": False}
        self.pairs = sum(counts)
        self.experts = torch.repeat_interleave(torch.arange(EXPERTS), torch.tensor(counts))

    def grid(self, rows: int) -> int:
        return (len(self.found) + 1) * -(-(rows // 16) // (self.wn * self.r))

    def tiles(self, x: torch.Tensor, a: str, b: str) -> dict[str, model.Descriptor]:
        return {a: model.Descriptor(x, self.bm), b: model.Descriptor(x, self.extra or 8)}


def run_up(kernels: Any, case: Case, inter: int, hidden: int) -> float:
    """h's error, relative to the largest value."""
    weights, given = matrix(2 * inter, hidden, True, case.constants["WIDE"])
    x = torch.randn(case.pairs, hidden, generator=torch.Generator().manual_seed(1)).bfloat16()
    h = torch.full((case.pairs * held(inter),), float("nan")).bfloat16()
    model.launch(kernels.up_ring_kernel, case.grid(2 * inter), **case.tiles(in_order(x), "xd", "xe"), **given, h_ptr=h, **case.tables, alpha=1.702, limit=7.0,
                 N=2 * inter, K=hidden, **case.constants)  # fmt: skip
    sums = torch.einsum("ph,prh->pr", x.float(), weights[case.experts]) + given["bias_ptr"].view(EXPERTS, -1)[case.experts].float()
    want = in_order(swiglu_oai(sums, 1.702, 7.0))
    return float((h.view(want.shape).float() - want).abs().max() / want.abs().max())


def run_down(kernels: Any, case: Case, hidden: int, inter: int, kind: torch.dtype = torch.bfloat16) -> float:
    """The parts' error, relative to the largest value."""
    weights, given = matrix(hidden, inter, False, case.constants["WIDE"])
    gen = torch.Generator().manual_seed(2)
    h, gates = torch.randn(case.pairs, inter, generator=gen).bfloat16(), torch.rand(case.pairs, generator=gen)
    pairs = torch.randperm(case.pairs, generator=gen).int()
    part = torch.full((case.pairs * hidden,), float("nan"), dtype=kind)
    model.launch(kernels.down_ring_kernel, case.grid(hidden), **case.tiles(in_order(h), "hd", "he"), **given, part_ptr=part, gates_ptr=gates, pairs_ptr=pairs,
                 **case.tables, N=hidden, K=inter, **case.constants)  # fmt: skip
    sums = torch.einsum("ph,prh->pr", h.float(), weights[case.experts]) + given["bias_ptr"].view(EXPERTS, -1)[case.experts].float()
    want = torch.empty(case.pairs, hidden)
    want[pairs.long()] = sums * gates[pairs.long()][:, None]
    return float((part.view(want.shape).float() - want).abs().max() / want.abs().max())


COUNTS = ([0, 16, 53], [24, 1, 25], [40, 7, 0])


@pytest.mark.slow
@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize(("wn", "r"), [(4, 1), (4, 2), (8, 1)])
@pytest.mark.parametrize("counts", COUNTS)
def test_up_is_right_where_tiles_and_blocks_are_not_full(kernels: Any, counts: list[int], wn: int, r: int, wide: bool) -> None:
    assert run_up(kernels, Case(counts, 16, 8, wn, r, 4, wide), 104, 320) < 8e-3


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("wn", "r"), [(4, 1), (4, 2), (8, 1)])
def test_down_is_right_where_tiles_and_blocks_are_not_full(kernels: Any, wn: int, r: int, kind: torch.dtype, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_STAGE", stage)
    for counts in COUNTS:
        assert run_down(kernels, Case(counts, 16, 8, wn, r, 4), 208, 360, kind) < (8e-3 if kind == torch.bfloat16 else 1e-5)
        assert run_down(kernels, Case(counts, 16, 0, wn, r, 4), 208, 232, kind) < (8e-3 if kind == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("inter", [72, 96, 128])
def test_a_last_tile_that_is_not_full_begins_earlier_or_repeats_its_last_strip(kernels: Any, inter: int) -> None:
    """9, 12 and 16 strips in tiles of 8: h is written in groups of 4 strips, so that 12 may begin at 4, and 9 may not at 1."""
    assert kernels.ring.fits(2 * inter, 4, 2, 4) == (inter > 72)
    assert run_up(kernels, Case([0, 16, 21], 16, 8, 4, 2, 4), inter, 192) < 8e-3


def test_a_small_layer_is_right(kernels: Any) -> None:
    assert run_down(kernels, Case([0, 16, 21], 16, 8, 4, 2, 4), 192, 168) < 8e-3


@pytest.mark.parametrize("tail", TAILS)
def test_any_end_of_k_comes_in_order(kernels: Any, tail: int) -> None:
    for chunks in (1, 2, 5):
        assert run_down(kernels, Case([0, 0, 24], 16, 8, 4, 1, 5), 64, 128 * chunks + tail, torch.float32) < 1e-5, chunks


@pytest.mark.slow
@pytest.mark.parametrize("ring", range(3, 9))
@pytest.mark.parametrize("tail", TAILS)
def test_every_number_of_chunks_fits_every_ring(kernels: Any, tail: int, ring: int) -> None:
    """One program: the order does not depend on anything else. GPT-OSS-120B's K are 22 * 128 + 64, 11 * 128 + 32, 5 * 128 + 80 and 2 * 128 + 104."""
    for chunks in (*range(1, 13), 22):
        assert run_down(kernels, Case([0, 0, 24], 16, 8, 4, 1, ring), 64, 128 * chunks + tail, torch.float32) < 1e-5, chunks


@pytest.mark.slow
@pytest.mark.parametrize(("wn", "r", "bm", "ring"), [(8, 1, 256, 6), (4, 2, 128, 5), (8, 1, 128, 5)])
def test_the_tiles_that_are_to_ship_at_gpt_oss_120bs_k(kernels: Any, wn: int, r: int, bm: int, ring: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "_STAGE", "ring")
    case = Case([0, bm + 32, bm + 33], bm, 32, wn, r, ring)
    for inter in (2880, 1440, 720, 360):
        assert run_down(kernels, case, 208, inter) < 8e-3, inter
    assert run_up(kernels, case, 72, 2880) < 8e-3


BROKEN = [
    ("ring", "            _barrier()\n            coming", "            coming", "a product may still read"),
    ("ring", "half - 1 + RING", "half + RING", "."),
    ("ring", "            fetch(xd, xe, ring, extra, bars, free,", "            fetch(xd, xe, ring, extra, bars, slot,", "."),
    ("ring", "acc, more = settle(acc, more, before, 1, EXTRA)\n            _barrier()", "_barrier()", "a product may still read"),
    ("ring", "                phase ^= 1\n", "                phase = 0\n", "the other phase"),
    ("ring", "    return settle(acc, more, before, 0, EXTRA)", "    return settle(acc, more, before, 1, EXTRA)", "."),
    ("ring", "wanted = wanted & (chunk > 0)", "wanted = wanted & (chunk >= 0)", "."),
    ("ring_kernel", "        _barrier()\n        stage.store(sums)", "        stage.store(sums)", "scratch over tiles"),
    ("ring_kernel", "        stage.store(sums)\n        _barrier()\n", "        stage.store(sums)\n", "scratch read before"),
]


@pytest.mark.parametrize(("module", "old", "new", "said"), BROKEN)
def test_the_model_sees_a_broken_order(module: str, old: str, new: str, said: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ring", "ring_kernel"):
        text = (model.ROOM / f"{name}.py").read_text()
        if name == module:
            assert text.count(old) == 1
            text = text.replace(old, new)
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(model, "ROOM", tmp_path)
    broken = model.kernels()
    monkeypatch.setattr(broken, "_STAGE", "ring")
    with pytest.raises(model.Broken, match=said):
        for tail in (0, 104):
            run_down(broken, Case([0, 0, 24], 16, 8, 4, 1, 4), 64, 128 * 6 + tail)


def test_down_starts_early_and_every_program_waits(kernels: Any) -> None:
    case = Case([16, 0, 24], 16, 8, 4, 1, 4)
    case.constants["OVERLAP"] = True
    _, given = matrix(64, 128, False, False)
    h, gates, pairs = torch.zeros(40, 128).bfloat16(), torch.ones(40), torch.arange(40, dtype=torch.int32)
    for grid in (1, case.grid(64)):  # a program with work, one without
        said = model.launch(kernels.down_ring_kernel, grid, **case.tiles(h, "hd", "he"), **given, part_ptr=torch.zeros(40 * 64).bfloat16(), gates_ptr=gates,
                            pairs_ptr=pairs, **case.tables, N=64, K=128, **case.constants)  # fmt: skip
        assert said == ["griddepcontrol.launch_dependents", "griddepcontrol.wait"]
