"""A plan and its forms: options in one line, JSON, YAML, and a file that another server reads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from vllm_overrides.capture.options import Options, parse
from vllm_overrides.capture.plan import StoredPlan, make_plan, read_plan
from vllm_overrides.capture.rules import Limits
from vllm_overrides.errors import OverrideError

SMALL = Limits(max_num_seqs=16, max_num_batched_tokens=8192)


def test_options_in_one_line() -> None:
    assert parse("conc=4,8; isl=100 ;price=0.5;padding=one-row;max_graphs=3", SMALL) == Options(
        conc=(4, 8), isl=100, price=0.5, padding="one-row", max_graphs=3, limits=SMALL
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [("conc", "'conc' is no option"), ("con=4", "'con=4' is no option"), ("conc=4;8", "'8' is no option"), ("conc=4,x", "no value for conc")],
)
def test_misspelt_options(text: str, message: str) -> None:
    with pytest.raises(OverrideError, match=message) as caught:
        parse(text, SMALL)
    assert "conc" in caught.value.remedy


@pytest.mark.parametrize("options", [Options(), Options(conc=(4,), trace="file")])
def test_a_plan_has_one_workload(options: Options) -> None:
    with pytest.raises(OverrideError, match="either conc or a trace"):
        make_plan(options)


def test_json_has_the_promised_keys() -> None:
    plan = make_plan(Options(conc=(4, 8, 16), range_ratio=0.8, limits=SMALL))
    found = json.loads(json.dumps(plan.as_json()))
    assert found["sizes"] == list(plan.sizes) and found["graphs"] == len(plan.sizes) == plan.expected.graphs
    assert found["expected_waste"] < min(found["default_waste"], found["guide_waste"]) < 0.02
    assert found["default"]["graphs"] == 83 and found["guide"]["graphs"] == 180
    assert found["cost"].startswith("modelled") and "CONC 16" in found["workload"]


def test_the_order_and_repetition_of_conc_do_not_matter() -> None:
    assert make_plan(Options(conc=(8, 4, 8))) == make_plan(Options(conc=(4, 8)))


def test_yaml_holds_the_plan() -> None:
    plan = make_plan(Options(conc=(4, 16), compile_gain=0.05, price=0.001, limits=SMALL))
    assert 0 < len(plan.compile_sizes) <= len(plan.sizes)
    *comments, line = plan.as_yaml().splitlines()
    assert all(comment.startswith("# ") for comment in comments)
    name, _, value = line.partition(": ")
    assert name == "compilation-config" and value[0] == value[-1] == "'"
    assert json.loads(value[1:-1]) == {
        "cudagraph_capture_sizes": list(plan.sizes), "max_cudagraph_capture_size": 16, "compile_sizes": list(plan.compile_sizes)
    }  # fmt: skip


def test_a_file_of_a_plan_is_checked_against_the_server(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    plan = make_plan(Options(conc=(4, 16), limits=SMALL))
    file.write_text(json.dumps(plan.as_json()))
    assert read_plan(file, SMALL) == StoredPlan(plan.sizes, plan.compile_sizes, plan.notes)
    with pytest.raises(OverrideError, match="made for another server: decode steps of up to 16 rows, here up to 8; PIECEWISE only: 1 sizes from 16"):
        read_plan(file, replace(SMALL, max_num_seqs=8))
    with pytest.raises(OverrideError, match="whole requests of 3 rows"):
        read_plan(file, replace(SMALL, num_speculative_tokens=2))
    file.write_text(json.dumps({"sizes": [4, 16], "compile_sizes": [6]}))
    with pytest.raises(OverrideError, match="holds 6"):
        read_plan(file, SMALL)
    for text in ("", "[]", '{"size": [4]}', '{"sizes": ["a"]}', '{"sizes": "48"}', '{"sizes": [4.7]}', '{"sizes": [Infinity]}', '{"sizes": []}',
                 '{"sizes": [4], "decode_rows": 0}', '{"sizes": [0]}'):
        file.write_text(text)
        with pytest.raises(OverrideError, match=r"plan\.json is no capture plan"):
            read_plan(file, SMALL)


PRICED = {"seconds": {"1": 0.004, "16": 0.006, "8192": 0.5}, "eager_seconds": 0.05}


def test_graphs_for_prefill_go_through_a_file_and_belong_to_the_server(tmp_path: Path) -> None:
    """Sizes above the widest decode step are right in a plan whose cost table prices steps outside CUDA graphs."""
    steps, file = tmp_path / "steps.json", tmp_path / "plan.json"
    steps.write_text(json.dumps(PRICED))
    plan = make_plan(Options(conc=(16,), cost=str(steps), limits=SMALL))
    assert plan.sizes[-1] > 1024 and plan.decode_rows == 16
    file.write_text(json.dumps(plan.as_json()))
    assert read_plan(file, SMALL).sizes == plan.sizes
    for seqs in (8, 2000):
        with pytest.raises(OverrideError, match=f"made for another server: decode steps of up to 16 rows, here up to {seqs}"):
            read_plan(file, replace(SMALL, max_num_seqs=seqs))


def test_a_plan_says_where_unforeseen_decode_steps_would_be_padded_to_prefill(tmp_path: Path) -> None:
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps(PRICED))
    narrow = Options(conc=(4,), cost=str(steps), limits=SMALL)
    (note,) = (note for note in make_plan(narrow).notes if "which this workload has not" in note)
    assert note.startswith("decode steps of 5 to 16 rows") and "from 1024 rows on" in note
    covered = make_plan(replace(narrow, cover=16))
    assert 16 in covered.sizes and not any("which this workload has not" in note for note in covered.notes)
    assert f"# {note}\n" in make_plan(narrow).as_yaml()


def test_a_plan_says_which_graphs_for_prefill_it_takes_away(tmp_path: Path) -> None:
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps(PRICED))
    (note,) = make_plan(Options(conc=(4,), isl=1000, limits=SMALL)).notes
    assert note.startswith("steps with prefill of 5 to 1024 rows have no graph here") and "--cost" in note
    assert not any("no graph here" in one for one in make_plan(Options(conc=(4,), isl=1000, cost=str(steps), limits=SMALL)).notes)
    assert make_plan(Options(conc=(1,), isl=3000, limits=SMALL)).notes == ()  # vLLM's list has no graph for 3000 rows either


def test_speculation_counts_rows() -> None:
    plan = make_plan(Options(conc=(4,), limits=replace(SMALL, num_speculative_tokens=3)))
    assert plan.sizes == (12, 16)  # three and four requests of 4 rows
