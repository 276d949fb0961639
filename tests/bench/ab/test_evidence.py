"""What the judge looks at: the same from a record and from its row in the index, whatever fields a store's records have."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from tests.bench.report import samples
from tests.bench.report.conftest import fill
from tunefork.bench.ab import evidence
from tunefork.bench.records import index, tables
from tunefork.bench.records.schema import Telemetry
from tunefork.bench.records.store import Store
from tunefork.bench.report import build

GOOD = samples.experiment("x", "base", "only:p", 1.05, pairs=2, concs=(4,))
CLOCKS = Telemetry(tool="amd-smi", samples=3, gpus={"0": {"clock_mhz": (2400.0, 2300.0, 2410.0), "power_w": (900.0, 1.0, 2.0)}, "a_b": {"clock_mhz": (1.5, 1.0, 2.0)},
                                                    "7": {"power_w": (1.0, 1.0, 1.0)}})
BARE = {name: value for name, value in GOOD[0].labels.items() if name in ("experiment", "arm", "pair")}
ODD = [
    *GOOD,
    samples.record(101, labels=GOOD[0].labels, telemetry=CLOCKS),
    samples.failed(102, labels={**BARE, "Pair": "x", "\u2028": "\0", "gpus": "", "clock_mhz": "1"}),
    samples.failed(103, labels=BARE, metrics={"completed": 1.0, "Completed": 2.0, "median_tpot_ms": 0.1 + 0.2}),
    samples.failed(104, labels=BARE, metrics=None, trees=()),
    samples.record(105, labels=BARE, trees=(samples.tree("all").model_copy(update={"modified": ("a.py",)}), samples.tree("base").model_copy(update={"upstream": "aiter"}))),
]


@pytest.mark.parametrize("most", [1000, 60])  # 60: most fields have no column
def test_a_row_says_what_its_record_says(most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_COLUMNS", most)
    store = fill(tmp_path, [*ODD, samples.record(99)])
    with contextlib.closing(index.database(store, samples=False)) as database:
        found = evidence.read(database, ["x"])
    assert found == sorted((evidence.of(one) for one in ODD), key=lambda one: one.id)
    assert {frozenset(one.clocks.items()) for one in found} == {frozenset(), frozenset({("0", 2400.0), ("a_b", 1.5)})}


def test_a_report_reads_no_record_that_the_index_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fill(tmp_path, GOOD)
    first = build.gather(store)

    def refused(*_: Any) -> Any:
        raise AssertionError("read again")

    monkeypatch.setattr(Store, "read", refused)
    assert build.gather(store).outcomes == first.outcomes
