"""`bench profile` for real: vLLM's torch profiler over decode steps of the tiny model. On a CPU its times are operators', not a GPU's."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tunefork.bench.trace.trace import read

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(1500), pytest.mark.usefixtures("one_process_less")]

Build = Callable[..., "subprocess.CompletedProcess[str]"]


def test_decode_steps_of_the_real_server(developed: Path, build: Build, tmp_path: Path) -> None:
    done = build("bench", "profile", "--steps", "6", "--conc", "2", "--out", str(tmp_path), "--json", timeout_s=1200)
    one, = json.loads(done.stdout)["profiles"]
    rank, = one["ranks"]
    assert (rank["device"], rank["conc"], rank["left_out"]) == (False, 2, 0), "every stream decodes in every step"
    assert 4 <= rank["steps"] <= 6
    classes = rank["classes"]
    assert sum(classes.values()) - rank["overlap"] == pytest.approx(rank["wall"], rel=0.02), "the parts add up to the step"
    assert all(classes[name] > 0 for name in ("MoE", "attention", "GEMM", "norm", "sampling", "gaps")), classes
    trace, = tmp_path.glob("*/*.pt.trace.json.gz")
    unknown = {name for name, group, _ in rank["kernels"] if group == "other"}
    shares = [sum(step.kernels[name] for name in unknown) / step.wall for step in read(trace).steps]
    assert statistics.median(shares) < 0.01, ("operators without a class", unknown)  # one step's operator that waited for a core is no matter
    again = build("bench", "profile", "--from", str(trace), "--steps", "6", "--json", timeout_s=120)
    assert json.loads(again.stdout)["profiles"][0]["ranks"][0]["classes"] == classes, "a stored trace says the same"
    described = json.loads(trace.with_name("profile.json").read_text())
    assert described["tree"] and described["conc"] == 2
