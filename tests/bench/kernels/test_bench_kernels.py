"""`bench kernels` without a GPU: it checks, says that it did not time, and fails where the layer is wrong."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from tunefork.base.errors import TuneforkError
from tunefork.base.process import Say
from tunefork.bench.kernels import cases, measure
from tunefork.bench.kernels.check import CHIP, NOT_TIMED
from tunefork.cli.bench.kernels import kernels
from tunefork.kernels import registry

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
