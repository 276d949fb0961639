"""Traces: a histogram, and the tables that vLLM itself writes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import pytest

from vllm_overrides.capture.rules import Limits
from vllm_overrides.capture.trace import read_trace
from vllm_overrides.capture.workload import Workload
from vllm_overrides.errors import OverrideError


def test_a_histogram(tmp_path: Path) -> None:
    file = tmp_path / "steps.json"
    file.write_text('{"decode": {"8": 3, "4": 10}, "mixed": {"1030": 2}}')
    assert read_trace(file, Limits()) == Workload({4: 10, 8: 3}, {1030: 2}, "recorded: steps.json")
    file.write_text('{"decode": {"4": 10}}')
    assert read_trace(file, Limits()).mixed == {}


class Stat(NamedTuple):
    num_unpadded_tokens: int
    num_padded_tokens: int
    num_paddings: int
    runtime_mode: str


def test_the_tables_of_a_servers_log(source: Any, tmp_path: Path) -> None:
    """Written by vLLM's own code, twice, as a log holds one table per interval."""
    names = {"Counter": Counter, "CUDAGraphStat": Stat, "CUDAGraphMode": object, "logger": MagicMock()}
    space = source.run(names, ("vllm/compilation/cuda_graph.py", "CUDAGraphLogging"))
    writer = space["CUDAGraphLogging"](SimpleNamespace(), [4, 8])
    for stat in [Stat(3, 4, 1, "FULL")] * 7 + [Stat(8, 8, 0, "FULL")] * 2 + [Stat(1030, 1030, 0, "NONE")]:
        writer.observe(stat)
    lines = "".join(f"(EngineCore pid=7) INFO 11-22 [metrics.py:1] {line}\n" for line in writer.generate_metric_table().splitlines())
    log = tmp_path / "server.log"
    log.write_text("INFO starting\n" + lines + lines)
    found = read_trace(log, Limits(max_num_seqs=64))
    assert (found.decode, found.mixed) == ({3: 14, 8: 4}, {1030: 2})


@pytest.mark.parametrize("text", ["{", '{"decode": [1]}', '{"decode": {"a": 1}}', '{"decode": {}}', "INFO nothing here"])
def test_says_what_a_trace_looks_like(text: str, tmp_path: Path) -> None:
    file = tmp_path / "some.log"
    file.write_text(text)
    with pytest.raises(OverrideError, match=r"some\.log"):
        read_trace(file, Limits())
    if not text.startswith("{"):
        with pytest.raises(OverrideError, match="no table of CUDA graph metrics"):
            read_trace(file, Limits())
    with pytest.raises(OverrideError, match="cannot be read"):
        read_trace(tmp_path / "missing", Limits())
