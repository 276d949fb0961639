"""studies.moe_peers without a GPU: routings are what they say, a peer that fails is a row, the parts can be asked for."""

from __future__ import annotations

import math
import re
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="NOT TESTED: needs torch (`pip install -e .[kernels]` and a torch)")
pytest.importorskip("triton", reason="NOT TESTED: needs triton (`pip install -e .[kernels]`)")

import torch

from studies.moe_peers import layers, timed
from studies.moe_peers.__main__ import main
from tunefork.bench.kernels import cases, humming, peers
from tunefork.bench.kernels.measure import LayerTime
from tunefork.bench.kernels.timing import Timed

ROOT = Path(__file__).resolve().parents[2]
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


def test_cells_are_those_of_the_issue_beyond_an_earlier_run() -> None:
    assert set(timed.CELLS[8]) >= {24, 32, 48, 64, 96, 128, 192, 256, 300, 384, 512, 700, 1152, 1280}
    assert set(timed.CELLS[1]) >= {96, 128, 192, 256, 300, 384, 512, 700, 1152, 1280, 1536, 4096, 6144}
    assert {cell.experts for cell in timed.OTHERS} == {32, 128} and {cell.routing for cell in timed.OTHERS} == set(layers.ROUTINGS)
    assert any(cell.hidden == 4096 and cell.topk == 8 for cell in timed.OTHERS)


@pytest.mark.parametrize("words", [["repeats"], ["clocks", "--tp", "1"], ["table", "--tp", "8"], ["others", "--first", "20"], ["cold"]])
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
