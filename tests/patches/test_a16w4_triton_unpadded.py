"""vllm/a16w4-triton-unpadded: the sizes without padding that AITER's moe_gemm_a16w4 gets, against what GPT-OSS's loader puts into a rank's part."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

NAME = "vllm/a16w4-triton-unpadded"
PATH = "vllm/model_executor/layers/fused_moe/experts/aiter_mxfp4_w4a16_moe.py"
HIDDEN, INTERMEDIATE, BLOCK = 2880, 2880, 32
FOUR = ("unpadded_N_w1", "unpadded_K_w1", "unpadded_N_w2", "unpadded_K_w2")

RunSource = Callable[..., ModuleType]


def handed_over(run_source: RunSource, source: str, tp: int, *, activation: str = "SWIGLUOAI", gfx950: bool = True) -> dict[str, int | None]:
    """The four sizes that vLLM's class gives to its forward function on one rank."""
    root = MagicMock(name="vllm")
    root.platforms.rocm.on_gfx950.return_value = gfx950
    root.model_executor.layers.fused_moe.modular_kernel.FusedMoEExpertsMonolithic = object
    root.model_executor.layers.quantization.utils.ocp_mx_utils.OCP_MX_BLOCK_SIZE = BLOCK
    root.utils.math_utils.round_up = lambda value, to: -(-value // to) * to
    module = run_source(source, root, ("vllm", "aiter"))
    given = MagicMock()
    module.aiter_triton_kernel_w4a16_moe_forward = given
    config = SimpleNamespace(hidden_dim=3072, hidden_dim_unpadded=HIDDEN, intermediate_size_per_partition_unpadded=INTERMEDIATE // tp, routing_method=None)
    experts = SimpleNamespace(moe_config=config, topk=4, renormalize=True, quant_config=None)
    kind = module.AiterW4A16ExpertsMonolithic
    if hasattr(kind, "_unpadded_sizes"):
        experts._unpadded_sizes = lambda activation: kind._unpadded_sizes(experts, activation)
    kind.apply(experts, None, None, None, None, getattr(module.MoEActivation, activation), 128, None, None, False)
    return {name: given.call_args.kwargs.get(name) for name in FOUR}


def loaded(tp: int, rank: int) -> int:
    """Channels of the intermediate activation that GPT-OSS's loader puts into a rank's part."""
    per_rank = -(-(INTERMEDIATE // BLOCK) // tp) * BLOCK
    return min((rank + 1) * per_rank, INTERMEDIATE) - rank * per_rank


@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_sizes_are_those_of_the_loader(patched: Any, run_source: RunSource, tp: int) -> None:
    live = loaded(tp, 0)
    assert live == {1: 2880, 2: 1440, 4: 736, 8: 384}[tp]
    assert handed_over(run_source, patched(NAME).after(PATH), tp) == dict(zip(FOUR, (2 * live, HIDDEN, HIDDEN, live), strict=True))
    assert all(loaded(tp, rank) <= live for rank in range(tp)), "no rank holds more"


def test_the_configurations_field_would_drop_channels() -> None:
    """The reason for rounding up: intermediate_size_per_partition_unpadded is a part of 2880, the loader cuts blocks."""
    assert {tp: loaded(tp, 0) - INTERMEDIATE // tp for tp in (1, 2, 4, 8)} == {1: 0, 2: 0, 4: 16, 8: 24}


def test_the_loader_cuts_whole_blocks(patched: Any) -> None:
    """The premise, in the same tree."""
    text = (patched(NAME).tree / "vllm/model_executor/models/gpt_oss.py").read_text()
    assert "per_rank_intermediate_size_block = cdiv(intermediate_size_block, tp_size)" in text
    assert "per_rank_intermediate_size_block * OCP_MX_BLOCK_SIZE" in text


@pytest.mark.parametrize("other", [{"activation": "SILU"}, {"gfx950": False}])
def test_other_models_and_chips_get_what_they_got(patched: Any, run_source: RunSource, other: dict[str, Any]) -> None:
    assert set(handed_over(run_source, patched(NAME).after(PATH), 8, **other).values()) == {None}


def test_without_the_patch_none_is_passed(patched: Any, run_source: RunSource) -> None:
    assert set(handed_over(run_source, patched(NAME).before(PATH), 8).values()) == {None}
