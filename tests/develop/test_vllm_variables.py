"""Variables that vLLM ignores; tests/base/upstream_facts holds the lists to the real vLLM."""

from tunefork.develop.vllm_variables import dead, defined


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
