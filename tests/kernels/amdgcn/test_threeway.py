"""Three ways to a kernel's values: the one that is planted wrong is named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tunefork.base.errors import BadInput
from tunefork.kernels.amdgcn.threeway import EXECUTOR, INTERPRETER, SIDES, TORCH, compared, judge

CASES = Path(__file__).with_name("threeway_cases.py")


PLANTED = {"torch_wrong": TORCH, "executor_wrong": EXECUTOR, "interpreter_wrong": INTERPRETER, "as_a_function": ""}
RUN = """
import sys, torch
from tunefork.kernels.amdgcn.threeway import case, run_side
file, side, out, *names = sys.argv[1:]
torch.save({name: run_side(case(f"{file}:{name}"), side) for name in names}, out)
"""


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, Any]]]:
    """{side: {case: outputs}}, one process a side for all cases: most of the seconds of ``compared`` are the imports of three processes for each."""
    made, folder = {}, tmp_path_factory.mktemp("sides")
    for at, side in enumerate(SIDES):
        environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"} | ({"TRITON_INTERPRET": "1"} if side == INTERPRETER else {})
        subprocess.run([sys.executable, "-c", RUN, CASES, side, folder / f"{at}.pt", *PLANTED], env=environment, check=True)
        made[side] = torch.load(folder / f"{at}.pt", weights_only=True)
    return made


@pytest.mark.slow
@pytest.mark.parametrize(("name", "differs"), PLANTED.items())
def test_who_is_planted_wrong_is_named(values: dict[str, dict[str, dict[str, Any]]], name: str, differs: str) -> None:
    tolerances = {which: values[TORCH][name][which] for which in ("rtol", "atol")}
    answer = judge({side: {"y": values[side][name]["y"]} for side in SIDES}, **tolerances)
    assert answer.differs == differs
    assert answer.words == (f"{'' if differs == TORCH else 'the '}{differs} differs: {' and '.join(side for side in SIDES if side != differs)} agree" if differs else "all three agree")
    assert bool(answer.farthest) == bool(differs)


def said(name: str, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tunefork.kernels.amdgcn.threeway", f"{CASES}:{name}", *more], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_command_says_it_and_its_exit_code() -> None:
    found = said("torch_wrong", "--json")
    assert found.returncode == 1 and json.loads(found.stdout)["differs"] == TORCH
    assert json.loads(found.stdout)["farthest"]["y"] == {f"{INTERPRETER} and {TORCH}": pytest.approx(0.5), f"{EXECUTOR} and {TORCH}": pytest.approx(0.5)}


@pytest.mark.slow
def test_who_is_planted_wrong_is_named_across_three_processes() -> None:
    assert compared(f"{CASES}:interpreter_wrong").differs == INTERPRETER
    assert compared(f"{CASES}:executor_wrong").differs == EXECUTOR
    assert compared(f"{CASES}:as_a_function").words == "all three agree"


@pytest.mark.slow
def test_the_command_says_what_it_could_not_run() -> None:
    found = said("broken")
    assert found.returncode == 2 and "the gfx950 executor did not run" in found.stderr and "RuntimeError" in found.stderr
    found = said("missing")
    assert found.returncode == 2 and "missing in" in found.stderr and "is NoneType, expected a Case" in found.stderr
    assert "torch has z" in said("other_outputs").stderr


def test_who_is_said_of_pairs_by_hand() -> None:
    def answer(interpreter: list[float], executor: list[float], reference: list[float], **how: float) -> str:
        values = (torch.tensor(each) for each in (interpreter, executor, reference))
        return judge({side: {"y": value} for side, value in zip(SIDES, values, strict=True)}, **how).words

    nan, inf = float("nan"), float("inf")
    assert answer([1, nan], [1, nan], [1, nan]) == "all three agree"
    assert answer([1, nan], [1, 2], [1, 2]).startswith("the interpreter differs")
    assert answer([inf], [inf], [-inf]).startswith("torch differs")
    assert answer([1], [2], [3]) == "no two of the three agree"
    assert answer([1.0], [1.2], [1.1], rtol=0.0, atol=0.15) == ("within the tolerance of one another: interpreter and torch; gfx950 executor and torch only")
    with pytest.raises(BadInput, match="has the outputs"):
        judge({INTERPRETER: {}, EXECUTOR: {}, TORCH: {"y": torch.zeros(1)}})
