"""Variables that vLLM ignores: the list is held against the real vLLM where it is applied."""

import re
from pathlib import Path

import pytest

from tunefork.develop.vllm_variables import READ_ELSEWHERE, WITHOUT_EFFECT, dead, defined

VLLM = Path(__file__).parents[2] / "work" / "vllm"
real = pytest.mark.skipif(not (VLLM / "vllm" / "envs.py").is_file(), reason="vLLM is not applied in this checkout")


def test_names_are_parsed_not_run(tmp_path):
    envs = tmp_path / "envs.py"
    envs.write_text("import nothing_like_this\nother = {'VLLM_NO': 1}\nenvironment_variables: dict = {'VLLM_A': 1, **other, 'MAX_JOBS': 2}\n")
    assert defined(envs) == {"VLLM_A", "MAX_JOBS"}
    envs.write_text("environment_variables = {'VLLM_B': 1}\n")
    assert defined(envs) == {"VLLM_B"}


def test_only_names_of_vllm_are_judged():
    known = {"VLLM_USE_V1", "VLLM_LOGGING_LEVEL", "MAX_JOBS"}
    assert dead({"PATH": "", "MAX_JOBS": "1", "VLLM_USE_V1": "1", "VLLM_VERSION_OVERRIDE": "1"}, known) == []
    (misspelt,) = dead({"VLLM_LOGING_LEVEL": "DEBUG"}, known)
    assert misspelt.advice == "did you mean VLLM_LOGGING_LEVEL?"
    (unknown,) = dead({"VLLM_ZZZZZZZZZZ": "1"}, known)
    assert unknown.advice == "unset it"


@real
def test_the_guides_names_do_nothing_in_this_vllm():
    known = defined(VLLM / "vllm" / "envs.py")
    assert len(known) > 100
    assert "VLLM_ROCM_USE_AITER_MHA" in known
    source = "\n".join(path.read_text() for path in (VLLM / "vllm").rglob("*.py"))
    for name in WITHOUT_EFFECT:
        if name in known:  # read into a flag: nothing may ask for what the flag decides
            (flag,) = set(re.findall(rf"(_\w+) = envs\.{name}\b", source))
            (asker,) = re.findall(rf"def (\w+)\(cls\) -> bool:\n\s+return [^\n]*\b{flag}\b", source)
            assert len(re.findall(rf"\b{asker}\b", source)) == 1, f"{name} has an effect now"


@real
def test_what_is_read_elsewhere_is_read_elsewhere():
    known = defined(VLLM / "vllm" / "envs.py")
    source = (VLLM / "setup.py").read_text() + (VLLM / "tools" / "build_rust.py").read_text()
    for name in READ_ELSEWHERE:
        assert name not in known
        assert name in source
