"""The lock of the cpu target: exact, complete, and what vLLM, this project and the operators ask for."""

import re
import tomllib
from pathlib import Path

import pytest

from tunefork.develop.cpu.plan import REQUIREMENTS
from tunefork.develop.installed import locked, normalised
from tunefork.develop.targets import CPU_PYTHONS

ROOT = Path(__file__).parents[3]
(MAJOR, FIRST), (_, LAST) = CPU_PYTHONS
PYTHONS = [f"{MAJOR}.{minor}" for minor in range(FIRST, LAST + 1)]
VLLM = ROOT / "work" / "vllm" / "requirements" / "common.txt"


def check(lines):
    """The requirements that the lock does not meet, judged for Linux on x86-64 and each Python it is for."""
    markers = pytest.importorskip("packaging.requirements")
    pins = locked(REQUIREMENTS)
    wrong = []
    for line in lines:
        text = line.partition("#")[0].strip()
        if not text or text.startswith("-"):
            continue
        wanted = markers.Requirement(text)
        for python in PYTHONS:
            environment = {"python_version": python, "platform_machine": "x86_64", "sys_platform": "linux"}
            applies = wanted.marker is None or wanted.marker.evaluate(environment)
            if applies and not wanted.specifier.contains(pins.get(normalised(wanted.name), "0"), prereleases=True):
                wrong.append(text)
    return wrong


def test_every_line_is_an_exact_version():
    lines = [line for line in REQUIREMENTS.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) > 150
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9.-]+==[0-9][A-Za-z0-9.]*", line)] == []
    assert len(locked(REQUIREMENTS)) == len(lines)


@pytest.mark.skipif(not VLLM.is_file(), reason="vLLM is not applied in this checkout")
def test_it_meets_vllms_requirements():
    assert check(VLLM.read_text().splitlines()) == []


def test_it_meets_its_own_input_and_this_projects():
    assert check((REQUIREMENTS.with_name("cpu.in")).read_text().splitlines()) == []
    assert check(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]) == []


def test_it_names_no_cuda_library():
    assert [name for name in locked(REQUIREMENTS) if name.startswith(("nvidia", "cuda"))] == []
