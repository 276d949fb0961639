"""vLLM's rules: the same outcome as vLLM's own code, executed from its source."""

from __future__ import annotations

import enum
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby, product
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest.mock import MagicMock

import pytest

from vllm_overrides.capture.rules import Limits, Settled, check_compile_sizes, default_sizes, guide_sizes, settle
from vllm_overrides.errors import OverrideError

COMPILATION, VLLM = "vllm/config/compilation.py", "vllm/config/vllm.py"
V1, V2 = "vllm/v1/cudagraph_dispatcher.py", "vllm/v1/worker/gpu/cudagraph_utils.py"


def vllm_sizes(source: Any, limits: Limits, *, sizes: list[int] | None = None, maximum: int | None = None, **config: Any) -> list[int]:
    """cudagraph_capture_sizes after vLLM's own _set_cudagraph_sizes."""
    space = source.run({"enum": enum}, (COMPILATION, "CUDAGraphMode"), (VLLM, "VllmConfig._set_cudagraph_sizes"))
    space["logger"] = MagicMock()
    compilation = SimpleNamespace(
        cudagraph_mode=space["CUDAGraphMode"].FULL_AND_PIECEWISE, cudagraph_capture_sizes=sizes, max_cudagraph_capture_size=maximum,
        post_init_cudagraph_sizes=lambda *args: None,
    )  # fmt: skip
    this = SimpleNamespace(
        model_config=SimpleNamespace(enforce_eager=False), compilation_config=compilation, performance_mode=config.get("mode", "balanced"),
        scheduler_config=limits, uniform_decode_query_len=1, speculative_config=None,
    )  # fmt: skip
    space["_set_cudagraph_sizes"](this)
    found: list[int] = compilation.cudagraph_capture_sizes
    assert not found or compilation.max_cudagraph_capture_size == found[-1]
    return found


@pytest.mark.parametrize("tokens", [1, 3, 7, 8, 100, 255, 256, 600, 1000, 1024, 1030, 8192, 16384])
@pytest.mark.parametrize("mode", ["balanced", "interactivity"])
def test_the_default_list_is_vllms(source: Any, tokens: int, mode: str) -> None:
    limits = Limits(max_num_batched_tokens=tokens)
    assert default_sizes(limits, interactivity=mode != "balanced") == vllm_sizes(source, limits, maximum=1024, mode=mode)


def test_the_lists_have_the_known_lengths() -> None:
    assert len(default_sizes(Limits())) == 83
    assert len(settle(default_sizes(Limits()), Limits(max_num_seqs=128)).full) == 19
    assert (len(guide_sizes()), guide_sizes()[-4:]) == (180, [1024, 2048, 4096, 8192])


@pytest.mark.slow
def test_sizes_are_dropped_and_rejected_as_by_vllm(source: Any, vllm: Any) -> None:
    vllm.platform.is_device_capability_family = lambda family: False
    pick = random.Random(3)
    for _ in range(200):
        sizes = [pick.randint(1, 40) for _ in range(pick.randint(1, 6))]
        limits = Limits(max_num_batched_tokens=pick.choice([10, 30, 64]))
        maximum = pick.choice([None, max(sizes), 8])
        try:
            theirs: Any = vllm_sizes(source, limits, sizes=list(sizes), maximum=maximum)
        except ValueError:
            theirs = []  # as where every size is dropped: that server would run without graphs, which we refuse
        try:
            ours = list(settle(sizes, limits, maximum=maximum).piecewise)
        except OverrideError:
            ours = []
        assert ours == theirs, (sizes, limits, maximum)


Dispatch = Callable[[int, bool], tuple[str, int]]  # rows, whether all decode -> mode, padded rows


def v1_dispatch(source: Any, sizes: list[int], limits: Limits) -> Dispatch:
    """vLLM's V1 dispatcher, without speculation (it rewrites the sizes for that before)."""

    class BatchDescriptor(NamedTuple):
        num_tokens: int
        num_reqs: int | None = None
        uniform: bool = False
        has_lora: bool = False
        num_active_loras: int = 0

    space = source.run(
        {"enum": enum, "BatchDescriptor": BatchDescriptor, "product": product, "replace": lambda one, **to: one._replace(**to)},
        (COMPILATION, "CUDAGraphMode"), (V1, "CudagraphDispatcher"),
    )  # fmt: skip
    mode = space["CUDAGraphMode"].FULL_AND_PIECEWISE
    this = space["CudagraphDispatcher"].__new__(space["CudagraphDispatcher"])
    compilation = SimpleNamespace(cudagraph_capture_sizes=sizes, max_cudagraph_capture_size=sizes[-1], compile_sizes=[])
    this.vllm_config = SimpleNamespace(scheduler_config=limits, lora_config=None)
    this.compilation_config, this.uniform_decode_query_len, this.specialize_lora_count = compilation, limits.query_len, False
    this.cudagraph_keys = {mode.PIECEWISE: set(), mode.FULL: set()}
    this.keys_initialized, this.cudagraph_mode = False, mode.NONE
    this.initialize_cudagraph_keys(mode, limits.query_len)

    def dispatch(rows: int, decodes: bool) -> tuple[str, int]:
        chosen, batch = this.dispatch(rows, uniform_decode=decodes)
        return chosen.name, batch.num_tokens

    return dispatch


def v2_dispatch(source: Any, sizes: list[int], limits: Limits) -> Dispatch:
    """vLLM's V2 graph manager."""

    space: dict[str, Any] = {
        "enum": enum, "dataclass": dataclass, "defaultdict": defaultdict, "product": product, "groupby": groupby,
        "round_up": lambda number, multiple: -(-number // multiple) * multiple,
    }  # fmt: skip
    names = ("BatchExecutionDescriptor", "_is_compatible",
             *(f"CudaGraphManager.{name}" for name in ("_maybe_ubatch_twin", "_init_candidates", "dispatch")))  # fmt: skip
    source.run(space, (COMPILATION, "CUDAGraphMode"), *((V2, name) for name in names))
    this = SimpleNamespace(
        compilation_config=SimpleNamespace(cudagraph_capture_sizes=sizes, max_cudagraph_capture_size=sizes[-1]),
        cudagraph_mode=space["CUDAGraphMode"].FULL_AND_PIECEWISE, max_num_reqs=limits.max_num_seqs, decode_query_len=limits.query_len,
        varlen_decode=False, lora_capture_cases=[0], ubatch_runner=None,
        vllm_config=SimpleNamespace(speculative_config=None, cache_config=SimpleNamespace(use_kda_recoverssm=False)),
        _candidates={}, _capture_descs={}, _graphs_captured=True, _resolve_effective_loras=lambda number: number,
    )  # fmt: skip
    this._maybe_ubatch_twin = lambda desc: space["_maybe_ubatch_twin"](this, desc)
    space["_init_candidates"](this)

    def dispatch(rows: int, decodes: bool) -> tuple[str, int]:
        requests = rows // limits.query_len if decodes else 1
        batch = space["dispatch"](this, requests, rows, limits.query_len if decodes else None, 0)
        return batch.cg_mode.name, batch.num_tokens

    return dispatch


def says(settled: Settled, rows: int, decodes: bool) -> tuple[str, int]:
    """Our answer in the dispatchers' terms."""
    size = settled.padded(rows) if decodes else settled.mixed(rows)
    full = decodes and settled.is_full(rows)
    return ("FULL" if full else "PIECEWISE" if size else "NONE"), size or rows


@pytest.mark.slow
@pytest.mark.parametrize(("runner", "speculative"), [(v1_dispatch, [0]), (v2_dispatch, [0, 1, 3])])
def test_steps_are_padded_as_by_vllm(source: Any, runner: Callable[[Any, list[int], Limits], Dispatch], speculative: list[int]) -> None:
    pick = random.Random(5)
    for _ in range(60):
        limits = Limits(pick.randint(1, 20), 256, pick.choice(speculative))
        sizes = sorted({pick.randint(1, 64) for _ in range(pick.randint(1, 8))})
        dispatch, settled = runner(source, sizes, limits), settle(sizes, limits)
        for requests in range(1, limits.max_num_seqs + 1):
            rows = requests * limits.query_len
            assert says(settled, rows, True) == dispatch(rows, True), (sizes, limits, rows)
        for rows in range(1, 70):
            assert says(settled, rows, False) == dispatch(rows, False), (sizes, limits, rows)


def test_notes_say_what_is_not_used() -> None:
    settled = settle([3, 16, 40, 300], Limits(max_num_seqs=8, max_num_batched_tokens=256, num_speculative_tokens=1))
    assert (settled.piecewise, settled.full) == ((3, 16, 40), (4, 16))
    assert [note.split(":")[0] for note in settled.notes] == ["dropped", "rounded", "PIECEWISE only"]


@pytest.mark.parametrize(("sizes", "message"), [([], "there must be some"), ([0, 4], "positive"), ([300], "drops every size")])
def test_refuses_lists_without_a_size(sizes: list[int], message: str) -> None:
    with pytest.raises(OverrideError, match=message):
        settle(sizes, Limits(max_num_batched_tokens=256))


def test_refuses_a_maximum_that_is_not_the_largest() -> None:
    with pytest.raises(OverrideError, match="rejects max_cudagraph_capture_size=32") as caught:
        settle([4, 16], Limits(), maximum=32)
    assert "max_cudagraph_capture_size=16" in caught.value.remedy


def test_refuses_compile_sizes_that_are_padded_away(source: Any) -> None:
    """As vLLM's V1 dispatcher does; sizes above the largest capture are compiled and used, in both."""
    check_compile_sizes([4, 8, 512], settle([4, 8], Limits()))
    with pytest.raises(OverrideError, match="holds 6, which is padded to 8"):
        check_compile_sizes([4, 6], settle([4, 8], Limits()))
    assert "which would be" in source.definition(V1, "CudagraphDispatcher._compute_bs_to_padded_graph_size")


@pytest.mark.parametrize("wrong", [{"max_num_seqs": 0}, {"max_num_batched_tokens": 2, "num_speculative_tokens": 3}, {"num_speculative_tokens": -1}])
def test_refuses_limits_that_hold_no_step(wrong: dict[str, int]) -> None:
    assert replace(Limits(), max_num_seqs=3).decode_rows == 3
    with pytest.raises(OverrideError, match="no step fits"):
        Limits(**wrong)
