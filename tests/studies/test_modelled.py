"""The rows of wvSplitK, ours and AITER's on gfx950 in docs/decode-step.md are the record; wvSplitK's instance is the one that its host code takes."""

from __future__ import annotations

import json
from pathlib import Path

from studies.decode_step.modelled import SHAPES, tile

ROOT = Path(__file__).resolve().parents[2]
ROWS = [json.loads(line) for line in (ROOT / "studies/decode_step/records/gfx950-2026-11-30-modelled.jsonl").read_text().splitlines()]
DOCUMENT = (ROOT / "docs/decode-step.md").read_text()


def test_the_table_is_the_record() -> None:
    for op in SHAPES:
        upstream = [row for row in ROWS if row["op"] == op and "wvSplitK" in row.get("kernel", "")]
        line = next(line for line in DOCUMENT.splitlines() if line.startswith(f"| {op}, 1; 4 | wvSplitK |"))
        assert [row["tokens"] for row in upstream] == [1, 4]
        for key in ("cycles_per_kib", "busiest_per_kib"):
            assert "; ".join(str(row[key]) for row in upstream) in line, (op, key)
        ours = [row for row in ROWS if row["op"] == op and "wvSplitK" not in row.get("kernel", "wvSplitK")]
        line = next(line for line in DOCUMENT.splitlines() if line.startswith(f"| {op}, 4") and "| ours, " in line)
        for row in ours:
            assert f"{row['cycles_per_kib']:g}" in line and f"{row['work_groups']} x {row['waves']}" in line and str(row["busiest_per_kib"]) in line
        tuned = [row["aiter_us"] for row in ROWS if row["op"] == op and "aiter" in row]
        assert ", ".join(f"{us:.2f}" for us in tuned) in DOCUMENT, tuned
    assert {row["aiter"] for row in ROWS if "aiter" in row} == {"flydsl"}


def test_tiles_follow_the_host_code() -> None:
    assert [tile(rows, tokens) for rows, tokens in ((128, 4), (2880, 1), (5120, 4), (201_088, 2), (201_088, 4), (12_288, 2))] == [
        (1, 4), (2, 2), (2, 2), (4, 2), (4, 1), (3, 2)]  # fmt: skip
