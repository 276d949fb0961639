"""Which layers the MoE override serves, where it goes into vLLM, and what it takes for the count of live rows: with stand-ins for vLLM."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from vllm_overrides import moe_a16w4
from vllm_overrides.errors import OverrideError
from vllm_overrides.moe_a16w4 import BACKEND, HOOK, QUANTIZATION, coverage

torch = pytest.importorskip("torch", reason="NOT TESTED: needs torch (`python3 build.py develop`)")
pytest.importorskip("triton", reason="NOT TESTED: needs triton, which the kernels are written in")


def layer(**changes: Any) -> SimpleNamespace:
    """GPT-OSS's FusedMoEConfig at TP 1, as far as it is asked; ``changes`` reach both it and its parallel configuration."""
    parallel = {"dp_size": 1, "use_all2all_kernels": False, "enable_eplb": False}
    made: dict[str, Any] = {
        "moe_backend": "auto", "is_lora_enabled": False, "is_sequence_parallel": False, "pcp_size": 1, "in_dtype": torch.bfloat16,
        "activation": SimpleNamespace(name="SWIGLUOAI"), "routing_method": SimpleNamespace(name="Renormalize"), "has_bias": True, "hidden_dim": 2880,
    }  # fmt: skip
    assert set(changes) <= {*parallel, *made}
    found = {**made, **{key: value for key, value in changes.items() if key in made}}
    return SimpleNamespace(**found, moe_parallel_config=SimpleNamespace(**{key: changes.get(key, value) for key, value in parallel.items()}))


@pytest.fixture
def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that the kernel serves."""
    monkeypatch.setattr(coverage, "device_refusal", lambda: None)


@pytest.mark.parametrize("served", [{}, {"moe_backend": BACKEND}, {"routing_method": SimpleNamespace(name="RenormalizeNaive")}])
def test_gpt_oss_is_served(everywhere: None, served: dict[str, Any]) -> None:
    assert coverage.refusal(layer(**served), named=BACKEND) is None


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"moe_backend": "marlin"}, "--moe-backend marlin"), ({"is_lora_enabled": True}, "LoRA"), ({"dp_size": 2}, "data parallelism"),
        ({"use_all2all_kernels": True}, "dispatches"), ({"enable_eplb": True}, "EPLB"), ({"is_sequence_parallel": True}, "sequence parallelism"),
        ({"pcp_size": 2}, "context parallelism"), ({"in_dtype": torch.float16}, "torch.float16"),
        ({"activation": SimpleNamespace(name="SILU")}, "SILU"), ({"routing_method": SimpleNamespace(name="DeepSeekV3")}, "DeepSeekV3"),
        ({"has_bias": False}, "no biases"), ({"hidden_dim": 2872}, "2872"),
    ],
)  # fmt: skip
def test_everything_else_is_refused_in_words(everywhere: None, change: dict[str, Any], word: str) -> None:
    assert word in str(coverage.refusal(layer(**change), named=BACKEND))


@pytest.mark.parametrize(
    ("kind", "capability", "refused"),
    [("cuda", (9, 0), ""), ("cuda", (10, 0), "10.0"), ("cuda", (8, 0), "8.0"), ("rocm", True, ""), ("rocm", False, "gfx950"), ("cpu", None, "stub")],
)
def test_the_device_decides(vllm: Any, monkeypatch: pytest.MonkeyPatch, kind: str, capability: Any, refused: str) -> None:
    vllm.platform.is_rocm, vllm.platform.is_cuda = lambda: kind == "rocm", lambda: kind == "cuda"
    if kind == "cuda":
        major, minor = capability
        vllm.platform.get_device_capability = lambda: SimpleNamespace(major=major, minor=minor, as_version_str=lambda: f"{major}.{minor}")
    vllm.module("vllm.platforms.rocm", on_gfx950=lambda: capability)
    found = coverage.refusal(layer())
    assert (found is None) == (not refused) and refused in str(found)


def context(mode: str, metadata: Any) -> SimpleNamespace:
    return SimpleNamespace(cudagraph_runtime_mode=SimpleNamespace(name=mode), attn_metadata=metadata)


def test_live_rows_are_the_last_start_of_a_full_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm_overrides.moe_a16w4 import live

    starts = torch.tensor([0, 1, 2, 3, 3], dtype=torch.int32)  # three requests in a graph of four
    metadata = {"model.layers.0.attn": SimpleNamespace(query_start_loc=starts)}
    monkeypatch.setattr(live, "capturing", lambda device: True)
    for mode in ("NONE", "FULL"):  # V2's runner captures under NONE
        found = live.live_rows(context(mode, metadata), starts.device)
        assert found is not None and found.tolist() == [3] and found.data_ptr() == starts[4:].data_ptr()
    others = [
        context("PIECEWISE", metadata), context("FULL", None), context("FULL", [metadata]), context("FULL", {"a": SimpleNamespace()}), None,
        context("FULL", {"a": SimpleNamespace(query_start_loc=starts.long())}),
    ]  # fmt: skip
    assert [live.live_rows(one, starts.device) for one in others] == [None] * len(others)
    monkeypatch.undo()
    assert live.live_rows(context("FULL", metadata), starts.device) is None, "no stream is capturing on a CPU"


@pytest.fixture
def quantization(vllm: Any) -> dict[str, type]:
    """vLLM's registry of quantisation configurations that others made."""
    held: dict[str, type] = {}
    vllm.module("vllm.model_executor.layers")
    vllm.module("vllm.model_executor.layers.quantization", _CUSTOMIZED_METHOD_TO_QUANT_CONFIG=held)
    sys.modules["vllm.model_executor.layers"].quantization = sys.modules["vllm.model_executor.layers.quantization"]  # type: ignore[attr-defined]
    return held


def test_another_plugins_quantisation_is_not_replaced(quantization: dict[str, type], monkeypatch: pytest.MonkeyPatch) -> None:
    one = moe_a16w4.override({})
    assert not moe_a16w4.has_hook() and one.targets() == (moe_a16w4.REGISTRY,)
    quantization[QUANTIZATION] = type("Theirs", (), {"__module__": "their_plugin"})
    with pytest.raises(OverrideError, match="their_plugin.Theirs both replace"):
        one.targets()


def test_the_hook_is_taken_where_the_tree_has_it(vllm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[tuple[str, Any, bool]] = []
    for name in ("vllm.model_executor.layers", "vllm.model_executor.layers.fused_moe", "vllm.model_executor.layers.fused_moe.oracle"):
        vllm.module(name, __path__=[])
    vllm.module(HOOK, registered=lambda: [name for name, _, _ in entered],
                register_mxfp4_moe_backend=lambda name, factory, auto=False: entered.append((name, factory, auto)))
    factory = object()
    method = ModuleType("vllm_overrides.moe_a16w4.method")
    method.method_or_reason = factory  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, method.__name__, method)
    one = moe_a16w4.override({})
    assert one.targets() == (f"{HOOK}[{BACKEND!r}]",)
    assert [change.new for change in one.apply()] == ["A16w4MoEMethod"] and one.apply() == ()
    assert entered == [(BACKEND, factory, True)]


def test_without_the_kernels_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tunefork.kernels.moe_a16w4", None)
    with pytest.raises(OverrideError, match="needs tunefork.kernels") as caught:
        moe_a16w4.override({})
    assert "[kernels]" in caught.value.remedy
