"""What the peers are given: Marlin's weight format, padded weights, logits without ties. The peers themselves run on a GPU only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tunefork.base.errors import MissingTool
from tunefork.bench.kernels import cases, humming, marlin, one_call, peers
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference
from tunefork.kernels.mxfp4.format import nibbles


def test_marlin_words_against_a_loop_over_its_tiles() -> None:
    """A tile is 16 of K by 64 of N; lane 4 c + t of warp w holds columns 16 w + c and 8 further, rows 2 t, 2 t + 1 and those 8 further."""
    values = torch.randint(0, 256, (1, 128, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    codes = nibbles(values[0]).T.tolist()
    got = marlin.pack_values(values)[0].tolist()
    for k_tile in range(4):
        for n_tile in range(2):
            for warp in range(4):
                for lane in range(32):
                    column = n_tile * 64 + warp * 16 + lane // 4
                    rows = [k_tile * 16 + 2 * (lane % 4) + more for more in (0, 1, 8, 9)]
                    held = [codes[row][column + more] for more in (0, 8) for row in rows]
                    word = sum(held[source] << (4 * place) for place, source in enumerate((0, 2, 4, 6, 1, 3, 5, 7)))
                    assert got[k_tile][n_tile * 128 + lane * 4 + warp] == (word if word < 1 << 31 else word - (1 << 32))


def test_marlin_scales_keep_their_bytes() -> None:
    scales = torch.randint(0, 255, (2, 128, 4), dtype=torch.uint8)
    packed = marlin.pack_scales(scales).view(torch.uint8)
    assert packed.shape == (2, 4, 128)
    for expert in range(2):
        for group in range(4):
            assert sorted(packed[expert, group].tolist()) == sorted(scales[expert, :, group].tolist())


# The operators that the peers call, as vLLM's csrc/moe/torch_bindings.cpp declares them in each release.
_SOFTMAX = "topk_softmax(Tensor! topk_weights, Tensor! topk_indices, Tensor! token_expert_indices, Tensor gating_output, bool renormalize, Tensor? bias{}) -> ()"
_ALIGN = ("moe_align_block_size(Tensor topk_ids, int num_experts, int block_size, Tensor! sorted_token_ids, Tensor! experts_ids, "
          "Tensor! num_tokens_post_pad, Tensor? maybe_expert_map{}) -> ()")  # fmt: skip
_GEMM = ("moe_wna16_marlin_gemm(Tensor! a, Tensor? c_or_none, Tensor! b_q_weight, Tensor? b_bias_or_none, Tensor! b_scales, Tensor? a_scales, "
         "Tensor? global_scale, Tensor? b_zeros_or_none, {}Tensor! workspace, Tensor sorted_token_ids, Tensor! expert_ids, "
         "Tensor! num_tokens_past_padded, Tensor! topk_weights, int moe_block_size, int top_k, bool mul_topk_weights, int b_type_id, int size_m, "
         "int size_n, int size_k, {}bool use_atomic_add, bool use_fp32_reduce, bool is_zp_float, int thread_k, int thread_n, int blocks_per_sm) -> Tensor")  # fmt: skip
_SCHEMAS = {
    "0.26": (_SOFTMAX.format(""), _ALIGN.format(""), _GEMM.format("Tensor? g_idx_or_none, Tensor? perm_or_none, ", "bool is_k_full, ")),
    "0.33": (_SOFTMAX.format(", Tensor? is_padding"), _ALIGN.format(", Tensor(a!)? scatter_idx=None"), _GEMM.format("", "")),
}
Calls = list[tuple[str, dict[str, Any]]]


@pytest.fixture(params=sorted(_SCHEMAS))
def asked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Calls]:
    """`_moe_C` of one release, whose operators write down what they are called with, by their own names of it."""
    space, calls = f"moe_of_vllm_{request.param.replace('.', '_')}", Calls()
    with torch.library._scoped_library(space, "DEF") as library:
        for schema in _SCHEMAS[request.param]:
            library.define(schema)
            name = schema.partition("(")[0]
            taken = [argument.name for argument in getattr(getattr(torch.ops, space), name).default._schema.arguments]

            def run(*given: Any, name: str = name, taken: list[str] = taken) -> torch.Tensor | None:
                calls.append((name, dict(zip(taken, given, strict=False))))
                return torch.zeros(given[1].shape, dtype=torch.bfloat16) if name == "moe_wna16_marlin_gemm" else None

            library.impl(name, run, "CPU")
        monkeypatch.setattr(torch.ops, "_moe_C", getattr(torch.ops, space))
        yield calls


def test_every_release_of_vllms_operators_is_called_as_it_wants(asked: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM 0.33's `topk_softmax` takes an argument more than 0.26's, its Marlin GEMM three fewer: each value must arrive under its own name."""
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(multi_processor_count=2))
    monkeypatch.setattr(marlin, "_swiglu_kernel", defaultdict(lambda: lambda *args, **constants: None))
    layer = marlin.marlin_layer(peers.padded(cases.random_plain(8, "cpu", experts=2), 128), 1.702, 7.0)
    assert layer(torch.zeros(3, cases.HIDDEN).bfloat16(), torch.randn(3, 2)).shape == (3, cases.HIDDEN)
    assert [name for name, _ in asked] == ["topk_softmax", "moe_align_block_size", "moe_wna16_marlin_gemm", "moe_wna16_marlin_gemm"]
    (_, softmax), (_, align), (_, up), (_, down) = asked
    assert softmax["topk_indices"].shape == (3, cases.TOPK) and softmax["renormalize"] is True
    assert all(softmax[name] is None for name in ("bias", "is_padding") if name in softmax)
    for gemm, sizes in ((up, (3, 768, cases.HIDDEN)), (down, (3 * cases.TOPK, cases.HIDDEN, 384))):
        assert tuple(gemm[name] for name in ("size_m", "size_n", "size_k")) == sizes
        assert gemm["workspace"].shape == (8,) and gemm["sorted_token_ids"].shape == align["sorted_token_ids"].shape
        assert (gemm["use_atomic_add"], gemm["use_fp32_reduce"], gemm["is_zp_float"], gemm["thread_k"]) == (False, True, False, -1)
        assert gemm.get("is_k_full", True) is True and gemm.get("g_idx_or_none") is None and gemm["b_zeros_or_none"] is None
    assert (up["top_k"], up["mul_topk_weights"], down["top_k"], down["mul_topk_weights"]) == (cases.TOPK, False, 1, True)


def test_humming_chooses_by_every_release_of_the_operator(asked: Calls) -> None:
    gates, ids = torch.zeros(2, 4), torch.zeros(2, 4, dtype=torch.int32)
    marlin.choose(gates, ids, torch.zeros_like(ids), torch.randn(2, 8))
    assert humming.choose is marlin.choose
    assert [(name, given["renormalize"], given["bias"]) for name, given in asked] == [("topk_softmax", True, None)]


def test_padding_changes_nothing() -> None:
    plain = cases.random_plain(8, "cpu", experts=2)
    x, logits = torch.randn(1, cases.HIDDEN).bfloat16(), torch.randn(1, 2)
    wide = peers.padded(plain, 256, 256)
    assert wide[0].shape[1] == 1024 and wide[3].shape == (2, 3072, 256)
    want = fused_moe_reference(x, logits, plain, 2)
    assert torch.allclose(fused_moe_reference(x, logits, wide, 2)[:, : cases.HIDDEN], want, rtol=1e-5, atol=1e-4)


def test_no_two_logits_of_a_row_are_equal() -> None:
    """Among equal logits implementations choose differently, and a right peer would look wrong."""
    for _, logits in cases.inputs(cases.MoeProblem(8, 256), "cpu", 2):
        assert all(row.unique().numel() == row.numel() for row in logits)


def test_an_absent_peer_says_why() -> None:
    if torch.cuda.is_available():
        pytest.skip("peers may be present here")
    said: list[str] = []
    found = peers.available(cases.random_plain(8, "cpu", experts=1), said.append)
    assert set(found) == {"torch"}
    assert {line.split()[1] for line in said} >= {"tk", "tk-4w", "marlin", "aiter"} and all("absent: " in line for line in said)


def test_profiling_without_a_gpu_says_so() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(MissingTool, match="no GPU"):
        one_call.main(["--tp", "8"])
