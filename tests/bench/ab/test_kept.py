"""What was judged is kept, and never outlives what it follows from: records, plan, judge."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bench.report import samples
from tests.bench.report.conftest import fill
from tunefork.bench.ab import evidence, kept
from tunefork.bench.ab.experiment import FILE, Comparison, Experiment, write
from tunefork.bench.ab.outcome import Outcome, outcomes
from tunefork.bench.records import index
from tunefork.bench.records.schema import Record
from tunefork.bench.records.store import RECORD, Store
from tunefork.bench.report import build

X = samples.experiment("x", "base", "only:p", 1.05)
Y = samples.experiment("y", "base", "base", 1.0, first=500)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEFORK_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return fill(tmp_path / "work" / "records", [*X, *Y, samples.record(999), samples.failed(1000)])


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The experiments that are judged from now on."""
    found: list[str] = []

    def counting(records: list[evidence.Evidence], **how: Any) -> list[Outcome]:
        found.append(records[0].labels["experiment"])
        return outcomes(records, **how)

    monkeypatch.setattr(kept, "outcomes", counting)
    return found


def anew(records: list[Record]) -> list[Outcome]:
    return outcomes([evidence.of(one) for one in sorted(records, key=lambda one: one.id)])


def test_what_did_not_change_is_not_judged_again(store: Store, counted: list[str]) -> None:
    first = build.gather(store).outcomes
    assert (counted, list(first)) == (["x", "y"], [*anew(X), *anew(Y)])
    assert build.gather(store).outcomes == first and counted == ["x", "y"]
    assert build.gather(store, experiments=["y"]).outcomes == first[1:] and counted == ["x", "y"]


def test_an_experiment_of_any_name_is_judged_and_kept(tmp_path: Path, counted: list[str]) -> None:
    names = ("a\0b", "a", "é\u2028", "'; --", "")
    records = [one for number, name in enumerate(names) for one in samples.experiment(name, "base", "only:p", 1.05, pairs=2, first=100 * number)]
    store = fill(tmp_path / "odd", records)
    first = build.gather(store).outcomes
    assert {one.experiment for one in first} == {*names} and len(counted) == len(names)
    assert build.gather(store).outcomes == first and len(counted) == len(names)


def replaced(store: Store) -> list[Record]:
    slower = X[1].model_copy(update={"metrics": {**(X[1].metrics or {}), "total_token_throughput": 1.0}})
    shutil.rmtree(store.folder / slower.id)
    fill(store.folder, [slower])
    return [slower if one.id == slower.id else one for one in X]


def added(store: Store) -> list[Record]:
    more = samples.experiment("x", "base", "only:p", 1.5, pairs=7, first=200)[-6:]
    fill(store.folder, more)
    return [*X, *more]


def removed(store: Store) -> list[Record]:
    shutil.rmtree(store.folder / X[-1].id)
    return X[:-1]


def damaged(store: Store) -> list[Record]:
    (store.folder / X[-1].id / RECORD).write_bytes(b"{")
    return X[:-1]


@pytest.mark.slow
@pytest.mark.parametrize("change", [replaced, added, removed, damaged])
def test_a_changed_record_gives_the_new_figure_and_leaves_the_other_experiment(store: Store, counted: list[str], change: Callable[[Store], list[Record]]) -> None:
    before = build.gather(store).outcomes
    counted.clear()
    now = change(store)
    found = build.gather(store).outcomes
    assert counted == ["x"] and found[0] != before[0]
    assert list(found) == [*anew(now), *anew(Y)]


def test_another_judge_judges_again(store: Store, counted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    build.gather(store)
    counted.clear()
    monkeypatch.setattr(kept, "version", lambda: "another")
    build.gather(store)
    assert counted == ["x", "y"]


def test_the_judge_is_all_its_code_and_what_it_counts_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {path.stem for path in kept.CODE}
    assert {"judge", "judgement", "outcome", "pairs", "evidence", "rhythm", "power", "kept", "vllm", "tables", "measured"} <= names
    assert [kept.counted_with(name).parent.name for name in kept.LIBRARIES] == ["numpy", "scipy"]
    before = kept.version()
    for number, path in enumerate(kept.CODE):
        other = tmp_path / f"{number}.py"
        other.write_bytes(path.read_bytes() + b"#")
        monkeypatch.setattr(kept, "CODE", tuple(other if each == path else each for each in kept.CODE))
        assert kept.version() != before
        monkeypatch.undo()
    (tmp_path / "version.py").write_text('version = "99"')
    monkeypatch.setattr(kept, "counted_with", lambda _name: tmp_path / "version.py")
    assert kept.version() != before


def test_another_plan_judges_again(store: Store, counted: list[str], tmp_path: Path) -> None:
    plan = Experiment("x", "stage2", (Comparison("", "base", "only:p"),), 6, 1, "median_tpot_ms", 0.2, {})
    build.gather(store, plans=tmp_path)
    for _ in range(2):
        (tmp_path / "x").mkdir(exist_ok=True)
        write(tmp_path / "x" / FILE, plan)
        found = build.gather(store, plans=tmp_path).outcomes[0]
        assert (found.threshold, found.scenarios[0].decides) == (0.2, "median_tpot_ms")
    assert counted == ["x", "y", "x"]


def test_a_record_read_afresh_is_judged_afresh(store: Store, counted: list[str]) -> None:
    build.gather(store)
    build.gather(store, fresh=True)
    assert counted == ["x", "y"] * 2


def test_what_is_no_outcome_is_judged_again(store: Store, counted: list[str]) -> None:
    first = build.gather(store).outcomes
    for odd in ("{", "[1]", '[{"a": 1}]', "[[1, 2]]"):
        counted.clear()
        with contextlib.closing(sqlite3.connect(store.folder / index.FILE)) as database:
            database.execute(f"UPDATE {kept.TABLE} SET outcomes = ? WHERE experiment = 'y'", (odd,))
            database.commit()
        assert build.gather(store).outcomes == first and counted == ["y"]


def test_without_an_index_nothing_is_kept(store: Store, counted: list[str]) -> None:
    (store.folder / index.FILE).symlink_to("elsewhere")
    assert build.gather(store).outcomes == build.gather(store).outcomes
    assert counted == ["x", "y"] * 2


def test_where_nothing_can_be_written_the_report_is_made(store: Store, counted: list[str]) -> None:
    with contextlib.closing(index.database(store, samples=False)):  # the index is up to date
        pass
    lock = sqlite3.connect(store.folder / index.FILE, isolation_level=None)
    with contextlib.closing(lock), pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "WAIT_S", 0.01)
        lock.execute("BEGIN IMMEDIATE")
        assert len(build.gather(store).outcomes) == 2
    build.gather(store)
    assert counted == ["x", "y"] * 2


def test_what_is_kept_of_an_experiment_goes_with_it(store: Store) -> None:
    build.gather(store)
    for one in X:
        shutil.rmtree(store.folder / one.id)
    fill(store.folder, samples.experiment("z", "base", "only:q", 1.1, first=2000))
    build.gather(store)
    with contextlib.closing(index.database(store, samples=False)) as database:
        assert sorted(name for name, *_ in kept.rows(database)) == ["y", "z"]


def test_an_outcome_comes_back_as_it_went() -> None:
    spoiled = [*X[:4], samples.failed(77, labels=X[4].labels, conc=32), *X[5:-1]]
    records = [*spoiled, *samples.experiment("x", "base", "all", 1.0, pairs=1, comparison="c", first=600)]
    found = anew(records)
    assert found[0].scenarios[1].rejected and found[0].scenarios[2].half
    assert kept.unpacked(kept.packed(found)) == found
    assert json.dumps(found[0].scenarios[0].half) == "[]"


@pytest.mark.slow
def test_a_report_of_what_is_kept_loads_nothing_that_counts(store: Store, tmp_path: Path) -> None:
    build.gather(store, plans=None)
    script = ("import sys; from pathlib import Path; from tunefork.bench.report import build; from tunefork.bench.records.store import Store\n"
              f"print(len(build.gather(Store(Path({str(store.folder)!r}))).outcomes), [one for one in ('numpy', 'scipy') if one in sys.modules])")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert done.stdout == "2 []\n"
