"""The launch table of docs/decode-step.md: what vLLM's graphs of the patched series and of our overrides call in a decode layer."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from studies.decode_step.launch_table import SOURCE, counted, table

ROOT = Path(__file__).resolve().parents[2]
KEPT = [json.loads(line) for line in (ROOT / "studies/decode_step/records/gfx950-2026-11-30-graph.jsonl").read_text().splitlines()]


def test_the_document_has_the_recorded_table() -> None:
    assert table(KEPT) in (ROOT / "docs/decode-step.md").read_text()
    assert [(row["arm"], row["tp"]) for row in KEPT] == [(arm, tp) for arm in ("patched", "decode_step") for tp in (1, 2, 4, 8)]


def test_every_operation_has_been_looked_at() -> None:
    """One that is not in SOURCE is kept by its name, so that it is missed here and is not taken for none."""
    graph: dict[str, Any] = {"layers": 1, "between": {"vllm.new_one.default": 1}, "pieces": [{}, {"count": 1, "after": [
        {"target": "aten.mul.Tensor"}, {"target": "vllm.other.default"}, {"target": "auto_functionalized vllm.moe_forward.default"}]}, {}]}  # fmt: skip
    assert counted(graph) == {"vllm.moe_forward": 1, "vllm.new_one": 1, "vllm.other.default": 1}
    assert all(call in SOURCE for row in KEPT for call in row["calls"])


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="NOT TESTED: needs torch, vLLM and its dependencies (`python3 build.py develop`)")
@pytest.mark.parametrize(("arm", "words"), [("patched", []), ("decode_step", ["--ours", "--attention", "ROCM_AITER_UNIFIED_ATTN"])])
def test_the_graphs_still_call_what_is_recorded(arm: str, words: list[str], patched: Any) -> None:
    """TP 1 has no all-reduce and other norms; TP 2 stands for the rest, whose graphs differ in sizes alone."""
    tree = patched("vllm/allreduce-norm-pad").tree
    command = [sys.executable, "-P", str(Path(__file__).with_name("gpt_oss_graph.py")), str(tree), "--layers", "2", "--tp", "1", "2", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr[-4000:]
    want = {row["tp"]: row["calls"] for row in KEPT if row["arm"] == arm}
    assert {graph["tp"]: counted(graph) for graph in json.loads(done.stdout)} == {tp: want[tp] for tp in (1, 2)}
