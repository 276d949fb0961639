"""The plan on disk, and the comparisons of a whole series."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tunefork.base.errors import BadInput
from tunefork.base.layout import Layout
from tunefork.bench.ab.experiment import FILE, Comparison, Experiment, begin, each_patch, read
from tunefork.bench.machine.gpu_processes import amd, nvidia, uuids
from tunefork.patchset.series.series import Series

PLAN = Experiment("x", "smoke", (Comparison("", "base", "all"),), 4, 7, "median_tpot_ms", 0.01, {"conc": [1]})


def test_a_plan_is_taken_up_and_may_grow(tmp_path: Path) -> None:
    assert begin(tmp_path, PLAN) == PLAN
    assert begin(tmp_path, replace(PLAN, seed=99)) == PLAN, "the seed was drawn once"
    assert begin(tmp_path, replace(PLAN, pairs=8)).pairs == 8
    assert begin(tmp_path, PLAN).pairs == 8
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_another_plan_under_the_same_name_is_refused(tmp_path: Path) -> None:
    begin(tmp_path, PLAN)
    with pytest.raises(BadInput, match="threshold, fixed differ"):
        begin(tmp_path, replace(PLAN, threshold=0.02, fixed={"conc": [2]}))


def test_a_damaged_plan_is_named(tmp_path: Path) -> None:
    begin(tmp_path, PLAN)
    plan = json.loads((tmp_path / FILE).read_bytes())
    for text in ("{", json.dumps({**plan, "pairs": "4"}), json.dumps({**plan, "more": 1}), json.dumps({**plan, "comparisons": [{"name": ""}]})):
        (tmp_path / FILE).write_text(text)
        with pytest.raises(BadInput, match="not an experiment"):
            read(tmp_path / FILE)
    (tmp_path / FILE).unlink()
    with pytest.raises(BadInput, match="not an experiment: No such file"):
        read(tmp_path / FILE)


def test_each_patch_of_our_series_alone_left_out_and_cumulative() -> None:
    series = Series.load("vllm", Layout.here().series_dir("vllm"))
    found = each_patch(series)
    first, last = series.names[0], series.names[-1]
    assert found[0] == Comparison(f"alone:{first}", "base", f"only:{first}")
    assert Comparison(f"left-out:{first}", f"without:{first}", "all") in found
    assert len({(one.a, one.b) for one in found}) == len(found)
    # base -> upto:first is alone:first again, and the last patch added is the last one left out: each is made once.
    assert f"cumulative:{first}" not in {one.name for one in found}
    assert f"cumulative:{last}" not in {one.name for one in found}


NVIDIA = "GPU-aa, 4711, /usr/bin/python\nGPU-bb, 4712, [Not Found], of another container\n"
AMD = [{"gpu": 0, "process_list": [{"process_info": {"name": "python3", "pid": 4711}}]},
       {"gpu": 1, "process_list": [{"process_info": "No running processes detected"}]},
       {"gpu": 2, "process_list": [{"process_info": {"name": "other", "pid": 4712}}]}]


def test_foreign_processes_as_the_tools_print_them() -> None:
    numbers = uuids("0, GPU-aa\n1, GPU-bb\n")
    assert nvidia(NVIDIA, numbers) == ["4711, /usr/bin/python", "4712, [Not Found], of another container"]
    assert nvidia(NVIDIA, numbers, ("0",)) == ["4711, /usr/bin/python"], "another tenant's GPU is not ours"
    assert nvidia("No running processes found\n", numbers) == nvidia("", {}) == []
    for text in (json.dumps(AMD), json.dumps({"gpu_data": AMD})):
        assert amd(text) == ["4711, python3", "4712, other"]
        assert amd(text, ("1",)) == []
        assert amd(text, ("2",)) == ["4712, other"]
    assert amd("") == [] and amd("not json") == []
