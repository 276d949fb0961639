"""The command plan-sizes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tunefork.base.errors import BadInput
from tunefork.cli.plan_sizes import plan_sizes


def run(*words: str) -> Result:
    return CliRunner().invoke(plan_sizes, list(words), catch_exceptions=False)


def refused(*words: str) -> BadInput:
    with pytest.raises(BadInput) as caught:
        run(*words)
    assert caught.value.remedy
    return caught.value


def test_json() -> None:
    found = json.loads(run("--conc", "4,8,16", "--json").stdout)
    assert found["sizes"] == [4, 8, 16] and found["graphs"] == 3 and found["compile_sizes"] == []
    assert found["expected_waste"] <= found["default_waste"] < 0.001 and found["guide_waste"] < 0.001


def test_yaml_alone() -> None:
    lines = run("--conc", "4", "--yaml").stdout.splitlines()
    assert [line[0] for line in lines] == ["#", "#", "#", "c"] and "no graph here" in lines[0] and '"cudagraph_capture_sizes": [4]' in lines[-1]


def test_the_table_names_the_three_lists_and_what_is_modelled() -> None:
    text = run("--conc", "12", "--range-ratio", "0.8").stdout
    assert text.startswith("capture sizes: ")
    rows = {line.split()[0]: line.split()[1:3] for line in text.splitlines() if line.startswith(("plan ", "default ", "guide "))}
    assert rows["default"] == ["83", "83"] and rows["guide"] == ["180", "177"]
    assert "modelled: weight bytes" in text and "simulated: closed loop, CONC 12" in text


def test_limits_and_models_reach_the_plan(tmp_path: Path) -> None:
    (tmp_path / "steps.json").write_text('{"seconds": {"1": 0.001, "64": 0.001}, "source": "bench"}')
    (tmp_path / "trace.json").write_text('{"decode": {"3": 5000, "40": 5000}}')
    trace = ("--trace", str(tmp_path / "trace.json"), "--json")
    assert json.loads(run(*trace).stdout)["sizes"] == [3, 40]
    assert json.loads(run(*trace, "--max-graphs", "1").stdout)["sizes"] == [40]
    assert json.loads(run(*trace, "--max-memory", "100", "--graph-memory", "60").stdout)["sizes"] == [40]
    flat = json.loads(run(*trace, "--cost", str(tmp_path / "steps.json")).stdout)
    assert flat["sizes"] == [40] and flat["cost"] == "bench"
    assert json.loads(run(*trace, "--cover", "50").stdout)["sizes"] == [3, 40, 50]
    assert json.loads(run("--conc", "8", "--max-num-seqs", "5", "--json").stdout)["sizes"][-1] == 5
    assert json.loads(run("--conc", "8", "--num-speculative-tokens", "1", "--json").stdout)["sizes"][-1] == 16


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "either conc or a trace"),
        (("--conc", "four"), "whole numbers, got 'four'"),
        (("--conc", "0"), "conc=0"),
        (("--conc", "4", "--json", "--yaml"), "different documents"),
        (("--conc", "4", "--trace", "x"), "either conc or a trace"),
        (("--trace", "/no/such"), "cannot be read"),
        (("--conc", "4", "--cost", "/no/such"), "no table of step times"),
        (("--conc", "4", "--max-graphs", "0"), "the limit is 0"),
        (("--conc", "4", "--max-memory", "5"), "go together"),
        (("--conc", "4", "--max-memory", "5", "--graph-memory", "9"), "hold no graph"),
        (("--conc", "4", "--cover", "9999"), "cover=9999"),
        (("--conc", "4", "--max-num-seqs", "0"), "no step fits"),
    ],
)
def test_says_what_is_wrong_and_what_to_type(words: tuple[str, ...], message: str) -> None:
    assert message in refused(*words).message
