"""What an experiment says while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from loading import module

from tunefork.bench.ab.experiment import Comparison, Experiment
from tunefork.bench.ab.progress import duration, lines

samples = module("report_samples_of_ab", Path(__file__).parents[1] / "report" / "samples.py")
PLANNED = Experiment("x", "stage2", (Comparison("", "base", "only:p"),), 6, 1, "total_token_throughput", 0.01, {})


def test_the_interval_so_far_and_how_long_still() -> None:
    first, second = lines(samples.experiment("x", "base", "only:p", 1.05, pairs=3), PLANNED, 2, 3, 600.0)
    assert first.startswith("  so far, B/A of total_token_throughput: 8192/1024 c4 +")
    assert "8192/1024 c128 +" in first and " to " in first
    assert second == "  3 pairs left, about 30 min"
    assert len(lines(samples.experiment("x", "base", "only:p", 1.05, pairs=3), PLANNED, 2, 0, 600.0)) == 1


def test_a_spoiled_pair_is_told_at_once_with_its_reason() -> None:
    found = samples.experiment("x", "base", "only:p", 1.05, pairs=2, concs=(4,))
    last = found[-1]
    found[-1] = samples.failed(900, "3 of 40 requests failed", labels=last.labels, trees=last.trees, scenario=last.scenario)
    said = lines(found, PLANNED, 1, 4, 10.0)
    assert any(line.startswith("  8192/1024 c4: pair 2 left out: ") and "3 of 40 requests failed" in line for line in said), said
    assert not any("left out" in line for line in lines(found, PLANNED, 0, 4, 10.0)), "only the pair that just ended"


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 s"), (720, "12 min"), (12600, "3.5 h")])
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words
