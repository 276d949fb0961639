"""Compile cache, budgets and the gate, on two small kernels."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import triton
import triton.language as tl
from click.testing import CliRunner

from tunefork.base.errors import BadInput
from tunefork.cli import groups as command
from tunefork.kernels import registry
from tunefork.kernels.amdgcn import compile as compiling
from tunefork.kernels.amdgcn.budget import Budget, Limit, failures, wide_share, without_kernel
from tunefork.kernels.amdgcn.compile import Compiled, CompileFailed, Request, compile_all, content_key
from tunefork.kernels.amdgcn.errors import BadBudget
from tunefork.kernels.amdgcn.gate import GateRow, gate, record, run_checks
from tunefork.kernels.ratchet import versions
from tunefork.kernels.shipped import Shipped


@triton.jit
def scale_kernel(x, y, n, FACTOR: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, tl.load(x + i, mask=i < n) * FACTOR, mask=i < n)


def run_scale(factor: float) -> float:
    x, y = torch.arange(300.0), torch.full((300,), float("nan"))
    scale_kernel[(2,)](x, y, 300, FACTOR=factor, BLOCK=256)
    return float((y - 2 * x).norm() / (2 * x).norm())


def right() -> float:
    return run_scale(2.0)


def wrong() -> float:
    return run_scale(2.1)


def entry(config: str = "plain", **changes: Any) -> Shipped:
    base = Shipped(
        kernel="scale",
        fn=scale_kernel,
        config=config,
        shape="n=300",
        signature={"x": "*fp32", "y": "*fp32", "n": "i32"},
        constexprs={"FACTOR": 2.0, "BLOCK": 256},
        options={"num_warps": 4},
        grid=(2, 1, 1),
        check=right,
        tolerance=1e-6,
    )
    return dataclasses.replace(base, **changes)


def test_cache_is_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = compile_all([entry()], cache=tmp_path, workers=1)[0]
    assert isinstance(first, Compiled) and first.name == "scale_kernel" and first.num_warps == 4
    monkeypatch.setattr(compiling, "build", lambda *_: pytest.fail("compiled again"))
    assert compile_all([entry()], cache=tmp_path, workers=1) == [first]
    keys = {
        content_key(Request.of(changed))
        for changed in (
            entry(),
            entry(constexprs={"FACTOR": 3.0, "BLOCK": 256}),
            entry(options={"num_warps": 8}),
            entry(attrs={"x": 16}),
            entry(signature={"x": "*bf16", "y": "*fp32", "n": "i32"}),
        )
    }
    monkeypatch.setenv("TRITON_HIP_USE_ASYNC_COPY", "1")
    keys.add(content_key(Request.of(entry())))
    assert len(keys) == 6


@pytest.mark.slow
def test_processes_give_the_same_code(tmp_path: Path) -> None:
    entries = [entry(constexprs={"FACTOR": float(at), "BLOCK": 256}) for at in range(3)]
    apart = compile_all(entries, cache=tmp_path / "a", workers=2)
    assert apart == compile_all(entries, cache=tmp_path / "b", workers=1)


@pytest.mark.slow
def test_workers_have_one_thread_each() -> None:
    """Of several, the threads of one wait for a core that another has: four rows took 31 s in place of 23, beside other load."""
    ran = run_checks([entry(name, check=torch.get_num_threads) for name in ("one", "two")], workers=2)
    assert [one.error for one in ran if one] == [1.0, 1.0]


def test_checks_run_in_processes_or_here() -> None:
    """A check of an importable module runs apart, one that only this test session can import runs here."""
    apart = entry("apart", check=functools.partial(math.fsum, [0.25, 0.5]))
    ran = run_checks([apart, entry("apart too", check=functools.partial(math.fsum, [])), entry("none", check=None)], workers=2)
    assert [done and done.error for done in ran] == [0.75, 0.0, None]
    ran = run_checks([entry(), entry("wrong", check=wrong)], workers=2)
    assert [done is not None and done.failure for done in ran] == ["", ""] and ran[0] is not None and ran[0].error == 0


def test_what_does_not_compile_is_a_row(tmp_path: Path) -> None:
    broken = entry("broken", constexprs={"FACTOR": 2.0, "BLOCK": 255}, check=None)
    found = compile_all([broken], cache=tmp_path, workers=1)[0]
    assert isinstance(found, CompileFailed) and "scale_kernel" in found.message
    missing = compile_all([entry(signature={"x": "*fp32"})], cache=tmp_path, workers=1)[0]
    assert isinstance(missing, CompileFailed) and "no type is given for y, n" in missing.message
    (row,) = gate([broken], cache=tmp_path, workers=1)
    assert not row.ok and "scale [broken] n=300: does not compile" in row.failures[0]


def test_gate_runs_checks_and_budgets(tmp_path: Path) -> None:
    budgets = tmp_path / "budgets"
    budgets.mkdir()
    limits = {"default": {"vgprs": {"max": 100}}, "tight": {"vgprs": {"max": 1}, "work_groups": {"min": 256}}}
    good = {"tight | n=300": {"vgprs": 1}}
    (budgets / "scale.json").write_text(json.dumps({"limits": limits, "last_good": good}))
    entries = [entry(), entry("tight"), entry("wrong", check=wrong), entry("crash", check=lambda: 1 / 0), entry("static", check=None)]
    rows = {row.config: row for row in gate(entries, cache=tmp_path / "cache", workers=1, budgets=budgets)}
    assert rows["plain"].ok and rows["plain"].executed and rows["plain"].error == 0
    assert rows["tight"].failures[0].startswith("scale [tight] n=300: vgprs is ")
    assert rows["tight"].failures[0].endswith("the limit is at most 1 (last good 1)")
    assert "work_groups is 2, the limit is at least 256 (no last good value)" in rows["tight"].failures[1]
    assert "relative error 0.0499" in rows["wrong"].failures[0] and rows["wrong"].executed
    assert "ZeroDivisionError" in rows["crash"].failures[0] and not rows["crash"].executed
    assert rows["static"].ok and not rows["static"].executed
    asked = {"kernel", "config", "shape", "facts", "budgets", "executed", "error", "ok"}
    assert asked <= set(json.loads(json.dumps(rows["plain"].as_dict())))


def test_record_writes_what_passed(tmp_path: Path) -> None:
    rows = gate([entry(), entry("wrong", check=wrong)], cache=tmp_path / "cache", workers=1, budgets=tmp_path)
    assert record(rows, tmp_path) == 1
    budget = Budget.read("scale", tmp_path)
    assert budget.last("plain", "n=300", "vgprs") == rows[0].measures["vgprs"]
    assert budget.last("wrong", "n=300", "vgprs") is None


@pytest.mark.parametrize(("content", "message"), [
    ("{", "is not JSON"),
    ('{"limits": {"default": {"vgprs": 3}}}', "vgprs wants"),
    ('{"limits": {"default": {"vgprs": {"max": "3"}}}}', "must be numbers"),
])  # fmt: skip
def test_bad_budgets_are_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "scale.json").write_text(content)
    with pytest.raises(BadBudget, match=message):
        Budget.read("scale", tmp_path)


def test_a_limit_on_a_fact_that_is_not_there_fails() -> None:
    lines = failures("k", {"vgprs": 1}, {"nonsense": Limit("nonsense", most=1)}, {})
    assert lines == ["k: nonsense has a limit (at most 1) but the code does not show it"]


def test_command_prints_json_and_fails_with_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNEFORK_CACHE", str(tmp_path))
    monkeypatch.setattr(registry, "shipped", lambda: [entry(), entry("wrong", check=wrong)])
    listed = CliRunner().invoke(command.kernels, ["list", "--json"], standalone_mode=False)
    assert [row["config"] for row in json.loads(listed.stdout)] == ["plain", "wrong"]
    done = CliRunner().invoke(command.kernels, ["gate", "--json", "--workers", "1", "--only", "scale"], standalone_mode=False)
    assert done.return_value == 1
    rows = json.loads(done.stdout)
    assert [row["ok"] for row in rows] == [True, False] and rows[0]["facts"]["vgprs"] > 0
    assert "failed: scale [wrong] n=300: relative error" in done.stderr
    table = CliRunner().invoke(command.kernels, ["gate", "--only", "plain", "--workers", "1"], standalone_mode=False)
    assert table.return_value == 0 and "not validated on an MI355X" in table.stdout


def test_another_triton_is_the_one_of_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """A Triton that says who it is and ends stands in for the one that pip would fetch."""
    (tmp_path / "triton.py").write_text("import sys\nprint('a stand-in', *sys.argv[1:])\nsys.exit(7)\n")
    monkeypatch.setattr(versions, "folder", lambda version: tmp_path)
    words = ["gate", "--triton", "9.9.9", "--only", "router", "--static", "--workers", "1"]
    assert CliRunner().invoke(command.kernels, words, standalone_mode=False).return_value == 7
    assert "a stand-in kernels gate --only router --workers 1 --static" in capfd.readouterr().out
    for other in ("--record", "--native"):
        refused = CliRunner().invoke(command.kernels, ["gate", "--triton", "9.9.9", other], standalone_mode=False)
        assert isinstance(refused.exception, BadInput) and "--triton 9.9.9" in refused.exception.remedy


def test_wide_share_and_budgets_without_a_kernel(tmp_path: Path) -> None:
    assert wide_share({"16": 3, "4": 4, "1": 0}) == 0.75 and wide_share({}) == 0
    for name in ("scale", "gone"):
        (tmp_path / f"{name}.json").write_text("{}")
    assert [path.stem for path in without_kernel({"scale"}, tmp_path)] == ["gone"]


def test_rows_know_whether_they_are_ok() -> None:
    row = GateRow("k", "c", "s", None, None, {}, {}, False, None, 0.0, ())
    assert row.ok and not dataclasses.replace(row, failures=("x",)).ok
