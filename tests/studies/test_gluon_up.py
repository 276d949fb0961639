"""The study of GEMMs with a ring, as far as a CPU goes: the command lines of its parts, its rows with a stand-in for the layer, machine code."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="NOT TESTED: needs torch (`pip install -e .[kernels]` and a torch)")
pytest.importorskip("triton.experimental.gluon", reason="NOT TESTED: needs a triton with Gluon (`pip install -e .[kernels]`)")

import torch

from studies.cubins.pack import case_of
from studies.gluon_up import __main__ as command
from studies.gluon_up import checks, compiling, timed
from studies.gluon_up.compiled import codes
from studies.gluon_up.tiles import TILES, layer
from tunefork.bench.kernels.timing import interval
from tunefork.kernels.moe_a16w4 import MoeShape, illegal
from tunefork.kernels.moe_a16w4.plan import Case, plan
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference

SCRIPT = Path(command.__file__).with_name("parts.sh")
SHAPE = MoeShape(160, 136, 4, 2)
PLAIN: dict[int, Any] = {}


@pytest.mark.slow
@pytest.mark.parametrize("tp", [1, 8])
def test_its_machine_code_keeps_an_operand_until_its_products_end(tp: int) -> None:
    for code in codes("128x288", tp):
        assert code.products >= 36 and (code.stack, code.early) == (0, 0), code
        assert code.shuffles <= 2 and code.shared <= 227 * 1024, code


@pytest.mark.parametrize("name", sorted(TILES))
def test_every_tile_is_legal_at_every_size(name: str) -> None:
    for tp in (1, 2, 4, 8):
        assert illegal(layer(name), case_of(tp, 4096).shape, 4096, "sm90") is None


def test_every_part_calls_what_there_is_and_ends_in_time() -> None:
    text = SCRIPT.read_text()
    functions, _, parts = text.partition("case $part in")
    assert 'study() {' in functions and "--out" in functions
    seen = 0
    for part in re.findall(r"^    (\w+)\)(.*?);;", parts, re.MULTILINE | re.DOTALL):
        seconds = 0
        for line in part[1].splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] in ("study", "warm"):
                seconds += int(words[1])
                given = ["warm", *words[2:]] if words[0] == "warm" else [*words[3:], "--out", "x"]
                assert command.parsed(given).what == given[0]
                seen += 1
            elif words and words[0] == "timeout":
                seconds += int(words[1])
        assert 0 < seconds < 280, part[0]
    assert seen == 9
    assert subprocess.run(["sh", "-n", str(SCRIPT)], check=False).returncode == 0
    assert subprocess.run(["sh", str(SCRIPT), "nothing", "/tmp"], check=False, capture_output=True).returncode == 2


def test_each_kernel_of_a_part_is_compiled_once() -> None:
    found = compiling.jobs(["128x160", "128x288"], [8, 1], [4096, 8192, 16384])
    names = [plan(one.case, one.config)[one.at].kernel.__name__ for one in found if one.config]
    assert len(names) == len(found)
    assert names.count("up_ring_kernel") == names.count("down_ring_kernel") == 4 and names.count("sorted_copy_kernel") == names.count("combine_kernel") == 1
    assert names.count("route_sort_kernel") == 8, "four (bm, extra), each by 16 and by 64 tokens a program"


@pytest.mark.slow
def test_kernels_are_compiled_in_processes_of_their_own_and_errors_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    found = [job for job in compiling.jobs(["128x288"], [8], [4096]) if job.config and plan(job.case, job.config)[job.at].kernel.__name__ == "sorted_copy_kernel"]
    assert compiling.warm(found) == [] and len(list(tmp_path.rglob("*.cubin"))) == 1
    (copy,) = found
    assert copy.config
    (said,) = compiling.warm([replace(copy, at=copy.at + 1, config=replace(copy.config, up=replace(copy.config.up, ring=2)))])
    assert said.startswith("up_ring_kernel at M=4096: CompilationError")


def test_a_part_without_a_gpu_says_so_and_leaves_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert command.main(["checks", "--tokens", "300", "--out", str(tmp_path / "x")]) == 2
    assert "no GPU" in capsys.readouterr().err and not (tmp_path / "x").exists()


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """`fused_moe` by the reference; what it was called with, and a fault to add."""
    state: dict[str, Any] = {"calls": [], "fault": lambda out, _config: None}
    known: dict[Any, torch.Tensor] = {}

    def fused_moe(x: torch.Tensor, logits: torch.Tensor, weights: Any, topk: int, *, out: torch.Tensor, workspace: Any, config: Any,
                  num_live: torch.Tensor | None = None, expert_map: torch.Tensor | None = None) -> torch.Tensor:  # fmt: skip
        rows = x.shape[0] if num_live is None else int(num_live)
        state["calls"].append(config)
        key = (id(weights), x.shape[0], rows, expert_map is None)
        if key not in known:
            known[key] = fused_moe_reference(x[:rows], logits[:rows], PLAIN[id(weights)], topk, expert_map=expert_map).bfloat16()
        out[:rows] = known[key]
        state["fault"](out, config)
        return out

    monkeypatch.setattr(checks, "fused_moe", fused_moe)
    monkeypatch.setattr(timed, "fused_moe", fused_moe)
    return state


def small(shape: MoeShape, device: str = "cpu") -> checks.Problem:
    one = PROBLEM(shape, device)
    PLAIN[id(one.weights)] = one.plain
    return one


PROBLEM = checks.problem


@pytest.mark.slow
def test_the_checks_rows(stand_in: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "problem", small)
    config = layer("128x128")
    rows = list(checks.checks("128x128", config, [SHAPE], [210, 230], "cpu"))
    assert [(row["M"], row["kind"]) for row in rows[::2]] == [(210, "plain"), (230, "plain"), (210, "live"), (210, "mapped")]
    assert all(row.get("begins") for row in rows[::2])
    for row in rows[1::2]:
        assert row["ok"] is True and row["repeats"] == 20 and row["error"] < 4e-3 and row["to_shipped"] == 0.0, row
        json.dumps(row)
    assert stand_in["calls"].count(config) == 4 * 21 and len(stand_in["calls"]) == 4 * 22


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "number"), [
    (lambda out, _: out.mul_(1.01), "error"), (lambda out, _: out.fill_(float("nan")), "finite"), (lambda out, _: out.add_(torch.rand(()) * 1e-2), "repeats"),
])  # fmt: skip
def test_a_fault_is_not_ok(fault: Any, number: str, stand_in: dict[str, Any]) -> None:
    stand_in["fault"] = fault
    row = checks.cell(small(SHAPE), 210, layer("128x128"), "cpu")
    assert row["ok"] is False, row
    assert {"error": row["error"] > 4e-3, "finite": not row["finite"], "repeats": row["repeats"] < 20}[number]


def test_a_cell_that_raises_is_a_row_and_the_next_one_follows(stand_in: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(_out: torch.Tensor, _config: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access")

    stand_in["fault"] = fault
    monkeypatch.setattr(checks, "problem", small)
    rows = list(checks.checks("128x128", layer("128x128"), [SHAPE], [210], "cpu"))
    assert [row["failed"] for row in rows[1::2]] == ["RuntimeError: CUDA error: an illegal memory access"] * 3


@pytest.mark.slow
def test_what_is_timed_is_compared_first(stand_in: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = PROBLEM(SHAPE, "cpu")
    monkeypatch.setattr(timed, "case_of", lambda tp, tokens: Case("sm90", SHAPE, tokens, SHAPE.experts))
    made = timed.stored(SHAPE, "cpu")
    assert made.weights.w13.shape == plain.weights.w13.shape and made.weights.s2.shape == plain.weights.s2.shape
    PLAIN[id(plain.weights)] = plain.plain
    monkeypatch.setattr(timed, "stored", lambda _shape, _device: plain)
    monkeypatch.setattr(timed, "compare", lambda todo, rounds: {name: interval([10.0 + at] * rounds) for at, name in enumerate(todo) if calls[0](name, todo)})
    calls = [lambda _name, todo: all(call() is not None for each in todo.values() for call in each[:1])]
    configs = {"128x128": layer("128x128"), "128x160": layer("128x160")}
    stand_in["fault"] = lambda out, config: out.mul_(1.1) if config == configs["128x160"] else None
    rows = list(timed.timed(8, [210], configs, device="cpu", rounds=4))
    assert [(row["tile"], row.get("ratio")) for row in rows] == [("128x160", None), ("shipped", 1.0), ("128x128", 1.1)]
    assert "from the shipped row" in rows[0]["failed"]
    calls[0] = lambda _name, _todo: True
    stand_in["fault"] = lambda out, config: None
    rows = list(timed.timed(8, [210], configs, device="cpu", rounds=4, steps=True))
    assert {row["tile"].partition(": ")[2] for row in rows if "128x160" in row["tile"]} == {
        "route_kernel", "route_sort_kernel", "sorted_copy_kernel", "up_ring_kernel", "up_ring_kernel, exact", "down_ring_kernel", "down_ring_kernel, exact",
        "combine_kernel"}  # fmt: skip
    assert list(timed.timed(8, [210], configs, device="cpu", seconds=-1.0)) == [{"part": "layer", "tp": 8, "M": 210, "left out": "no time"}]
