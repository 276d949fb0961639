"""The override capture_plan, on a stand-in for vLLM; tests/vllm_overrides/test_real_vllm.py has the real one."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.vllm_overrides.conftest import Hook
from vllm_overrides.errors import OverrideError
from vllm_overrides.registry import apply_named

SPEC = "conc=4,8,16;isl=1024;osl=1024"


def configured(vllm: Any, spec: str = SPEC, config: Any = None, **compilation: Any) -> Any:
    """compilation_config after the plugin and vLLM's hook have seen it."""
    apply_named("capture_plan", {"TUNEFORK_CAPTURE_PLAN": spec})
    config = config or vllm.config(**compilation)
    vllm.hooks["GptOssForCausalLM"].verify_and_update_config(config)
    return config.compilation_config


def test_sets_the_sizes(vllm: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    found = configured(vllm)
    assert found.cudagraph_capture_sizes == [4, 8, 16]
    assert (found.max_cudagraph_capture_size, found.compile_sizes) == (16, [])
    lines = [record.getMessage() for record in caplog.records]
    assert "capture_plan: compilation_config.cudagraph_capture_sizes: None -> [4, 8, 16]" in lines
    assert any(line.startswith("capture_plan: vllm.model_executor.models.config.MODELS_CONFIG_MAP['GptOssFor") for line in lines)


def test_vllms_own_adjustment_still_runs(vllm: Any) -> None:
    config = vllm.config()
    configured(vllm, config=config)
    assert config.adjusted_by_vllm


def test_applying_twice_is_harmless(vllm: Any) -> None:
    configured(vllm)
    once = vllm.hooks["GptOssForCausalLM"]
    configured(vllm)
    assert vllm.hooks["GptOssForCausalLM"] is once and issubclass(once, Hook)


@pytest.mark.parametrize("flag", [{"cudagraph_capture_sizes": [1, 2]}, {"max_cudagraph_capture_size": 64}])
def test_flags_of_the_user_win(flag: dict[str, Any], vllm: Any, caplog: pytest.LogCaptureFixture) -> None:
    found = configured(vllm, **flag)
    assert {name: getattr(found, name) for name in flag} == flag
    assert found.compile_sizes is None
    assert "your flags win" in caplog.text


def test_compile_sizes_of_the_user_win(vllm: Any, caplog: pytest.LogCaptureFixture) -> None:
    found = configured(vllm, compile_sizes=[8, "cudagraph_capture_sizes"])
    assert found.compile_sizes == [8, "cudagraph_capture_sizes"] and found.cudagraph_capture_sizes == [4, 8, 16]
    assert "compile_sizes=[8, 'cudagraph_capture_sizes'] stays" in caplog.text
    with pytest.raises(OverrideError, match="holds 5, which is padded to 8"):
        configured(vllm, compile_sizes=[5])


def test_plans_for_this_server(vllm: Any) -> None:
    config = vllm.config()
    config.scheduler_config = SimpleNamespace(max_num_seqs=6, max_num_batched_tokens=8192)
    config.num_speculative_tokens = 1
    assert configured(vllm, config=config).cudagraph_capture_sizes[-1] == 12


def test_takes_a_file(vllm: Any, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps({"sizes": [2, 6], "compile_sizes": [6]}))
    found = configured(vllm, str(file))
    assert (found.cudagraph_capture_sizes, found.max_cudagraph_capture_size, found.compile_sizes) == ([2, 6], 6, [6])


def test_options_may_end_in_a_file(vllm: Any, tmp_path: Path) -> None:
    (tmp_path / "steps.json").write_text('{"seconds": {"4": 0.006, "5000": 0.3}, "source": "here"}')
    assert configured(vllm, f"max-graphs=1;conc=4;cost={tmp_path}/steps.json").cudagraph_capture_sizes == [4]


def test_a_file_may_have_an_equals_sign_in_its_name(vllm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a=b.json").write_text(json.dumps({"sizes": [2, 6], "notes": ["what plan-sizes said"]}))
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    assert configured(vllm, "a=b.json").cudagraph_capture_sizes == [2, 6]
    assert "what plan-sizes said" in caplog.text


@pytest.mark.parametrize(
    ("spec", "message"),
    [("", "does not say for which workload"), ("conc=4;ils=3", "'ils=3' is no option"), ("/no/plan.json", "which does not exist"),
     ("range-ratio=0.8;con=4;cost=x.json", "'con=4' is no option"), ("4,8,16", "'4,8,16' is no option")],
)
def test_misspelt_settings_stop_the_start(spec: str, message: str, vllm: Any) -> None:
    with pytest.raises(OverrideError, match=message):
        configured(vllm, spec)
    assert vllm.hooks["GptOssForCausalLM"] is Hook


def test_matching_nothing_is_an_error(vllm: Any) -> None:
    eager = vllm.config()
    eager.model_config.enforce_eager = True
    with pytest.raises(OverrideError, match="matches nothing: --enforce-eager"):
        configured(vllm, config=eager)
    with pytest.raises(OverrideError, match="matches nothing: cudagraph_mode is NONE"):
        configured(vllm, cudagraph_mode=SimpleNamespace(name="NONE"))
    vllm.platform.support_static_graph_mode = lambda: False
    with pytest.raises(OverrideError, match="matches nothing: the platform 'stub'"):
        configured(vllm)
    vllm.hooks.clear()
    with pytest.raises(OverrideError, match=r"matches nothing: this vLLM has no vllm\.model_executor"):
        configured(vllm)


def test_another_plugins_hook_is_not_replaced(vllm: Any) -> None:
    class Theirs(Hook):
        pass

    Theirs.__module__ = "their_plugin"
    vllm.hooks["GptOssForCausalLM"] = Theirs
    with pytest.raises(OverrideError, match=r"capture_plan and their_plugin\.\S*Theirs both replace") as caught:
        configured(vllm)
    assert "VLLM_PLUGINS" in caught.value.remedy
    assert vllm.hooks["GptOssForCausalLM"] is Theirs
