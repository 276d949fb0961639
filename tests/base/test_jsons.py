"""JSON of somebody else's that is nested without end: one line, or no answer, wherever it is read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tunefork.base import jsons
from tunefork.base.errors import TuneforkError
from tunefork.base.layout import Layout
from tunefork.base.transaction import Damaged, Transaction
from tunefork.bench.ab import answers
from tunefork.bench.campaign.clock import REAL, resumed
from tunefork.bench.errors import AccuracyUnknown
from tunefork.bench.gate import accuracy
from tunefork.bench.profiles import rules
from tunefork.bench.server import fetching
from tunefork.bench.submit import gradio
from tunefork.bench.trace import trace
from tunefork.patchset.checkout import state
from tunefork.patchset.upstream import approval
from vllm_overrides.capture.trace import from_histogram
from vllm_overrides.errors import OverrideError

DEEP = "[" * 100_000


def test_it_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        jsons.loads(DEEP)
    assert jsons.loads(b'{"a": [1]}') == {"a": [1]}


def put(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(DEEP)
    return path


def gate() -> rules.Gate:
    found = rules.read(rules.GATES / "smoke.toml").accuracy
    assert found is not None
    return found


READERS: dict[str, tuple[Callable[[Path], object], type[Exception] | None]] = {
    "a trace": (lambda folder: trace.read(put(folder, "x.json")), TuneforkError),
    "a model's index": (lambda folder: fetching.whole(put(folder, f"snapshots/a/{fetching.INDEX}").parents[2]), None),
    "a leaderboard": (lambda folder: gradio.end("complete", DEEP, "e"), None),
    "lm_eval's answer": (lambda folder: accuracy.judge(DEEP.encode(), gate(), {}, seconds=1.0), AccuracyUnknown),
    "a model's manifest": (lambda folder: accuracy.manifest(gate(), put(folder, "manifest.json").parent), AccuracyUnknown),
    "lm_eval's samples": (lambda folder: answers.read(put(folder, "samples_x_2026.jsonl").parent), AccuracyUnknown),
    "a journal": (lambda folder: Transaction(put(folder, "j")).read(lambda found: found, ""), Damaged),
    "a clock": (lambda folder: resumed(put(folder, "clock.json"), REAL, 0.0), None),
    "a checkout's notes": (lambda folder: state.load(put(folder, "primary.json")), None),
    "approvals": (lambda folder: approval.approvals(Layout(folder, put(folder, "approved.json").parent)), None),
    "a histogram": (lambda folder: from_histogram(DEEP, folder), OverrideError),
}


@pytest.mark.parametrize("name", READERS)
def test_whoever_reads_it_says_so(name: str, tmp_path: Path) -> None:
    read, error = READERS[name]
    if error is None:
        read(tmp_path)
    else:
        with pytest.raises(error):
            read(tmp_path)


@pytest.mark.parametrize("line", ["{", "[]", "5", "{}", '{"doc_id"'])
def test_a_sample_that_was_cut_off_is_told_with_what_helps(line: str, tmp_path: Path) -> None:
    (tmp_path / "samples_x_2026.jsonl").write_text(line)
    with pytest.raises(AccuracyUnknown, match="no sample") as caught:
        answers.read(tmp_path)
    assert "with another --name" in caught.value.remedy  # typed in tests/bench/run/test_remedies.py
