"""`bench kernels` without a GPU: it checks, says that it did not time, and fails where the layer is wrong."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from click.testing import CliRunner

from tunefork.base.errors import TuneforkError
from tunefork.base.process import Say
from tunefork.bench.kernels import cases, measure, timing
from tunefork.bench.kernels.check import CHIP, NOT_TIMED
from tunefork.cli.bench.kernels import kernels, show
from tunefork.kernels import registry
from tunefork.kernels.moe_a16w4.weights import Weights

WANTED = {"op", "tp", "M", "impl", "us", "us_lo", "us_hi", "bytes", "floor_us", "chip"}


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.slow
def test_rows_are_checked_and_say_that_they_are_not_timed() -> None:
    done = CliRunner().invoke(kernels, ["--tp", "8", "--tokens", "1", "--json"], standalone_mode=False)
    assert done.return_value == 0, done.exception
    (row,) = json.loads(done.stdout)
    assert set(row) >= WANTED and row["us"] is None and row["timed"] is False and row["chip"] == CHIP and 0 < row["error"] <= 4e-3
    assert row["bytes"] == 4 * (720 * (1440 + 90) + 2880 * (180 + 12)) and NOT_TIMED in done.stderr


def test_a_wrong_layer_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "relative_error", lambda row, arch: 0.5)
    done = CliRunner().invoke(kernels, ["--quick"], standalone_mode=False)
    assert isinstance(done.exception, TuneforkError) and "the layer is wrong at TP 8, M 1: relative error 5.00e-01" in done.exception.message


def test_the_table_says_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "relative_error", lambda row, arch: 0.001)
    done = CliRunner().invoke(kernels, ["--quick"], standalone_mode=False)
    assert done.return_value == 0 and "not timed (chip: none" in done.stdout and done.stdout.count("1.0e-03") == 6 and NOT_TIMED in done.stderr


@pytest.mark.slow
def test_timed_rows_are_all_that_stdout_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is said of peers goes to stderr, and no other measurement of ours can start meanwhile. The times are made up: they need a GPU."""

    def made_up(problem: cases.MoeProblem, plain: object, layers: object, found: object, rounds: int, say: Say) -> list[measure.LayerTime]:
        (lock,) = (tmp_path / "cache").glob("trial-*.lock")
        with lock.open() as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        say("tk is left out")
        return [measure.LayerTime("moe_a16w4", problem.tp, problem.tokens, impl, 2.0, 1.0, 3.0, 5, 1.0, "made up", 1e-3) for impl in ("ours", "floor")]

    monkeypatch.setenv("TUNEFORK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(cases, "random_plain", lambda tp, device: ())
    monkeypatch.setattr(cases, "layers", lambda plain, tp: [])
    monkeypatch.setattr(measure, "measure_problem", made_up)
    done = CliRunner().invoke(kernels, ["--tp", "8", "--tokens", "1", "--json", "--out", str(tmp_path)], standalone_mode=False)
    assert done.return_value == 0, done.exception
    assert [(row["impl"], row["timed"]) for row in json.loads(done.stdout)] == [("ours", True), ("floor", True)]
    assert "peer tk is absent" in done.stderr and "tk is left out" in done.stderr
    (record,) = tmp_path.glob("moe_a16w4-made-up-*.json")
    assert set(json.loads(record.read_text())["rows"][0]) >= WANTED
    first = record.read_bytes()
    CliRunner().invoke(kernels, ["--tp", "1", "--tokens", "1", "--json", "--out", str(tmp_path)], standalone_mode=False)
    assert record.read_bytes() == first and len(list(tmp_path.glob("*.json"))) == 2, "a day's second run replaced the first"


class _Clock:
    """torch.cuda.Event where nothing is timed."""

    def __init__(self, enable_timing: bool) -> None:
        pass

    def record(self) -> None:
        pass

    def synchronize(self) -> None:
        pass

    def elapsed_time(self, end: _Clock) -> float:
        return 1.0


def _captured(calls: Sequence[Callable[[], object]]) -> SimpleNamespace:
    for call in calls:
        call()
    return SimpleNamespace(replay=lambda: None)


def test_a_peer_that_fails_is_a_row_of_its_own_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One at its first call, one under graph capture, one with a wrong result: three rows that say why, times of the others."""
    x, said, called = torch.ones(1, 4), list[str](), Counter[str]()
    monkeypatch.setattr(cases, "inputs", lambda problem, device, count: [(x, torch.zeros(1, 128))])
    monkeypatch.setattr(measure, "fused_moe_reference", lambda x, logits, plain: x)
    monkeypatch.setattr(measure, "_ours", lambda layers, data: [lambda: x])
    monkeypatch.setattr(measure, "floor_call", lambda weights, logits, topk: lambda: None)
    monkeypatch.setattr(timing, "capture", _captured)
    monkeypatch.setattr(torch.cuda, "Event", _Clock)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "made up")

    def layer(name: str, fails_at: int, by: float = 1.0) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        def run(x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
            called[name] += 1
            if called[name] == fails_at:
                raise TypeError(f"{name} takes 6 arguments\nand more")
            return x * by

        return run

    found = {"first": layer("first", 1), "captured": layer("captured", 2), "wrong": layer("wrong", 9, 1.5), "none": layer("none", 9, math.nan),
             "good": layer("good", 9)}
    weights = cast("list[Weights]", [None])
    rows = measure.measure_problem(cases.MoeProblem(8, 1), cast("cases.Plain", ()), weights, found, 2, said.append)
    assert {row.impl: row.us is not None for row in rows} == {"ours": True, "good": True, "floor": True, "first": False, "captured": False, "wrong": False, "none": False}
    failed = {row.impl: row.failed for row in rows if row.failed}
    assert failed == {"first": "TypeError: first takes 6 arguments", "captured": "TypeError: captured takes 6 arguments", "wrong": "relative error 5.00e-01",
                      "none": "relative error nan"}
    assert {row.impl: row.error for row in rows if row.failed} == {"first": None, "captured": 0.0, "wrong": 0.5, "none": None}
    json.dumps([dataclasses.asdict(row) for row in rows], allow_nan=False)
    show([*rows, *(dataclasses.replace(row, M=4) for row in rows if row.failed)])
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if "has no time" in line] == [f"{impl} has no time at TP8 M 1, TP8 M 4: {why}" for impl, why in failed.items()]
    assert len(said) == 4 and all(" is left out at " in line for line in said)
    found.pop("good")
    monkeypatch.setattr(measure, "_ours", lambda layers, data: [partial(layer("ours", 2), x, x)])
    with pytest.raises(TuneforkError, match="ours cannot be timed at TP 8, M 1: TypeError: ours takes 6 arguments"):
        measure.measure_problem(cases.MoeProblem(8, 1), cast("cases.Plain", ()), weights, found, 2, said.append)


def test_a_plot_of_many_sizes_names_powers_of_two(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """31 M, of which some lie 4 % apart: their numbers covered one another. A peer that failed everywhere has no line."""
    figure = pytest.importorskip("matplotlib.figure", reason="NOT TESTED: needs matplotlib (extra `report`)")
    drawn: list[Any] = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, path, dpi: drawn.append(self.axes[0]))
    row = partial(measure.LayerTime, "moe_a16w4", 8)
    sizes = (*range(1, 17), 300, 512)
    rows = [row(tokens, "ours", 2.0 * tokens, 1.0, 3.0, 5, 1.0, "made up", 1e-3) for tokens in sizes]
    rows.append(row(1, "marlin", None, None, None, 5, 1.0, "made up", 0.0, "TypeError: an argument more"))
    measure.plot(rows, 8, tmp_path / "plot.png")
    measure.plot(rows[:3], 8, tmp_path / "plot.png")
    assert [[text.get_text() for text in axes.get_xticklabels()] for axes in drawn] == [["1", "2", "4", "8", "16", "512"], ["1", "2", "3"]]
    assert [line.get_label() for line in drawn[0].get_lines()] == ["ours"]
