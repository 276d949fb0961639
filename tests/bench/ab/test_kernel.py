"""A/B of kernels: the whole way on the CPU's clock, the verdict from made-up pairs, and what is refused. Times of a GPU need a GPU."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tunefork.base.errors import BadInput
from tunefork.bench.ab import kernel
from tunefork.bench.ab.kernel import KernelPlan

ROOT = Path(__file__).resolve().parents[3]
PLAN = KernelPlan("k", "moe_a16w4", "shipped", "torch", 8, (1, 64), 7, 4, "gpu", 0.01)
needs_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None or importlib.util.find_spec("triton") is None,
                                 reason="torch or triton is not installed: no kernel can be run")


def bench(root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TUNEFORK_ROOT": str(root), "TUNEFORK_CACHE": str(root / "cache")}
    return subprocess.run([sys.executable, str(ROOT / "build.py"), "--no-venv", "bench", "ab", "--kernel", "moe_a16w4", *more], env=environment,
                          capture_output=True, text=True, timeout=300, check=False)


@needs_torch
@pytest.mark.slow
def test_two_implementations_on_the_cpus_clock(tmp_path: Path) -> None:
    words = ("--cpu-timer", "--a", "torch", "--b", "reference", "--tokens", "1", "--pairs", "2", "--name", "k", "--json")
    done = bench(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["timer"], found["chips"][0][:4], found["kernel"]) == ("cpu", "CPU ", "moe_a16w4")
    assert "says nothing of any GPU" in found["note"]
    one, = found["scenarios"]
    assert (one["pairs"], one["rejected"], one["M"]) == (2, [], 1)
    where = tmp_path / "work" / "experiments" / "k"
    pair = json.loads((where / "pair-1.json").read_text())
    assert max(pair["errors"]["1"].values()) < 2e-2 and len(pair["us"]["1"]["A"]) == 4
    before = [path.stat().st_mtime_ns for path in sorted(where.glob("pair-*.json"))]
    (where / "pair-2.json").unlink()
    again = bench(tmp_path, *words)
    assert again.returncode == 0 and "pair 2 of 2" in again.stderr and "pair 1 of 2" not in again.stderr, "resume measures what is missing"
    assert (where / "pair-1.json").stat().st_mtime_ns == before[0]


@needs_torch
def test_an_arm_that_cannot_be_timed_is_told() -> None:
    from tunefork.bench.ab.kernel_worker import calls, layer

    with pytest.raises(BadInput, match="our kernels run on a GPU"):
        calls("shipped", [], (), [])
    with pytest.raises(BadInput, match="no implementation is called 'nothing' here"):
        calls("nothing", [], (), [])
    with pytest.raises(BadInput, match="not a layer configuration"):
        layer({"order": "slot"})


@needs_torch
def test_an_arm_has_room_for_its_own_configuration() -> None:
    """A file's configuration may need more scratch memory than the one that the table picks."""
    import torch

    from tunefork.bench.ab.kernel_worker import ours
    from tunefork.kernels.moe_a16w4 import GemmConfig, LayerConfig, MoeShape, make_workspace, prepare_weights
    from tunefork.kernels.moe_a16w4.launch import workspace_size
    from tunefork.kernels.moe_a16w4.plan import Case, buffers

    def matrix(rows: int, cols: int) -> tuple[torch.Tensor, ...]:
        return (torch.zeros(4, rows, cols // 2, dtype=torch.uint8), torch.full((4, rows, cols // 32), 127, dtype=torch.uint8),
                torch.zeros(4, rows, dtype=torch.bfloat16))

    weights = prepare_weights(*matrix(128, 512), *matrix(512, 64), "gfx950")
    config = LayerConfig("slot", GemmConfig(1, 4, 4, 16, split=4), GemmConfig(1, 4, 1, 16))
    case = Case("gfx950", MoeShape(512, 64, 4), 8, 4)
    needed = workspace_size(buffers(case, config))
    assert make_workspace(weights, 8).memory.numel() < needed, "the table's would do, too: this shows nothing"
    call, = ours([(torch.zeros(8, 512, dtype=torch.bfloat16), torch.zeros(8, 4))], [weights], config)
    assert call.keywords["workspace"].memory.numel() >= needed  # type: ignore[attr-defined] # a partial


@pytest.mark.slow
@needs_torch
def test_what_a_process_says_before_it_fails_is_told(tmp_path: Path) -> None:
    done = bench(tmp_path, "--cpu-timer", "--tokens", "1", "--pairs", "1")
    assert (done.returncode, "our kernels run on a GPU" in done.stderr) == (13, True), done.stderr


@pytest.mark.slow
@needs_torch
def test_without_a_gpu_it_refuses(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    done = bench(tmp_path)
    assert done.returncode == 6
    assert "no GPU: a kernel's time cannot be taken here" in done.stderr and "--cpu-timer" in done.stderr
    assert not (tmp_path / "work").exists(), "nothing was begun"


@pytest.mark.slow
@needs_torch
@pytest.mark.parametrize(("words", "says"), [
    (("--conc", "4"), "--kernel starts no server: --conc means nothing to it"), (("--each-patch",), "--each-patch means nothing"),
    (("--tokens", "0"), "0 is not in the range 1<=x<=16384"), (("--kernel", "attention"), "--kernel attention: expected moe_a16w4"),
])
def test_bad_arguments(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    done = bench(tmp_path, *words)
    assert (done.returncode, says in done.stderr) == (2, True), done.stderr


@needs_torch
def test_a_wrong_result_is_not_timed() -> None:
    import torch

    from tunefork.base.errors import TuneforkError
    from tunefork.bench.ab.kernel_worker import checked

    want = torch.ones(4)
    assert checked("A", lambda: want * 1.001, want, 4e-3, 1) == pytest.approx(1e-3, rel=1e-3)
    for wrong in (want * 1.01, want * float("nan")):
        with pytest.raises(TuneforkError, match="arm A is wrong at M 1"):
            checked("A", lambda wrong=wrong: wrong, want, 4e-3, 1)


def pair(a: float, b: float, chip: str = "chip", foreign: str = "") -> dict[str, Any]:
    return {"chip": chip, "foreign": foreign, "us": {str(count): {"A": [a, a * 1.1, a * 0.9], "B": [b * scale, b * 3, b * 0.5]}
                                                     for count, scale in ((1, 1.0), (64, 1.0))}}


def test_the_verdict_is_of_medians_over_processes() -> None:
    found = kernel.outcome(PLAN, [pair(10 + 0.01 * number, 8 + 0.02 * number) for number in range(4)])
    assert found.verdict == "better", "fewer microseconds"
    assert found.judgements[1].ratio == pytest.approx(0.8, rel=0.01)
    assert found.medians[1] == pytest.approx((10.015, 8.03))
    said = kernel.as_json(found)
    assert isinstance(said["scenarios"], list)
    assert {"ratio", "lo", "hi", "pairs", "rejected", "verdict"} <= said["scenarios"][0].keys()


def test_pairs_of_another_chip_and_beside_others_are_left_out() -> None:
    pairs = [pair(10, 8), pair(10, 20, chip="other"), pair(10, 20, foreign="4711, python"), pair(10, 8.01)]
    found = kernel.outcome(PLAN, pairs)
    assert [(bad.pair, bad.reason) for bad in found.rejected] == [
        (1, "on other, the first pair on chip"), (2, "another process was on the device: 4711, python")]
    assert found.judgements[1].pairs == 2 and found.chips == ("chip", "other")


@pytest.mark.parametrize(("name", "reason"), [
    ("triton", "with Triton 3.7.1, the first pair with Triton 3.6.0"), ("code", "of kernels 3.7.1, the first pair of kernels 3.6.0")])
def test_pairs_of_other_code_are_left_out(name: str, reason: str) -> None:
    """A resumed experiment whose kernels or compiler changed meanwhile compares something else."""
    found = kernel.outcome(PLAN, [{**pair(10, 8), name: "3.6.0"}, {**pair(10, 20), name: "3.7.1"}, {**pair(10, 8.01), name: "3.6.0"}])
    assert [(bad.pair, bad.reason) for bad in found.rejected] == [(1, reason)]


@needs_torch
def test_the_hash_of_our_kernels_sees_a_table_change(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tunefork.bench.ab import kernel_worker

    before = kernel_worker.code()
    copied = shutil.copytree(Path(kernel_worker.moe_a16w4.__file__).parent, tmp_path / "moe_a16w4")
    monkeypatch.setattr(kernel_worker.moe_a16w4, "__file__", str(copied / "__init__.py"))
    assert kernel_worker.code() == before
    (copied / "configs" / "gfx950.json").write_text("{}")
    assert kernel_worker.code() != before


def test_damaged_files_of_an_experiment(tmp_path: Path) -> None:
    """A pair is measured again, a plan is refused."""
    path = tmp_path / "pair-1.json"
    whole = json.dumps(pair(10, 8))
    for text in (whole[:40], "null", json.dumps({**pair(10, 8), "us": {"1": pair(10, 8)["us"]["1"]}}), json.dumps({"us": {}})):
        path.write_text(text)
        assert kernel.kept(path, PLAN) is None
    path.write_text(whole)
    assert kernel.kept(path, PLAN) == pair(10, 8) and kernel.kept(tmp_path / "absent", PLAN) is None
    (tmp_path / kernel.FILE).write_text('{"name": "k"')
    with pytest.raises(BadInput, match="is damaged"):
        kernel.begin(tmp_path, PLAN)


def test_a_configurations_contents_stand_in_the_plan(tmp_path: Path) -> None:
    row = json.loads((ROOT / "kernels" / "moe_a16w4" / "configs" / "gfx950.json").read_text())["rows"][0]
    (tmp_path / "row.json").write_text(json.dumps(row))
    (tmp_path / "own.json").write_text(json.dumps(row["config"]))
    assert json.loads(kernel.arm(str(tmp_path / "row.json"))) == row["config"] == json.loads(kernel.arm(str(tmp_path / "own.json")))
    assert kernel.arm("shipped") == "shipped"
    with pytest.raises(BadInput, match="not a layer configuration"):
        kernel.arm(str(tmp_path / "absent.json"))


def test_a_plan_is_taken_up_and_not_changed(tmp_path: Path) -> None:
    assert kernel.begin(tmp_path, PLAN) == PLAN == kernel.begin(tmp_path, PLAN)
    with pytest.raises(BadInput, match="planned otherwise: b differ"):
        kernel.begin(tmp_path, KernelPlan(**{**PLAN.__dict__, "b": "tk"}))
