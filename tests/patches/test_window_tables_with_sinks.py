"""vllm/window-tables-with-sinks: how many operations ROCM_AITER_FA's metadata costs a decode step, with sinks and without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any, Generic, TypeVar
from unittest.mock import MagicMock

import pytest

pytest.importorskip("torch", reason="NOT TESTED: needs torch (`python3 build.py develop`)")

import torch
from torch.utils._python_dispatch import TorchDispatchMode

NAME, PATH = "vllm/window-tables-with-sinks", "vllm/v1/attention/backends/rocm_aiter_fa.py"
BLOCK, WINDOW, REQUESTS = 64, 128, 4
VIEWS = {"slice", "unsqueeze", "alias", "select", "view", "expand"}

RunSource = Callable[..., ModuleType]
Metadata = TypeVar("Metadata")


class Counting(TorchDispatchMode):
    """Counts the operations that a GPU would launch a kernel for."""

    def __init__(self) -> None:
        super().__init__()
        self.launched: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in VIEWS:
            self.launched[name] += 1
        return func(*args, **(kwargs or {}))


class Builder(Generic[Metadata]):
    """In the place of vLLM's base class of metadata builders."""

    def __init__(self, spec: Any, names: list[str], config: Any, device: Any) -> None:
        self.kv_cache_spec, self.layer_names, self.vllm_config, self.device = spec, names, config, device

    def _init_reorder_batch_threshold(self, *_: Any, **__: Any) -> None:
        self.reorder_batch_threshold = 1


def builder(run_source: RunSource, source: str, sinks: list[Any]) -> Any:
    """vLLM's builder for a group of window layers that have these sinks."""
    root = MagicMock(name="vllm")
    for holder in (root.v1.attention.backend, root.v1.attention.backends.utils):
        holder.AttentionMetadataBuilder = Builder
    root.v1.attention.backend.AttentionImpl = root.v1.attention.backend.AttentionBackend = Builder
    root.utils.math_utils.cdiv = lambda a, b: -(-a // b)
    module = run_source(source, root, ("vllm", "aiter"))
    layers = {}
    for number, sink in enumerate(sinks):
        impl = module.AiterFlashAttentionImpl.__new__(module.AiterFlashAttentionImpl)
        impl.sliding_window, impl.sinks, impl.num_kv_heads, impl.head_size = (WINDOW - 1, 0), sink, 8, 64
        layers[f"layer{number}"] = SimpleNamespace(impl=impl, kv_sharing_target_layer_name=None, kv_cache_update_bypass=False)
    module.get_layers_from_vllm_config = lambda config, kind: layers
    model = SimpleNamespace(get_num_attention_heads=lambda _: 8, get_num_kv_heads=lambda _: 1, get_head_size=lambda: 64, dtype=torch.bfloat16)
    scheduler = SimpleNamespace(max_num_seqs=8, max_num_batched_tokens=64)
    config = SimpleNamespace(model_config=model, parallel_config=None, cache_config=SimpleNamespace(cache_dtype="auto"), scheduler_config=scheduler)
    return module.AiterFlashAttentionMetadataBuilder(SimpleNamespace(block_size=BLOCK), list(layers), config, torch.device("cpu"))


def decode_step(made: Any) -> tuple[Counter[str], Any]:
    """What the tables of one decode step launch, and the tables."""
    table, lens = torch.arange(REQUESTS * 16, dtype=torch.int32).view(REQUESTS, 16), torch.tensor([1, 130, 500, 1000], dtype=torch.int32)
    with Counting() as counting:
        tables = made._build_swa_decode_tables(table, lens, REQUESTS, 1024)
    return counting.launched, tables


SINK = torch.zeros(8)


def test_layers_with_sinks_cost_a_decode_step_nothing(patched: Any, run_source: RunSource) -> None:
    made = builder(run_source, patched(NAME).after(PATH), [SINK, SINK])
    launched, tables = decode_step(made)
    assert not launched and tables == (None, None, 0)
    assert made.aot_sliding_window == (WINDOW - 1, 0), "what extend reads is as it was"


@pytest.mark.slow
def test_without_the_patch_about_nine_kernels_are_launched(patched: Any, run_source: RunSource) -> None:
    launched, _ = decode_step(builder(run_source, patched(NAME).before(PATH), [SINK, SINK]))
    assert 8 <= launched.total() <= 11 and launched["gather"] == 1, launched


@pytest.mark.parametrize("sinks", [[None, None], [SINK, None]])
def test_layers_without_sinks_keep_their_tables(patched: Any, run_source: RunSource, sinks: list[Any]) -> None:
    """Also in a group that mixes both: the same tables as before the patch."""
    (old, before), (new, after) = (decode_step(builder(run_source, source, sinks)) for source in (patched(NAME).before(PATH), patched(NAME).after(PATH)))
    assert old == new and all(torch.equal(a, b) for a, b in zip(before[:2], after[:2], strict=True)) and before[2] == after[2] == WINDOW + BLOCK - 1


def test_decode_with_sinks_reads_no_table(patched: Any) -> None:
    """The premise, in the same tree."""
    text = patched(NAME).after(PATH)
    condition = text.split("use_swa_paged = (")[1].split("\n            )")[0]
    assert "and self.sinks is None" in condition and "decode_md.swa_block_table is not None" in condition
