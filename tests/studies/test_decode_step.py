"""The decode step's study: docs/decode-step.md says what the records hold; every op that is timed says its peers."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from studies.decode_step.draw import drawn

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "studies/decode_step/records"
DOCUMENT = (ROOT / "docs/decode-step.md").read_text()
VARIANTS = ("B + o", "B + moe", "B + o, moe", "F")


def rows(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDS / f"h200-2026-11-30-{name}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("tp", "tokens"), [(tp, tokens) for tp in (1, 8) for tokens in (1, 4, 16, 32)])
def test_the_chains_table_is_the_record(tp: int, tokens: int) -> None:
    line = next(line for line in DOCUMENT.splitlines() if line.startswith(f"| {tp}, {tokens} |"))
    cells = [cell.strip(" *") for cell in line.strip("|").split("|")]
    found = {row["impl"]: row for row in rows("chain") if (row["tp"], row["tokens"]) == (tp, tokens)}
    assert float(cells[1]) == pytest.approx(found["B"]["ms"], abs=0.0051)
    for cell, name in zip(cells[2:], VARIANTS, strict=True):
        said = [float(word) for word in re.findall(r"\d*\.\d+", cell)]
        for value, key in zip(said, ("ratio", "ratio_least", "ratio_most"), strict=False):
            assert value == pytest.approx(found[name][key], abs=0.0051), (name, key)


def test_the_check_was_passed() -> None:
    found = rows("check")
    assert {row["op"] for row in found} == {"o", "qkv", "router", "head"}
    assert all(row.get("repeats", True) and row.get("residual_equal", True) and row.get("done", 0) == 0 for row in found)
    assert all(row["error"] <= 1.05 * row["torch_error"] for row in found if "torch_error" in row)
    assert max(row["gap"] for row in found if "gap" in row) < 0.01


def test_launches_of_the_trace_are_those_of_the_table() -> None:
    found = {row["impl"]: row["launches"] / 36 for row in rows("trace")}
    assert found == {"B": 10, "B + o, moe": 7, "F": 6}
    assert "Without RoPE, cache and attention, in the chain below: 10 launches a layer in B, 7 with both of ours (profiler)." in DOCUMENT


def test_the_table_of_the_way_to_attention_is_the_record() -> None:
    found = {(row["tp"], row["tokens"], row["impl"]): row["us"] for row in rows("attend")}
    section = DOCUMENT.partition("The way to attention (H200")[2]
    for tp in (1, 8):
        for tokens in (1, 4, 16):
            line = next(line for line in section.splitlines() if line.startswith(f"| {tp}, {tokens} |"))
            said = [float(cell.strip(" *").split(" ")[0].strip("*")) for cell in line.strip("|").split("|")[1:]]
            ours = "ours p4 s2 d4" if (tp, tokens) == (1, 16) else "ours rule"
            want = [found[tp, tokens, name] for name in ("F.linear", "add_norm, F.linear, rope_cache", ours, "one rule")]
            assert said == pytest.approx(want, abs=0.051), (tp, tokens)


def test_the_picture_is_drawn_from_the_trace() -> None:
    assert (ROOT / "docs/img/decode-layer-h200.svg").read_text() == drawn(RECORDS / "h200-2026-11-30-trace.jsonl")
