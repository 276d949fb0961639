"""vllm/a16w4-triton-keywords: which keywords AITER's moe_gemm_a16w4 gets from vLLM, and what is said where it lacks what is needed."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

torch = pytest.importorskip("torch", reason="NOT TESTED: needs torch (`python3 build.py develop`)")

NAME = "vllm/a16w4-triton-keywords"
PATH = "vllm/model_executor/layers/fused_moe/experts/aiter_mxfp4_w4a16_moe.py"
LATER = ("backend", "expert_map", "gate_valid")
NEVER = object()

RunSource = Callable[..., ModuleType]


def kernel(takes: tuple[str, ...], calls: list[dict[str, Any]]) -> Callable[..., Any]:
    """A moe_gemm_a16w4 whose signature has v0.1.20.post1's keywords and those of ``takes``, and which keeps what it gets of these."""

    def body(given: dict[str, Any]) -> Any:
        calls.append({name: given[name] for name in LATER if given.get(name, NEVER) is not NEVER})
        return torch.zeros(2, 2)

    text = "def moe_gemm_a16w4(x, w, x_scales, w_scales, x_static_scale=None, quant_static_scale=None, bias=None, routing_data=None, "
    text += "gather_indx=None, scatter_indx=None, gammas=None, swizzle_mx_scale=None, apply_swiglu=False, alpha=1.0, limit=1.0, "
    text += "swiglu_add_residual=True, unpadded_N=None, unpadded_K=None"
    text += "".join(f", {name}=NEVER" for name in takes) + "):\n    return body(locals())"
    space: dict[str, Any] = {"body": body, "NEVER": NEVER}
    exec(text, space)
    made: Callable[..., Any] = space["moe_gemm_a16w4"]
    return made


class Monolithic:
    """In the place of vLLM's base class: it supports every configuration but one on another device."""

    @staticmethod
    def is_supported_config(_kind: type, config: Any, *_: object) -> tuple[bool, str | None]:
        return (True, None) if config.here else (False, "kernel does not support current device")


def loaded(run_source: RunSource, source: str, takes: tuple[str, ...] | None) -> tuple[ModuleType, MagicMock, list[dict[str, Any]]]:
    """vLLM's module over an AITER whose kernel takes these keywords too; None: an AITER without the kernel."""
    root, calls = MagicMock(name="vllm and aiter"), []  # type: ignore[var-annotated]
    root.platforms.rocm.on_gfx950.return_value, root.platforms.rocm.on_gfx1250.return_value = True, False
    root.model_executor.layers.fused_moe.modular_kernel.FusedMoEExpertsMonolithic = Monolithic
    root.ops.triton.moe = MagicMock(spec=["moe_op_gemm_a16w4", "moe_routing"])
    root.ops.triton.moe.moe_op_gemm_a16w4 = SimpleNamespace()
    root.ops.triton.moe_op_gemm_a16w4 = SimpleNamespace()
    if takes is not None:
        root.ops.triton.moe.moe_op_gemm_a16w4.moe_gemm_a16w4 = kernel(takes, calls)
    routed = SimpleNamespace(gate_scal=torch.ones(2), topk_ids=torch.zeros(2, 1, dtype=torch.int64))
    root.ops.triton.moe.moe_routing.routing.routing.return_value = (routed, torch.zeros(2), torch.zeros(2))
    return run_source(source, root, ("vllm", "aiter")), root, calls


def forward(module: ModuleType, expert_map: Any = None) -> None:
    module.aiter_triton_kernel_w4a16_moe_forward(
        torch.zeros(2, 2), MagicMock(), MagicMock(), torch.zeros(2, 4), 1, True, quant_config=MagicMock(), expert_map=expert_map
    )


MAP = torch.tensor([0, -1, 1, -1])


@pytest.mark.parametrize("takes", [(), ("backend",), LATER])
def test_the_kernel_gets_the_keywords_that_it_takes(patched: Any, run_source: RunSource, takes: tuple[str, ...]) -> None:
    module, _, calls = loaded(run_source, patched(NAME).after(PATH), takes)
    forward(module)
    everything = {"backend": "triton", "expert_map": None, "gate_valid": None}
    assert calls == [{name: everything[name] for name in takes}] * 2, "both GEMMs"


def test_expert_parallelism_is_handed_on_where_the_kernel_takes_it(patched: Any, run_source: RunSource) -> None:
    module, _, calls = loaded(run_source, patched(NAME).after(PATH), LATER)
    forward(module, MAP)
    assert len(calls) == 2 and all(call["expert_map"] is MAP and call["gate_valid"].tolist() == [[1], [1]] for call in calls)


def test_expert_parallelism_is_refused_before_the_routing(patched: Any, run_source: RunSource) -> None:
    module, root, calls = loaded(run_source, patched(NAME).after(PATH), ("backend", "expert_map"))
    with pytest.raises(NotImplementedError, match="does not take gate_valid, which expert parallelism needs") as caught:
        forward(module, MAP)
    assert "leave out --enable-expert-parallel" in str(caught.value)
    assert not calls and not root.ops.triton.moe.moe_routing.routing.routing.called


@pytest.mark.parametrize(
    ("takes", "ep", "says"),
    [
        ((), False, None),
        (LATER, True, None),
        ((), True, "does not take expert_map and gate_valid, which expert parallelism needs (leave out --enable-expert-parallel)"),
        (None, False, "the installed AITER has no moe_gemm_a16w4"),
    ],
)
def test_the_choice_of_the_backend_gives_the_reason(
    patched: Any, run_source: RunSource, takes: tuple[str, ...] | None, ep: bool, says: str | None
) -> None:
    experts = loaded(run_source, patched(NAME).after(PATH), takes)[0].AiterW4A16ExpertsMonolithic
    config = SimpleNamespace(here=True, moe_parallel_config=SimpleNamespace(use_ep=ep))
    supported, reason = experts.is_supported_config(experts, config, None, None, None)
    assert supported is (says is None)
    assert reason is None if says is None else says in reason


def test_vllms_own_reasons_come_first(patched: Any, run_source: RunSource) -> None:
    """No AITER is asked on a machine that has none."""
    experts = loaded(run_source, patched(NAME).after(PATH), None)[0].AiterW4A16ExpertsMonolithic
    config = SimpleNamespace(here=False, moe_parallel_config=SimpleNamespace(use_ep=True))
    assert experts.is_supported_config(experts, config, None, None, None) == (False, "kernel does not support current device")


@pytest.mark.parametrize("takes", [(), ("backend",)])
def test_without_the_patch_the_call_fails(patched: Any, run_source: RunSource, takes: tuple[str, ...]) -> None:
    module, _, _ = loaded(run_source, patched(NAME).before(PATH), takes)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        forward(module)


@pytest.mark.aiter
def test_the_pinned_aiter_takes_none_of_them(tree: Callable[[str], Any]) -> None:
    """The premise. Once the pin's kernel takes one, its tests on gfx950 code belong here too."""
    text = (tree("aiter") / "aiter/ops/triton/moe/moe_op_gemm_a16w4.py").read_text()
    head = text.split("def moe_gemm_a16w4(")[1].split("):")[0]
    assert "unpadded_K" in head and not any(name in head for name in LATER)
