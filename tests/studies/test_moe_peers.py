"""studies.moe_peers without a GPU: candidates are legal, right in the interpreter and free of early writes; the parts can be asked for."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="NOT TESTED: needs torch (`pip install -e .[kernels]` and a torch)")
pytest.importorskip("triton", reason="NOT TESTED: needs triton (`pip install -e .[kernels]`)")

import torch

from studies.moe_peers import layers, timed
from studies.moe_peers.__main__ import main
from studies.moe_peers.static import programs
from studies.moe_peers.variants import CANDIDATES, SHIPPED, Variant, gemm, module, steps
from tunefork.bench.kernels import cases, humming, peers
from tunefork.bench.kernels.measure import LayerTime
from tunefork.bench.kernels.timing import Timed
from tunefork.kernels.model import GPT_OSS_120B as MODEL
from tunefork.kernels.moe_a16w4 import tiled_kernel
from tunefork.kernels.moe_a16w4.config import GemmConfig, MoeShape, illegal, pick
from tunefork.kernels.moe_a16w4.plan import Case, plan

ROOT = Path(__file__).resolve().parents[2]
SHAPE = MoeShape(MODEL.hidden, MODEL.intermediate, MODEL.experts, MODEL.topk)
TP1 = Case("sm90", SHAPE, 8192, MODEL.experts)


def test_the_first_candidate_is_what_ships_and_all_are_legal() -> None:
    config, variant = CANDIDATES["shipped"]
    assert (config, variant) == (pick("sm90", SHAPE, 8192), SHIPPED)
    assert all(illegal(config, SHAPE, tokens, "sm90") is None for config, _ in CANDIDATES.values() for tokens in (8192, 16384))
    assert steps(TP1, config, SHIPPED) == plan(TP1, config)


def test_words_of_a_gemm() -> None:
    assert gemm("4-2-64-3-32-2") == GemmConfig(4, 1, 2, 64, ahead=False, unroll=2, tiled=True, stages=3, rest=32)
    assert gemm("8-1-128-2-32-4-2").waves == 2


def test_a_variant_replaces_its_helpers_and_leaves_what_ships() -> None:
    found, shipped = module(Variant(group=4, paired=True)), vars(tiled_kernel)
    assert found.spread is not shipped["spread"] and found.contract_tiled is not shipped["contract_tiled"]
    assert found.up_tiled_kernel is not tiled_kernel.up_tiled_kernel
    assert module(SHIPPED).contract_tiled is shipped["contract_tiled"] and module(SHIPPED).spread is shipped["spread"]
    config, _ = CANDIDATES["128 columns"]
    made = {step.kernel.__name__: step.constants for step in steps(TP1, config, Variant(group=4))}
    assert made["up_tiled_kernel"]["XCDS"] == (4, 45) and made["down_tiled_kernel"]["XCDS"] == (4, 23)  # 5760 and 2880 rows by 128


@pytest.mark.parametrize(("group", "tiles", "blocks"), [(1, 5, 3), (4, 5, 10), (8, 3, 8), (4, 7, 2)])
def test_every_tile_of_every_block_comes_once_and_a_groups_tiles_lie_together(group: int, tiles: int, blocks: int) -> None:
    """The order that `grouped` writes, in Python: a permutation; in a whole group the block runs fastest."""
    order = []
    for pid in range(blocks * tiles):
        first = pid // (group * tiles) * group
        height, at = min(blocks - first, group), pid % (group * tiles)
        order.append((first + at % height, at // height))
    assert sorted(order) == [(block, tile) for block in range(blocks) for tile in range(tiles)]
    assert order[: min(group, blocks)] == [(block, 0) for block in range(min(group, blocks))]


@pytest.mark.parametrize(("registers", "warps", "shared", "want"), [(168, 4, 70_000, 3), (255, 4, 70_000, 2), (128, 16, 100_000, 1), (40, 4, 1_000, 12)])
def test_programs_of_an_sm(registers: int, warps: int, shared: int, want: int) -> None:
    assert programs(registers, warps, shared) == want


@pytest.mark.slow
def test_values_of_all_variants_in_the_interpreter() -> None:
    env = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-m", "studies.moe_peers", "static", "values"], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len({SHIPPED, *(variant for _, variant in CANDIDATES.values())})
    assert all(row["as shipped"] and row["error"] <= 1e-2 for row in found), found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiles of 4 blocks together", "chunks in pairs"])
def test_no_candidate_writes_what_a_product_in_flight_reads(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["static", "code", "--only", name]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["kernel"] for row in found] == ["up_tiled_kernel", "down_tiled_kernel"]
    assert all(row["early writes"] == 0 and row["hgmma"] >= 16 for row in found), found


@pytest.mark.parametrize("routing", layers.ROUTINGS)
def test_routings_are_what_they_say(routing: str) -> None:
    cell = layers.Cell(64, 32, 32, 4, 2000, routing)
    logits = layers.logits_of(cell, "cpu", torch.Generator().manual_seed(0))
    assert all(len(row.unique()) == 32 for row in logits[:50])  # no ties
    load = torch.bincount(logits.float().topk(4, 1).indices.flatten(), minlength=32) / 2000
    if routing == "even":
        assert float(load.max()) < 0.2
    elif routing == "zipf":
        assert float(load[0]) > 0.5 > float(load[8]) > float(load[31])
    else:
        assert float(load[:4].min()) > 0.9


def test_peers_take_another_topk_for_a_while() -> None:
    with pytest.raises(RuntimeError), layers.topk_of_peers(8):
        assert (peers.TOPK, humming.TOPK) == (8, 8)
        raise RuntimeError
    assert (peers.TOPK, humming.TOPK) == (cases.TOPK, cases.TOPK)


def test_cells_are_those_of_the_issue_that_no_clock_has_seen() -> None:
    assert set(timed.UNTIMED[8]) >= {24, 32, 48, 64, 96, 128, 192, 256, 300, 384, 512, 700, 1152, 1280}
    assert set(timed.UNTIMED[1]) >= {96, 128, 192, 256, 300, 384, 512, 700, 1152, 1280, 1536, 4096, 6144}
    assert {cell.experts for cell in timed.OTHERS} == {32, 128} and {cell.routing for cell in timed.OTHERS} == set(layers.ROUTINGS)
    assert any(cell.hidden == 4096 and cell.topk == 8 for cell in timed.OTHERS)


@pytest.mark.parametrize("words", [["repeats"], ["candidates", "--tp", "1", "--tokens", "8192"], ["table", "--tp", "8"], ["others", "--first", "20"], ["cold"]])
def test_without_a_gpu_nothing_is_timed(words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(words) == 1
    assert "no GPU: nothing can be timed" in capsys.readouterr().err


def test_a_peer_that_fails_is_a_row_and_not_the_whole_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """One peer's TypeError had cost all of a table's rows."""
    monkeypatch.setattr(cases, "random_plain", lambda tp, device: ())
    monkeypatch.setattr(cases, "layers", lambda plain, tp: [])
    monkeypatch.setattr(timed, "peers_of", lambda plain: {})
    row = partial(LayerTime, "moe_a16w4", 8, 1)
    made = [row("ours", 2.0, 1.0, 3.0, 5, 1.0, "made up", 1e-3), row("marlin", None, None, None, 5, 1.0, "made up", 0.0, "TypeError: an argument more")]
    monkeypatch.setattr(timed, "measure_problem", lambda *given: made)
    ours, marlin = timed.table_rows(8, (1,), 2, math.inf)
    assert (ours["impl"], ours["us"], "failed" in ours) == ("ours", 2.0, False)
    assert (marlin["impl"], marlin["failed"], "us" in marlin) == ("marlin", "TypeError: an argument more", False)


def test_what_cannot_be_captured_is_a_row_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def compare(good: dict[str, object], rounds: int, failed: Callable[[str, str], None]) -> dict[str, Timed]:
        failed("humming", "RuntimeError: not under capture")
        return {"ours": Timed(2.0, 1.0, 3.0, (2.0,))}

    monkeypatch.setattr(timed, "compare", compare)
    found = list(timed.times({}, torch.zeros(1), {"M": 1}, 2))
    assert [(row["impl"], row.get("failed", row.get("us"))) for row in found] == [("humming", "RuntimeError: not under capture"), ("ours", 2.0)]


def parts() -> list[str]:
    text = (ROOT / "studies/moe_peers/parts.sh").read_text()
    return [line.strip().partition(")")[0] for line in text.splitlines() if line.startswith("    ") and line.strip().split(")")[0].isalnum() and ")" in line]


def test_an_unknown_part_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    done = subprocess.run(["sh", "studies/moe_peers/parts.sh", "all", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert all(part in done.stderr for part in parts()) and len(parts()) == 11


def test_every_part_asks_for_words_that_the_study_takes(tmp_path: Path) -> None:
    """With a python that only writes down what it is asked: the limits of a part add up to at most 400 s, and every line parses."""
    from studies.cubins.__main__ import main as cubins
    from studies.moe_peers.__main__ import parser

    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    fake.chmod(0o755)
    limits = (ROOT / "studies/moe_peers/parts.sh").read_text()
    for part in parts():
        (tmp_path / "asked").write_text("")
        subprocess.run(["sh", "studies/moe_peers/parts.sh", part, str(tmp_path / "out"), str(fake)], cwd=ROOT, capture_output=True, check=True)
        asked = (tmp_path / "asked").read_text().splitlines()
        assert asked, part
        for line in asked:
            words = line.split()
            if words[1] == "studies.moe_peers":
                parser().parse_args(words[2:])
            elif words[1] == "studies.cubins":
                with pytest.raises(SystemExit, match="0"):
                    cubins([words[2], "--help"])
            elif words[1] == "tunefork.kernels.warming":
                assert words[2:5] == ["sm90", "--live", "0"]
            else:
                assert words[1] == "pytest"
        body = limits.partition(f"    {part})")[2].partition(";;")[0]
        spent = [int(limit) for limit in re.findall(r"\b(?:study|tests|warm|timeout) (\d+) ", body)]
        assert 0 < sum(spent) <= 400, (part, spent)
