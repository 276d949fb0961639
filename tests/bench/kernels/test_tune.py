"""Tuning without a GPU: candidates are legal, the estimate ranks as it says, a problem's journal resumes, the table says where rows come from."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tunefork.base.errors import BadInput, MissingTool, TuneforkError
from tunefork.bench.kernels import sweep, tune, tune_problem
from tunefork.bench.kernels.journal import Journal
from tunefork.bench.kernels.static import WaveCost, estimate, expected_experts, programs, shape_of
from tunefork.bench.kernels.tune import Candidate, candidates
from tunefork.bench.machine.spread import Local, Ray
from tunefork.cli.kernels import tune as kernels_tune
from tunefork.kernels.amdgcn.model import find_tool
from tunefork.kernels.moe_a16w4.config import GemmConfig, LayerConfig, illegal, pick, table
from tunefork.kernels.moe_a16w4.plan import Case, plan

COST = WaveCost(cycles=1000, busy=500, occupancy=4)


@pytest.mark.parametrize("arch", ["gfx950", "sm90"])
@pytest.mark.parametrize("tokens", [1, 8, 16, 64, 1024])
def test_every_candidate_is_legal_and_comes_once(arch: str, tokens: int) -> None:
    shape = shape_of(360)
    found = list(candidates(arch, shape, tokens))
    assert len(found) == len(set(found)) > 20
    assert all(illegal(one.layer(shape.topk), shape, tokens, arch) is None for one in found)
    assert {one.part for one in found} == {"up", "down"}


@pytest.mark.parametrize("said", ["", "ptxas fatal\n.version 8.7\n"])
def test_what_cannot_be_compiled_is_a_line_whatever_its_error_says(said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError(said)

    monkeypatch.setattr(tune, "compile_step", refuse)
    shape = shape_of(360)
    config = pick("sm90", shape, 1)
    case = Case("sm90", shape, 1, shape.experts)
    tune._warm((case, config))
    assert capsys.readouterr().out == f"cannot compile {config}: {said.partition(chr(10))[0]}\n" * len(plan(case, config))


def test_keys_give_the_candidate_back() -> None:
    candidate = Candidate("slot", "up", GemmConfig(1, 4, 2, 16, unroll=3))
    assert tune_problem.candidate_of(tune_problem.key_of(candidate)) == candidate
    config = LayerConfig("slot", candidate.gemm, candidate.gemm)
    assert tune_problem.layer_of(asdict(config)) == config


def test_estimate_follows_its_limits() -> None:
    """More chunks in flight help while memory waits; more cycles hurt where the SIMDs are full; experts are counted by expectation."""
    shape = shape_of(360)
    shallow, deep = (estimate(COST, "slot", "up", GemmConfig(1, 4, 1, 16, unroll=depth), shape, 1) for depth in (1, 3))
    assert deep < shallow
    slow = estimate(WaveCost(4000, 4000, 4), "sorted", "up", GemmConfig(2, 2, 1, 32), shape, 4096)
    assert slow > 1.3 * estimate(WaveCost(1000, 1000, 4), "sorted", "up", GemmConfig(2, 2, 1, 32), shape, 4096)
    assert expected_experts(shape, 1) == pytest.approx(4) and expected_experts(shape, 10_000) == pytest.approx(128)
    assert programs("slot", "up", GemmConfig(1, 4, 1, 16, split=2), shape, 1) == pytest.approx(4 * 45 * 2)
    assert programs("slot", "down", GemmConfig(1, 4, 1, 16), shape, 3) == 3 * 180


def few(arch: str, shape: Any, tokens: int) -> list[Candidate]:
    gemms = [GemmConfig(1, 4, 1, 16, unroll=2), GemmConfig(1, 4, 2, 16, unroll=2)]
    return [Candidate("slot", part, gemm) for part in ("up", "down") for gemm in gemms]


@pytest.fixture
def only_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An llvm-mca on a PATH of its own, that no test here may need to run: it ends with exit code 1."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = folder / "llvm-mca-22"
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return path


def test_a_static_problem_is_resumed_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only_tool: Path) -> None:
    """Stopped after its second candidate, the second run estimates only the other two and ends with a choice that says modelled."""
    monkeypatch.setattr(tune_problem, "candidates", few)
    calls: list[Candidate] = []

    def stop_after_two(candidate: Candidate, _intermediate: int, _tokens: int, tool: Path) -> dict[str, Any]:
        assert tool == only_tool
        calls.append(candidate)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return {"us": 10.0 / candidate.gemm.r}

    monkeypatch.setattr(tune_problem, "estimate_one", stop_after_two)
    path = tmp_path / "gfx950-i360-m2.jsonl"
    with pytest.raises(KeyboardInterrupt):
        tune_problem.tune_problem("gfx950", 360, 2, path, static=True)
    assert sweep.finished(path, 360, 2, static=True) is None
    tune_problem.tune_problem("gfx950", 360, 2, path, static=True)
    assert calls[2:] == few("", None, 2)[2:] or calls[2:] == [few("", None, 2)[2], *few("", None, 2)[2:]]
    row = sweep.finished(path, 360, 2, static=True)
    assert row is not None and row.source.startswith("modelled") and "never measured" in row.source
    tune_problem.tune_problem("gfx950", 360, 2, path, static=True)
    assert len(calls) == 5, "a finished problem was estimated again"


@pytest.mark.slow
@pytest.mark.skipif(find_tool() is None, reason="NOT TESTED: no llvm-mca 22 or newer on PATH; an estimate from compiled code")
@pytest.mark.parametrize("candidate", few("", None, 2), ids=lambda candidate: f"{candidate.part} r={candidate.gemm.r}")
def test_an_estimate_comes_from_the_compiled_code(candidate: Candidate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEFORK_CACHE", str(tmp_path / "cache"))
    tool = find_tool()
    assert tool is not None
    found = tune_problem.estimate_one(candidate, 360, 2, tool)
    assert found["us"] > 0 and found["wave_cycles"] >= found["wave_busy"] > 0 and found["vgprs"] > 0


def test_candidates_after_one_that_broke_the_gpu_are_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An illegal access leaves a process in which nothing launches any more: the next process goes on with the next candidate."""
    import torch

    from tunefork.bench.kernels import cases, tune

    asked: list[Candidate] = []

    def time_parts(problem: Any, layers: Any, arch: str, done: Any) -> Any:
        for candidate in few(arch, None, 2):
            if not done(candidate):
                asked.append(candidate)
                yield candidate, None

    def broken() -> None:
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(tune, "time_parts", time_parts)
    monkeypatch.setattr(cases, "random_plain", lambda *_: ())
    monkeypatch.setattr(cases, "layers", lambda *_: [])
    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    for _ in range(2):
        with Journal.open(tmp_path / "j.jsonl", {"arch": "gfx950"}) as journal, pytest.raises(TuneforkError, match="illegal memory access"):
            tune_problem.measure_all(journal, "gfx950", 360, 2)
    assert asked == few("", None, 2)[:2]
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    with Journal.open(tmp_path / "j.jsonl", {"arch": "gfx950"}) as journal, pytest.raises(TuneforkError, match="no configuration of gfx950 runs"):
        tune_problem.measure_all(journal, "gfx950", 360, 2)


def done_journal(path: Path, config: LayerConfig) -> None:
    with Journal.open(path, {"arch": "gfx950", "how": "modelled"}) as journal:
        journal.append(tune_problem.CHOSEN, {"config": asdict(config), "us": 1.0, "source": "modelled: a test"})


def test_a_sweep_skips_what_is_done_and_writes_the_table(tmp_path: Path) -> None:
    config = LayerConfig("slot", GemmConfig(1, 4, 1, 16), GemmConfig(1, 4, 1, 16))
    asked = sweep.Sweep("gfx950", (360,), (2, 8), tmp_path, static=True)
    for path in asked.journals().values():
        done_journal(path, config)
    said: list[str] = []
    rows = sweep.run(asked, Local((), 1), said.append)
    assert [(row.tokens, row.config) for row in rows] == [(2, config), (8, config)]
    assert said == [f"2 of 2 problems are done, 0 to tune into {tmp_path}"]
    assert [row["source"] for row in json.loads(asked.table.read_text())["rows"]] == ["modelled: a test"] * 2
    changed = sweep.take("gfx950", rows, tmp_path / "taken.json")
    taken = json.loads((tmp_path / "taken.json").read_text())["rows"]
    assert changed == 2 and len(taken) == len(table("gfx950"))


def test_an_estimate_is_no_measurement(tmp_path: Path) -> None:
    """On the GPU machine, a folder full of finished estimates is refused, not taken for tuned."""
    asked = sweep.Sweep("gfx950", (360,), (2,), tmp_path, static=False)
    done_journal(*asked.journals().values(), LayerConfig("slot", GemmConfig(1, 4, 1, 16), GemmConfig(1, 4, 1, 16)))
    with pytest.raises(BadInput, match="holds modelled results, measured ones are asked for"):
        sweep.run(asked, Local(("0",), 1), print)
    assert not asked.table.exists()


@pytest.mark.parametrize("there", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["without llvm-mca", "with llvm-mca"])
def test_a_problem_that_fails_is_named_and_the_rest_stays(tmp_path: Path, there: bool, only_tool: Path) -> None:
    """The worker ends with exit code 1; the sweep says which problem it was, and the log why: no tool would help."""
    if not there:
        only_tool.unlink()
    asked = sweep.Sweep("sm90", (360,), (2,), tmp_path, static=True)
    said: list[str] = []
    with pytest.raises(TuneforkError, match="1 of 1 problems have no choice: sm90-i360-m2"):
        sweep.run(asked, Local((), 1), said.append)
    said_there = (tmp_path / "sm90-i360-m2.log").read_text()
    assert "only gfx950 can be estimated" in said_there and "llvm-mca" not in said_there


def test_an_estimate_without_the_tool_names_it(tmp_path: Path, only_tool: Path) -> None:
    only_tool.unlink()
    with pytest.raises(MissingTool, match="no llvm-mca 22 or newer on PATH"):
        tune_problem.tune_problem("gfx950", 360, 2, tmp_path / "gfx950-i360-m2.jsonl", static=True)


def test_without_a_gpu_the_command_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = CliRunner().invoke(kernels_tune.tune, [], standalone_mode=False)
    assert isinstance(done.exception, TuneforkError) and "nothing can be measured" in done.exception.message and "--static" in done.exception.remedy


def begun(tmp_path: Path) -> sweep.Sweep:
    """Two problems whose candidates are all estimated but which have no choice yet."""
    asked = sweep.Sweep("gfx950", (360,), (2, 8), tmp_path, static=True)
    for (intermediate, tokens), path in asked.journals().items():
        with Journal.open(path, tune_problem.about("gfx950", intermediate, tokens, static=True)) as journal:
            for number, candidate in enumerate(candidates("gfx950", shape_of(intermediate), tokens)):
                journal.append(tune_problem.key_of(candidate), {"us": 10.0 + (number * 7) % 13})
    return asked


def finish(asked: sweep.Sweep, place: Local | Ray) -> None:
    """Each worker reads its journal and ends it."""
    said: list[str] = []
    rows = sweep.run(asked, place, said.append)
    assert [row.tokens for row in rows] == [2, 8] and all(row.source.startswith("modelled: ") for row in rows)
    assert sum("tuned on" in line for line in said) == 2 and asked.table.is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("only_tool")
def test_two_workers_finish_what_the_journals_began(tmp_path: Path) -> None:
    finish(begun(tmp_path), Local((), 2))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="NOT TESTED: Ray is not installed (extra `ray`); tuning over a cluster")
def test_two_ray_workers_finish_what_the_journals_began(tmp_path: Path, only_tool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setenv("PATH", f"{only_tool.parent}:/usr/bin:/bin")  # Ray runs programs of its own
    asked = begun(tmp_path)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        finish(asked, Ray())
    finally:
        ray.shutdown()
