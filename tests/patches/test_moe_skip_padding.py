"""vllm/moe-skip-padding: the count of real rows that AITER's MXFP4 MoE gets, and what it saves and leaves alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

torch = pytest.importorskip("torch", reason="NOT TESTED: needs torch (`python3 build.py develop`)")

PATCHES = Path(__file__).resolve().parents[2] / "patches"
PATCH = "vllm/moe-skip-padding"
PATH = "vllm/model_executor/layers/fused_moe/experts/rocm_aiter_moe.py"
EXPERTS, TOP_K, WIDTH = 128, 4, 16

RunSource = Callable[..., ModuleType]


class Aiter:
    """AITER's fused_moe on the CPU: rows from ``num_local_tokens`` on are not sorted, read no expert, and stay as allocated."""

    def __init__(self) -> None:
        self.count: Any = None
        self.experts_read = 0
        self.weights = torch.randn(EXPERTS, WIDTH, WIDTH, generator=torch.Generator().manual_seed(0))

    def fused_moe(self, x: Any, _w1: Any, _w2: Any, topk_weights: Any, topk_ids: Any, **given: Any) -> Any:
        self.count = given["num_local_tokens"]
        live = x.shape[0] if self.count is None else int(self.count)
        self.experts_read = len(topk_ids[:live].unique())
        out = torch.full_like(x, float("nan"))
        for row in range(live):
            experts = self.weights[topk_ids[row].long()]
            out[row] = torch.einsum("k,kij,j->i", topk_weights[row], experts, x[row])
        return out


class Described(SimpleNamespace):
    """A quantisation or a layer, described: what is not named (newer versions of vLLM know more) it has not."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


class Vllm:
    """One process of vLLM around the module under test; a forward pass has a context, layers call in turn."""

    def __init__(self, run_source: RunSource, source: str, **config: Any) -> None:
        self.root = MagicMock(name="vllm and aiter")
        self.aiter = Aiter()
        self.root.model_executor.layers.fused_moe.modular_kernel.FusedMoEExpertsModular = object
        self.root.envs.VLLM_MOE_SKIP_PADDING = config.pop("skip", True)
        self.root.v1.worker.ubatching.dbo_enabled.return_value = config.pop("micro_batches", False)
        operations = self.root._aiter_ops.rocm_aiter_ops
        operations.fused_moe.side_effect = self.aiter.fused_moe
        self.module = run_source(source, self.root, ("vllm", "aiter"))
        self.quant = Described(
            use_mxfp4_w4a16=config.pop("mxfp4", True),
            use_mxfp4_w4a4=False,
            use_fp8_w8a8=False,
            per_act_token_quant=False,
            block_shape=None,
            **dict.fromkeys(("w1_scale", "w2_scale", "a1_scale", "a2_scale", "w1_bias", "w2_bias")),
        )
        self.config = Described(
            **{
                "hidden_dim_unpadded": WIDTH,
                "intermediate_size_per_partition": WIDTH,
                "intermediate_size_per_partition_unpadded": WIDTH,
                "intermediate_pad": None,
                "tp_size": 8,
                "dp_size": 1,
                "pcp_size": 1,
                "is_sequence_parallel": False,
                "max_capture_size": 32,
                "activation_situ_beta": None,
                "activation_situ_linear_beta": None,
            }
            | config
        )

    def begin(self, is_padding: Any, ubatch_slices: Any = None) -> None:
        """A new forward pass. is_padding: bool (rows,), or None where the model runner gives none."""
        context = SimpleNamespace(is_padding=is_padding, ubatch_slices=ubatch_slices, additional_kwargs={})
        self.root.forward_context.get_forward_context.return_value = context

    def layer(self, x: Any, ids: Any, weights: Any, meta: Any = None) -> Any:
        """One MoE layer; the output, and in ``self.aiter.count`` what AITER was told."""
        out = torch.zeros_like(x)
        layer = self.module.AiterExperts.__new__(self.module.AiterExperts)
        layer.quant_config, layer.moe_config = self.quant, self.config
        layer.apply(
            out, x, None, None, weights, ids, self.module.MoEActivation.SWIGLUOAI, EXPERTS, None, None, None, None, None, meta, False
        )
        return out


def batch(rows: int, seed: int = 0) -> tuple[Any, Any, Any]:
    """(x, expert ids, weights) of a graph's rows, each routed to its own four experts."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.stack([torch.randperm(EXPERTS, generator=generator)[:TOP_K] for _ in range(rows)])
    return torch.randn(rows, WIDTH, generator=generator), ids.int(), torch.rand(rows, TOP_K, generator=generator)


def padding(rows: int, live: int) -> Any:
    return torch.arange(rows) >= live


@pytest.mark.parametrize(("live", "rows"), [(5, 8), (1, 8), (8, 8), (17, 24)])
def test_padded_rows_read_no_experts(live: int, rows: int, patched: Any, run_source: RunSource) -> None:
    patch = patched(PATCH)
    x, ids, weights = batch(rows)
    outputs, read = {}, {}
    for side, source in {"after": patch.after(PATH), "before": patch.before(PATH)}.items():
        vllm = Vllm(run_source, source)
        vllm.begin(padding(rows, live))
        outputs[side] = vllm.layer(x, ids, weights)
        read[side] = vllm.aiter.experts_read
    assert torch.equal(outputs["after"][:live], outputs["before"][:live])
    assert read == {"after": len(ids[:live].unique()), "before": len(ids.unique())}
    assert (read["after"] < read["before"]) == (live < rows)


def test_one_count_for_all_layers_at_one_address(patched: Any, run_source: RunSource) -> None:
    """A captured graph replays the first layer's write and every layer's read: the buffer must outlive every forward."""
    vllm = Vllm(run_source, patched(PATCH).after(PATH))
    addresses = set()
    for rows, live in ((8, 8), (32, 17), (8, 5)):
        is_padding = padding(rows, live)
        vllm.begin(is_padding)
        for _layer in range(3):
            vllm.layer(*batch(rows))
            count = vllm.aiter.count
            assert (count.dtype, count.shape, int(count)) == (torch.int32, (1,), live)
            addresses.add(count.data_ptr())
            is_padding.fill_(False)  # a later layer that counted again would now see every row
    assert len(addresses) == 1


def test_a_batch_of_padding_alone_keeps_a_row(patched: Any, run_source: RunSource) -> None:
    vllm = Vllm(run_source, patched(PATCH).after(PATH))
    vllm.begin(padding(8, 0))
    vllm.layer(*batch(8))
    assert int(vllm.aiter.count) == 1


LEFT_ALONE: dict[str, dict[str, Any]] = {
    "VLLM_MOE_SKIP_PADDING=0": {"skip": False},
    "data parallel: the rows are those of all ranks": {"dp_size": 2},
    "sequence parallel: the rows are a share": {"is_sequence_parallel": True},
    "context parallel": {"pcp_size": 2},
    "micro-batches: they run at the same time and would share the count": {"micro_batches": True},
    "larger than any graph": {"max_capture_size": 7},
    "no MXFP4 weights with bf16 activations": {"mxfp4": False},
}


@pytest.mark.parametrize("case", LEFT_ALONE)
def test_otherwise_nothing_is_passed(case: str, patched: Any, run_source: RunSource) -> None:
    vllm = Vllm(run_source, patched(PATCH).after(PATH), **LEFT_ALONE[case])
    vllm.begin(padding(8, 5))
    vllm.layer(*batch(8))
    assert vllm.aiter.count is None


def test_a_mask_that_is_not_the_rows_is_not_used(patched: Any, run_source: RunSource) -> None:
    vllm = Vllm(run_source, patched(PATCH).after(PATH))
    for is_padding, slices in ((None, None), (padding(16, 5), None), (padding(8, 5), [object()])):
        vllm.begin(is_padding, slices)
        vllm.layer(*batch(8))
        assert vllm.aiter.count is None
    vllm.root.forward_context.is_forward_context_available.return_value = False
    vllm.layer(*batch(8))
    assert vllm.aiter.count is None


def test_a_dispatchers_own_count_is_kept(patched: Any, run_source: RunSource) -> None:
    vllm = Vllm(run_source, patched(PATCH).after(PATH))
    vllm.begin(padding(8, 5))
    own = torch.tensor([3], dtype=torch.int32)
    vllm.layer(*batch(8), meta=SimpleNamespace(expert_num_tokens=own))
    assert vllm.aiter.count is own


def test_the_mask_reaches_a_captured_graph(patched: Any) -> None:
    """The premise, in the same tree: either runner's mask is one buffer, given at capture and filled before each step."""
    worker = patched(PATCH).tree / "vllm/v1/worker/gpu"
    graphs = (worker / "cudagraph_utils.py").read_text()
    assert re.search(r"is_padding ?= ?input_buffers\.is_padding\[:num_tokens\]", graphs) and "is_padding=" in graphs
    runner = (worker / "model_runner.py").read_text()
    assert re.search(r"is_padding\[num_tokens:(num_tokens_after_padding)?\]\.fill_\(True\)", runner)
    assert re.search(r"is_padding ?= ?self\.input_buffers\.is_padding\[:num_tokens_after_padding\]", runner)
    older = (worker.parent / "gpu_model_runner.py").read_text()
    assert len(re.findall(r"self\.is_padding = torch\.zeros\(", older)) == 1
    assert len(re.findall(r"is_padding = self\._prepare_padding_mask\(", older)) == 2, "a step, and a dummy one that is captured"


def test_a_micro_batch_has_a_mask_of_its_own_and_no_slices(patched: Any) -> None:
    """Why the micro-batches are asked for by name: nothing in the context of one says that there are others."""
    worker = patched(PATCH).tree / "vllm/v1/worker"
    for path in (worker / "gpu_ubatch_wrapper.py", worker / "gpu/ubatch_utils.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        given = [{word.arg for word in call.keywords} for call in calls if ast.unparse(call.func) == "create_forward_context"]
        assert given and all("is_padding" in words and "ubatch_slices" not in words for words in given)


def test_aiters_top_k_takes_no_mask(patched: Any) -> None:
    """Why VLLM_MOE_SKIP_PADDING alone does nothing here: the mask goes into vLLM's top-k only."""
    router = patched(PATCH).tree / "vllm/model_executor/layers/fused_moe/router/fused_topk_router.py"
    functions = {node.name: node for node in ast.parse(router.read_text()).body if isinstance(node, ast.FunctionDef)}
    assert "is_padding=" in ast.unparse(functions["vllm_topk_softmax"])
    assert "return rocm_aiter_ops.topk_softmax" in ast.unparse(functions["dispatch_topk_softmax_func"])


def test_the_models_figures() -> None:
    """The patch's text: experts hit by n independent rows with top 4 of 128, and bytes per expert at TP8 (3072 x 512)."""
    text = " ".join((PATCHES / f"{PATCH}.patch").read_text().split("\ndiff --git ")[0].split())

    def experts(rows: int) -> float:
        return EXPERTS * (1 - (1 - TOP_K / EXPERTS) ** rows)

    width, inter = 3072, 512
    expert = 3 * width * inter / 2 + 3 * width * inter / 32
    most, least = (experts(8) - experts(5)) * expert, (experts(6) - experts(5)) * expert
    for figure in (experts(5), experts(8), experts(6), expert / 1e6, least / 1e6, most / 1e6):
        assert re.search(rf"(?<![\d.]){figure:.1f}(?![\d.]*\d)", text), f"{figure:.1f}"


@pytest.mark.aiter
def test_aiter_sorts_that_many_rows(patched: Any) -> None:
    """The premise, in AITER's tree: the count replaces the rows in the sort, and what is sorted is all that the GEMMs read."""
    tree = patched("aiter/a16w4-two-stages").tree
    sort = (tree / "csrc/include/moe_sorting_opus.h").read_text()
    assert "return reinterpret_cast<const opus::index_t*>(kargs.p_local_tokens)[0];" in sort
    python = ast.parse((tree / "aiter/fused_moe.py").read_text())
    fused = next(node for node in python.body if isinstance(node, ast.FunctionDef) and node.name == "_fused_moe_impl")
    sorts = [ast.unparse(node) for node in ast.walk(fused) if isinstance(node, ast.Call) and "moe_sorting" in ast.unparse(node.func)]
    assert any("num_local_tokens" in call for call in sorts)
