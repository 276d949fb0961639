"""What we take for granted of vLLM, held to its source: one test per kind of fact, and none is left out."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tunefork.base.upstream_facts import vllm as facts
from tunefork.develop.vllm_variables import defined

ROOT = Path(__file__).resolve().parents[3]
SERVE = "vllm/benchmarks/serve.py"


def test_they_are_of_the_pinned_release() -> None:
    assert tomllib.loads((ROOT / "pins.toml").read_text())["upstreams"]["vllm"]["version"] == facts.RELEASE


def test_the_main_module_is_the_command(vllm: Any) -> None:
    path = f"{facts.MAIN.replace('.', '/')}.py"
    assert vllm.function(path, "main") and "__main__" in vllm.strings(path)
    assert tomllib.loads(vllm.text("pyproject.toml"))["project"]["scripts"]["vllm"] == f"{facts.MAIN}:main"


@pytest.mark.parametrize(("place", "path"), [
    (facts.HEALTH, "vllm/entrypoints/serve/instrumentator/health.py"), (facts.MODELS, "vllm/entrypoints/openai/models/api_router.py"),
    (facts.COMPLETIONS, "vllm/entrypoints/openai/completion/api_router.py"),
    (facts.CHAT_COMPLETIONS, "vllm/entrypoints/openai/chat_completion/api_router.py"),
    (facts.START_PROFILE, "vllm/entrypoints/serve/profile/api_router.py"), (facts.STOP_PROFILE, "vllm/entrypoints/serve/profile/api_router.py"),
])  # fmt: skip
def test_the_server_answers_there(vllm: Any, place: str, path: str) -> None:
    assert re.search(rf'@router\.(get|post)\(\s*"{place}"', vllm.text(path))


def test_a_model_is_listed_with_its_length(vllm: Any) -> None:
    assert f"{facts.LONGEST}={facts.LONGEST}" in vllm.text("vllm/entrypoints/openai/models/serving.py")


def test_the_metrics_tell_of_a_prefix_cache(vllm: Any) -> None:
    """As loggers.py writes them: a gauge with the cache's settings as labels, and a counter, to which its library adds _total."""
    text = vllm.text("vllm/v1/metrics/loggers.py")
    assert f'"{facts.METRICS}"' in vllm.text("vllm/entrypoints/serve/instrumentator/metrics.py")
    assert '"vllm:cache_config_info"' in text and '"vllm:prefix_cache_hits"' in text
    assert "enable_prefix_caching: bool" in vllm.text("vllm/config/cache.py")
    shown = 'vllm:cache_config_info{block_size="16",enable_prefix_caching="True",engine="0"} 1.0\nvllm:prefix_cache_hits_total{engine="0"} 48.0\n'
    found = re.search(facts.PREFIX_CACHING, shown, re.MULTILINE)
    assert found and found[1] == "True" and re.findall(facts.CACHED_TOKENS, shown, re.MULTILINE) == ["48.0"]


def test_plugins_come_by_this_group_and_variable(vllm: Any) -> None:
    assert f'DEFAULT_PLUGINS_GROUP = "{facts.PLUGIN_GROUP}"' in vllm.text("vllm/plugins/__init__.py")
    assert f'PLATFORM_PLUGINS_GROUP = "{facts.PLATFORM_PLUGINS}"' in vllm.text("vllm/plugins/__init__.py")
    assert f"envs.{facts.PLUGINS}" in vllm.text("vllm/plugins/__init__.py")
    assert "tunefork" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][facts.PLUGIN_GROUP]


def test_the_build_reads_these_variables_and_git_ignores_the_version(vllm: Any) -> None:
    read = vllm.text("setup.py") + vllm.text(facts.ENVS)
    assert all(name in read for name in (facts.TARGET_DEVICE, facts.VERSION_OVERRIDE, facts.PRECOMPILED_WHEEL))
    assert f"/vllm/{facts.VERSION_FILE}" in vllm.text(".gitignore").splitlines()


@pytest.mark.slow
def test_what_guides_name_does_nothing(vllm: Any) -> None:
    """Either envs.py has no such name, or it becomes a flag that one function returns and none asks for."""
    known = defined(vllm.folder / facts.ENVS)
    source = "\n".join(vllm.files())
    assert len(known) > 100 and "VLLM_ROCM_USE_AITER_MHA" in known and f"{facts.UNIFIED_ATTENTION} =" in vllm.text("vllm/v1/attention/backends/registry.py")
    for name in facts.WITHOUT_EFFECT:
        if name in known:
            (flag,) = set(re.findall(rf"(_\w+) = envs\.{name}\b", source))
            (asker,) = re.findall(rf"def (\w+)\(cls\) -> bool:\n\s+return [^\n]*\b{flag}\b", source)
            assert len(re.findall(rf"\b{asker}\b", source)) == 1, f"{name} has an effect now"


def test_what_is_read_elsewhere_is_read_elsewhere(vllm: Any) -> None:
    known, source = defined(vllm.folder / facts.ENVS), vllm.text("setup.py") + vllm.text("tools/build_rust.py")
    assert all(name not in known and name in source for name in facts.READ_ELSEWHERE)


def test_gpt_oss_by_its_names(vllm: Any) -> None:
    config = vllm.text("vllm/model_executor/models/config.py")
    assert f'"{facts.ARCHITECTURE}": {facts.ARCHITECTURE}Config' in config and facts.QUANTIZATION in config
    path = "vllm/model_executor/layers/quantization/mxfp4.py"
    method = ast.unparse(vllm.function(path, "GptOssMxfp4MoEMethod"))
    assert all(f"register_parameter('{name}'" in method for name in facts.MOE_PARAMETERS)


def test_aiters_moe_gets_padded_sizes(vllm: Any) -> None:
    """vLLM's own function, executed for ROCm and GPT-OSS's activation."""
    path, function = "vllm/model_executor/layers/fused_moe/oracle/mxfp4.py", "mxfp4_round_up_hidden_size_and_intermediate_size"
    node = vllm.function(path, function)
    assert isinstance(node, ast.FunctionDef)
    node.body = [part for part in node.body if not isinstance(part, ast.ImportFrom)]
    text = ast.unparse(node).replace("from vllm.platforms.rocm import get_cdna_version", "")

    class Anything:
        def __getattr__(self, name: str) -> Any:
            return name

    class Rocm:
        def is_rocm(self) -> bool:
            return True

    def round_up(value: int, unit: int) -> int:
        return -(-value // unit) * unit

    space: dict[str, Any] = {"Mxfp4MoeBackend": Anything(), "MoEActivation": Anything(), "current_platform": Rocm(), "round_up": round_up,
                             "get_cdna_version": lambda: 4, "OCP_MX_BLOCK_SIZE": 32, "FLASHINFER_MOE_EP_MXFP4_BACKENDS": (), "B12X_BACKENDS": (), "TRTLLM_BACKENDS": ()}
    exec("from __future__ import annotations\n" + text, space)
    pad = facts.AITER_PADDING
    assert space[function]("AITER_MXFP4_BF16", 2880, 360, "SWIGLUOAI") == (round_up(2880, pad), round_up(360, pad)) == (3072, 512)


def test_the_defaults_of_a_large_gpu(vllm: Any) -> None:
    """The first branch, of 160 GiB and more, for an API server."""
    node = vllm.function("vllm/engine/arg_utils.py", "get_batch_defaults")
    branch = next(part for part in ast.walk(node) if isinstance(part, ast.If) and "160" in ast.unparse(part.test))
    said = {ast.unparse(part.target if isinstance(part, ast.AnnAssign) else part.targets[0]): ast.unparse(part.value)
            for part in branch.body if isinstance(part, ast.Assign | ast.AnnAssign) and part.value is not None}
    assert f"UsageContext.OPENAI_API_SERVER: {facts.MAX_NUM_SEQS}" in said["default_max_num_seqs"]
    assert f"UsageContext.OPENAI_API_SERVER: {facts.MAX_NUM_BATCHED_TOKENS}" in said["default_max_num_batched_tokens"]


def test_gpt_oss_captures_up_to(vllm: Any) -> None:
    adjust = ast.unparse(vllm.function("vllm/model_executor/models/config.py", f"{facts.ARCHITECTURE}Config"))
    assert f"compilation_config.max_cudagraph_capture_size = {facts.LARGEST_CAPTURE}\n" in adjust


def test_the_answer_of_bench_serve_has_these_keys(vllm: Any) -> None:
    """Each in the dictionary that `benchmark` makes for a whole answer, the percentiles as its f-strings spell them."""
    node = vllm.function(SERVE, "benchmark")
    answers = [part for part in ast.walk(node) if isinstance(part, ast.Dict)
               and {"completed", "total_output_tokens"} <= {key.value for key in part.keys if isinstance(key, ast.Constant)}]
    keys = {key.value for key in answers[0].keys if isinstance(key, ast.Constant)}
    assert {*facts.COUNTS, *facts.RATES, *facts.OF_EACH_REQUEST, "errors"} <= keys
    text = ast.unparse(node)
    assert all(f"process_one_metric('{name}'" in text for name in facts.LATENCIES)
    assert all(f"{kind}_{{metric_attribute_name}}_ms" in text for kind in ("mean", "median")) and "p{p_word}_{metric_attribute_name}_ms" in text
    assert facts.PERCENTILES[:3] == ("mean_ttft_ms", "median_ttft_ms", "p99_ttft_ms") and len(facts.PERCENTILES) == 12


def logged(vllm: Any, path: str, start: str, *values: object) -> str:
    """A format string of a file that begins so, with values in it."""
    (form,) = {text for text in vllm.strings(path) if text.startswith(start)}
    return str(form % values)


@pytest.mark.slow
@pytest.mark.parametrize("runner", ["vllm/v1/worker/gpu_model_runner.py", "vllm/v1/worker/gpu/model_runner.py"])
def test_both_runners_log_what_is_read_from_the_log(vllm: Any, runner: str) -> None:
    loaded, captured = logged(vllm, runner, "Model loading took", "61.43", 3.52), logged(vllm, runner, "Graph capturing finished", 13, 0.62)
    found = [re.search(pattern, text) for pattern, text in ((facts.LOADED, loaded), (facts.CAPTURED, captured), (facts.GRAPHS_GIB, captured))]
    assert [float(one[1]) for one in found if one] == [3.52, 13, 0.62]


def test_the_compiler_logs_what_is_read_from_the_log(vllm: Any) -> None:
    compiled = logged(vllm, "vllm/compilation/monitor.py", "%storch.compile took", "", 4.8)
    assert (found := re.search(facts.COMPILED, compiled)) and float(found[1]) == 4.8
    said = vllm.strings("vllm/compilation/decorators.py")
    assert any(facts.FROM_COMPILE_CACHE in text for text in said) and any("saved AOT compiled function to" in text for text in said)
    assert "torch_aot_compile" in said
    line = f"[decorators.py:326] [backbone] {facts.FROM_COMPILE_CACHE} /home/me/.cache/vllm/torch_compile_cache/torch_aot_compile/64e62d0359/rank_0_0/model"
    assert (kept := re.search(facts.KEPT_MODEL, line)) and kept[1] == "64e62d0359"


def test_a_step_is_annotated_so(vllm: Any) -> None:
    """Both spellings, put together from the source's parts: 2 requests in prefill, 5 in decode, all else 9."""
    node = vllm.function("vllm/v1/worker/gpu_worker.py", "annotate_profile")
    lists = [part for part in ast.walk(node) if isinstance(part, ast.List) and part.elts and "execute_" in ast.unparse(part.elts[0])]
    assert len(lists) == 2
    for parts in lists:
        said = [ast.unparse(part) for part in parts.elts]
        text = "".join(ast.literal_eval(part) if part.startswith("'") else {"num_ctx_requests)": "2", "num_generation_requests)": "5"}.get(part.rpartition(".")[2], "9")
                       for part in said)  # fmt: skip
        found = re.match(facts.STEP, text)
        assert found and (found[1], found[2]) == ("2", "5"), text


def test_a_row_of_the_graph_metrics_reads_so(vllm: Any) -> None:
    """vLLM's own table, made by its class."""
    from collections import Counter
    from types import SimpleNamespace

    path = "vllm/compilation/cuda_graph.py"
    assert "Unpadded Tokens" in vllm.strings(path) and "Count" in vllm.strings(path)
    text = "from __future__ import annotations\n" + ast.unparse(vllm.function(path, "CUDAGraphLogging"))
    space: dict[str, Any] = {"Counter": Counter, "logger": SimpleNamespace(info=None)}
    exec(text, space)
    table = space["CUDAGraphLogging"](SimpleNamespace(), [8])
    Stat = type("Stat", (tuple,), {name: property(lambda self, at=at: self[at]) for at, name in
                                   enumerate(("num_unpadded_tokens", "num_padded_tokens", "num_paddings", "runtime_mode"))})
    for _ in range(3):
        table.observe(Stat((7, 8, 1, "FULL")))
    assert re.findall(facts.GRAPH_STEPS, table.generate_metric_table()) == [("7", "3")]


def test_a_product_on_a_cpu_is_one_of_four_operators(vllm: Any) -> None:
    body = ast.unparse(vllm.function("vllm/model_executor/layers/utils.py", "dispatch_cpu_unquantized_gemm"))
    called = {name.removesuffix("_cpu") for name in re.findall(r"(\w*(?:linear|mm)\w*)\(", body) if not re.search("dispatch|create|weight_prepack", name)}
    assert called == {name.rpartition(":")[2] for name in facts.CPU_GEMMS}
    assert "torch.ops._C.weight_packed_linear(" in ast.unparse(vllm.function("vllm/_custom_ops.py", "weight_packed_linear_cpu"))


def test_every_fact_is_tested_here() -> None:
    """A name that no test mentions would be a belief."""
    text = Path(__file__).read_text()
    assert [name for name in vars(facts) if name.isupper() and not name.startswith("_") and f"facts.{name}" not in text] == []
