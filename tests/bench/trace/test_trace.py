"""Steps, classes and gaps of small made-up traces, worked out by hand; a real one is in tests/e2e/test_bench_profile.py."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tunefork.base.errors import BadInput
from tunefork.base.upstream_facts.vllm import CPU_GEMMS
from tunefork.bench.trace.classes import classify
from tunefork.bench.trace.summary import mean_step, rows
from tunefork.bench.trace.trace import own_time, read, torch, union
from tunefork.cli.bench.profile import profile as command

MOE, ATTENTION, NORM, REDUCE, SAMPLE, COPY = ("_moe_a16w4_kernel", "kernel_unified_attention_2d", "void vllm::rms_norm_kernel<bf16>",
                                              "ncclDevKernel_AllReduce_Sum_bf16", "_topk_topp_sampler_kernel", "Memcpy HtoD")
# Per step: (name, start, length) in us from the step's first kernel, as on a GPU with two streams.
STEP = [(NORM, 0, 5), (ATTENTION, 7, 20), (REDUCE, 27, 10), (MOE, 35, 40), (SAMPLE, 80, 10)]
# By hand: kernels 85; ATTENTION begins 2 after NORM; MOE begins 2 before REDUCE ends (overlap 2); SAMPLE 5 after MOE: union 83, gaps 2 + 5 inside.


def event(name: str, cat: str, ts: float, dur: float, tid: int = 1, **args: Any) -> dict[str, Any]:
    return {"ph": "X", "name": name, "cat": cat, "ts": ts, "dur": dur, "pid": 1, "tid": tid, "args": args}


def gpu(kinds: list[tuple[int, int]], *, scale: float = 1.0) -> list[dict[str, Any]]:
    """A trace of steps (context, generation) that start 100 us apart on the device, launched ahead of it; one graph launch a step."""
    events: list[dict[str, Any]] = [{"ph": "M", "name": "process_name", "args": {"name": "python"}}]
    for number, (context, generation) in enumerate(kinds):
        host, device, correlation = 50.0 * number, 1000 + 100.0 * number, 7 + number
        events.append(event(f"execute_context_{context}(9)_generation_{generation}({generation})", "user_annotation", host, 30))
        events.append(event("hipGraphLaunch", "cuda_runtime", host + 10, 5, correlation=correlation))
        events += [event(name, "kernel", device + begin, took * (scale if name == MOE else 1), tid=9, correlation=correlation)
                   for name, begin, took in STEP]
    return events


def test_a_gpu_step_by_hand() -> None:
    found = mean_step(torch("t", gpu([(1, 0), (0, 4), (0, 4), (0, 3)])))
    assert (found.device, found.steps, found.conc, found.left_out) == (True, 2, 4, 1)
    assert found.wall == 100, "from a step's first kernel to the next one's"
    assert {name: took for name, took in found.classes.items() if took} == {
        "MoE": 40, "attention": 20, "norm": 5, "all-reduce": 10, "sampling": 10, "gaps": 100 - 83}
    assert found.overlap == 2
    assert sum(found.classes.values()) - found.overlap == found.wall, "the parts add up"
    assert found.kernels[0] == (MOE, "MoE", 40)


def test_the_last_step_ends_with_its_last_kernel() -> None:
    assert [step.wall for step in torch("t", gpu([(0, 1), (0, 1)])).steps] == [100, 90]


def test_a_kernel_belongs_to_the_step_that_launched_it_and_not_to_what_the_host_does_meanwhile() -> None:
    late = gpu([(0, 1), (0, 1)])
    late += [event("hipMemcpyAsync", "cuda_runtime", 35.0, 1, correlation=99), event(COPY, "gpu_memcpy", 1095, 3, tid=9, correlation=99)]
    first, second = torch("t", late).steps
    assert first.kernels[COPY] == 3 and COPY not in second.kernels, "launched between two annotations: of the step before"


def test_a_beside_b() -> None:
    a, b = (mean_step(torch(name, gpu([(0, 4)] * 3, scale=scale))) for name, scale in (("a", 1.0), ("b", 0.5)))
    by_name = {row[0]: row[1:] for row in rows([a, b])}
    assert by_name["MoE"] == ("40.0", "41.4%", "20.0", "20.7%", "-20.0")  # mean walls: (100 + 100 + 90) / 3
    assert by_name["gaps"][-1] == "+20.0", "the MoE still begins beside the all-reduce, and ends 20 us earlier"
    assert by_name["a decode step"][-1] == "+0.0"


def test_a_cpu_step_is_its_operators_own_time() -> None:
    events = [event("execute_context_0(0)_generation_2(2)", "user_annotation", 0, 100), event("execute_context_0(0)_generation_2(2)", "user_annotation", 200, 100),
              event("aten::linear", "cpu_op", 10, 50), event("aten::addmm", "cpu_op", 15, 40), event("_C::rms_norm", "cpu_op", 70, 20),
              event("aten::argmax", "cpu_op", 120, 30), event("aten::linear", "cpu_op", 12, 30, tid=2)]
    found = torch("t", events)
    assert not found.device
    assert [step.wall for step in found.steps] == [200, 100]
    assert found.steps[0].kernels == {"aten::linear": 10, "aten::addmm": 40, "_C::rms_norm": 20, "aten::argmax": 30}, "another thread's is not this one's"
    assert found.steps[0].gaps == 100


def test_own_time_of_three_levels() -> None:
    assert own_time([(0, 10, "a"), (1, 5, "b"), (2, 1, "c"), (7, 2, "b")]) == {"a": 3, "b": 6, "c": 1}
    assert union([(0, 5), (3, 8), (10, 11)]) == 9


def test_a_trace_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    whole = gzip.compress(json.dumps({"traceEvents": gpu([(0, 4)])}).encode())
    for number, data in enumerate((whole[: len(whole) // 2], whole[:12] + b"\xff" * 40)):
        path = tmp_path / f"{number}.pt.trace.json.gz"
        path.write_bytes(data)
        with pytest.raises(BadInput, match="not a trace"):
            read(path)


@pytest.mark.parametrize("events", [[1, 2], {"a": 1}, [{"ph": "X", "dur": 1, "name": "execute_context_0(0)_generation_4(4)", "cat": "user_annotation"}]])
def test_other_json_is_no_trace(tmp_path: Path, events: Any) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"traceEvents": events}))
    with pytest.raises(BadInput, match="not a trace"):
        read(path)


def test_our_own_kernels_are_the_moe() -> None:
    """Every launch of a layer, by the name that a trace shows."""
    triton = pytest.importorskip("triton", reason="NOT TESTED: no triton, so our kernels have no names here")
    from tunefork.kernels.moe_a16w4 import kernel, ring_kernel, routing, tiled, tiled_kernel

    names = {name for module in (kernel, ring_kernel, routing, tiled, tiled_kernel) for name, found in vars(module).items()
             if isinstance(found, triton.JITFunction) and name.endswith("_kernel")}
    assert len(names) >= 12 and {name: classify(name) for name in names} == dict.fromkeys(names, "MoE")


@pytest.mark.parametrize(("name", "group"), [
    ("flash_fwd_splitkv_combine_kernel", "attention"), (MOE, "MoE"), (ATTENTION, "attention"), (NORM, "norm"), (REDUCE, "all-reduce"), (SAMPLE, "sampling"), (COPY, "memory"),
    ("Cijk_Alik_Bljk_BBS_BH_Bias_MT128x128x64", "GEMM"), ("_matmul_ogs_NNT_bf16xbf16xmxfp4_128x256x128", "MoE"),
    ("void vllm::cross_device_reduce_1stage<__hip_bfloat16, 8>", "all-reduce"), ("void aiter::add_rmsnorm_quant_kernel", "norm"),
    ("triton_red_fused_add_mean_mul_pow_rsqrt_0", "norm"), ("triton_poi_fused_mul_silu_1", "elementwise"), ("_topk_forward", "MoE"),
    ("void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::ArgMaxOps", "sampling"),
    ("void vllm::reshape_and_cache_flash_kernel", "attention"), ("fused_rope_kernel", "attention"), ("mfma_moe1_silu_mul", "MoE"),
    ("ck_tile::FmhaFwdSplitKVKernel", "attention"), ("wvSplitK_hf_sml_", "GEMM"), ("aten::rsqrt", "norm"), ("aten::_to_copy", "memory"),
    ("aten::resolve_conj", "memory"), ("aten::result_type", "memory"), ("_C::gelu_tanh_and_mul", "elementwise"), ("mkldnn::_linear_pointwise", "GEMM"),
    ("void vllm::dynamic_per_token_scaled_fp8_quant_kernel_strided<c10::BFloat16>", "elementwise"),
    ("aten::slice", "memory"), ("aten::div_", "elementwise"), ("_C::onednn_mm", "GEMM"), ("_C::cpu_fused_moe", "MoE"), ("something_else_entirely", "other"),
])
def test_classes(name: str, group: str) -> None:
    assert classify(name) == group


@pytest.mark.parametrize("name", CPU_GEMMS)
def test_each_product_that_vllm_chooses_on_a_cpu_is_a_gemm(name: str) -> None:
    """A processor with AMX runs its own operator: 5 % of a decode step there was "other", and no machine at hand showed it."""
    assert classify(name) == "GEMM"


CSV = '''"Kind","Agent_Id","Queue_Id","Stream_Id","Thread_Id","Dispatch_Id","Kernel_Id","Kernel_Name","Correlation_Id","Start_Timestamp","End_Timestamp"
"KERNEL_DISPATCH","Agent 4",1,0,77,1,11,"_moe_a16w4_kernel",1,1000000,1040000
"KERNEL_DISPATCH","Agent 4",1,0,77,2,12,"kernel_unified_attention_2d",2,1050000,1070000
"KERNEL_DISPATCH","Agent 4",1,0,77,3,11,"_moe_a16w4_kernel",3,1100000,1140000
"KERNEL_DISPATCH","Agent 4",1,0,77,4,12,"kernel_unified_attention_2d",4,1150000,1200000
'''


def test_rocprofs_kernel_trace(tmp_path: Path) -> None:
    path = tmp_path / "9_kernel_trace.csv"
    path.write_text(CSV)
    found = mean_step(read(path, 2), 2)
    assert (found.steps, found.wall) == (2, 100)
    assert {name: took for name, took in found.classes.items() if took} == {"MoE": 40, "attention": 35, "gaps": 25}
    with pytest.raises(BadInput, match="rocprofv3 knows no steps"):
        read(path)


@pytest.mark.parametrize(("text", "says"), [
    ("{", "not a trace"), ('{"traceEvents": []}', "holds no decode step"), ('{"other": 1}', "not a trace"),
    (json.dumps({"traceEvents": gpu([(1, 2)])}), "holds no decode step"),
])
def test_what_is_no_trace_is_said(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BadInput, match=says):
        read(path)


def test_a_trace_that_unpacks_to_more_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunefork.bench.trace.trace.MOST_BYTES", 1 << 20)
    (tmp_path / "x.json.gz").write_bytes(gzip.compress(b" " * (2 << 20)))
    with pytest.raises(BadInput, match="not a trace .*more than"):
        read(tmp_path / "x.json.gz")


def test_the_command_over_two_traces(tmp_path: Path) -> None:
    paths = []
    for name, scale in (("a", 1.0), ("b", 0.5)):
        paths.append(tmp_path / f"{name}.pt.trace.json.gz")
        paths[-1].write_bytes(gzip.compress(json.dumps({"traceEvents": gpu([(0, 4)] * 3, scale=scale)}).encode()))
    arguments = [word for path in paths for word in ("--from", str(path))]
    done = CliRunner().invoke(command, [*arguments, "--json"], standalone_mode=False)
    assert done.return_value == 0, done.output
    first, second = json.loads(done.output)["profiles"]
    assert (first["name"], first["ranks"][0]["classes"]["MoE"], second["ranks"][0]["classes"]["MoE"]) == ("a.pt.trace.json.gz", 40, 20)
    shown = CliRunner().invoke(command, arguments, standalone_mode=False).output
    assert "a decode step" in shown and "all-reduce" in shown
    refused = CliRunner().invoke(command, [*arguments, "--a", "base"], standalone_mode=False)
    assert isinstance(refused.exception, BadInput)
