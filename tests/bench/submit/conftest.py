"""Leaderboards, a store, and records of the seed profile that may be submitted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from loading import module

from tunefork.bench.profiles import rules
from tunefork.bench.profiles.rules import Rules
from tunefork.bench.records.schema import Accuracy, Limit, Record
from tunefork.bench.records.store import Store
from tunefork.bench.run.score import score


def helper(path: Path) -> ModuleType:
    """A helper beside the tests, under a name of its own."""
    return module(f"helper_{path.parent.name}_{path.stem}", path)


@pytest.fixture
def leaderboard() -> Iterator[Callable[..., Any]]:
    """leaderboard(fault, times): one that answers now."""
    kind = helper(Path(__file__).with_name("leaderboard.py")).Leaderboard
    made: list[Any] = []

    def start(fault: str = "", times: int = 10_000) -> Any:
        made.append(kind(fault, times))
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def seed() -> Rules:
    return rules.read(rules.GATES / "seed.toml")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "work" / "records")


@pytest.fixture
def measured(store: Store, seed: Rules) -> Callable[..., Record]:
    """measured(conc=4, **changes): a record of 8192/1024 in the store."""
    samples = helper(Path(__file__).parents[1] / "records" / "samples.py")
    names = (("bits_per_byte", 2.0), ("byte_perplexity", 4.0), ("word_perplexity", 200.0))
    accuracy = Accuracy(task="wikitext", status="passed", metrics=dict(names), samples=62, seconds=60.0, lm_eval="0.4.13",
                        limits=tuple(Limit(name=name, value=value, at_most=2 * value, passed=True) for name, value in names))
    numbers = {"total_token_throughput": 16000.0, "median_e2el_ms": 2000.0, "median_tpot_ms": 2.0}

    def make(conc: int = 4, **changes: Any) -> Record:
        load = {"isl": 8192, "osl": 1024, "conc": conc, "num_prompts": 10 * conc, "warmups": 2 * conc, "range_ratio": 1.0, "seed": 0}
        values = {"profile": "seed", "accuracy": accuracy, "metrics": numbers, "scenario": type(samples.passed().scenario)(**load),
                  "score": score(numbers, gpus=8, isl=8192, osl=1024, conc=conc, baseline=seed.baseline), **changes}
        record: Record = samples.passed(**values)
        store.write(record, {})
        return record

    return make
