"""vllm/moe-pad-once: which channels of GPT-OSS the pads handed to AITER mask, and what a masked MoE layer computes.

The reference is AITER's CK-Tile A16W4 path of v0.1.19 (``get_2stage_cfgs`` and the kernel below it), with its two pads read
as that kernel reads them:

- stage 1 and 2, ``n_pad``: the last n_pad rows of the weight are out of bounds and read as zero; the bias is added all the same.
  Stage 1's rows are gate and up in turns of 16, so n_pad masks n_pad / 2 channels.
- ``k_pad``: in the last 256 columns of K, the last k_pad are skipped, where the number of such blocks is even.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

torch = pytest.importorskip("torch", reason="NOT TESTED: needs torch (`python3 build.py develop`)")

PATCH = "vllm/moe-pad-once"
PATH = "vllm/model_executor/layers/fused_moe/experts/rocm_aiter_moe.py"
ROWS, HIDDEN, INTERMEDIATE, ALIGNMENT, K_BLOCK = 3, 2880, 2880, 256, 256

RunSource = Callable[..., ModuleType]


def up(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Layer:
    """GPT-OSS's MoE on one rank. tp: vLLM's tp_size of the MoE, which is 1 under expert parallelism at any world size."""

    tp: int

    @property
    def live(self) -> int:
        """Channels of the intermediate activation on this rank."""
        return INTERMEDIATE // self.tp

    @property
    def allocated(self) -> int:
        return up(self.live)


@dataclass(frozen=True)
class Pads:
    """What the CK-Tile kernels of the two stages get, by the arithmetic of ``get_2stage_cfgs``."""

    hidden: int
    intermediate: int

    @property
    def n1(self) -> int:
        return self.intermediate // 64 * 64 * 2

    @property
    def k1(self) -> int:
        return self.hidden // 128 * 128

    @property
    def n2(self) -> int:
        return self.hidden // 64 * 64

    @property
    def k2(self) -> int:
        return self.intermediate // 128 * 128


def handed_over(run_source: RunSource, source: str, layer: Layer, activation: str = "SWIGLUOAI") -> Pads:
    """The pads that vLLM's own function gives to AITER's fused_moe for one decode batch."""
    root = MagicMock(name="vllm and aiter")
    root.model_executor.layers.fused_moe.modular_kernel.FusedMoEExpertsModular = object
    module = run_source(source, root, ("vllm", "aiter"))
    config = SimpleNamespace(
        hidden_dim_unpadded=HIDDEN,
        intermediate_size_per_partition=layer.allocated,
        intermediate_size_per_partition_unpadded=layer.live,
        intermediate_pad=None,
        tp_size=layer.tp,
        activation_situ_beta=None,
        activation_situ_linear_beta=None,
        use_mxfp4_w4a4_dsv4=False,
        swiglu_limit=None,
    )
    kinds = {"per_act_token_quant": False, "use_fp8_w8a8": False, "use_mxfp4_w4a4": False, "use_mxfp4_w4a16": True}
    quant = MagicMock(name="quant_config", **kinds)
    module.rocm_aiter_fused_experts(
        torch.zeros(ROWS, up(HIDDEN), dtype=torch.bfloat16),
        None,
        None,
        torch.zeros(ROWS, 4),
        torch.zeros(ROWS, 4, dtype=torch.int32),
        config,
        activation=getattr(module.MoEActivation, activation),
        quant_config=quant,
    )
    root._aiter_ops.rocm_aiter_ops.fused_moe.assert_called_once()
    given = root._aiter_ops.rocm_aiter_ops.fused_moe.call_args.kwargs
    return Pads(given["hidden_pad"], given["intermediate_pad"])


def masked_rows(rows: int, n_pad: int) -> Any:
    """Which rows of a weight are read, bool (rows,)."""
    return torch.arange(rows) < rows - n_pad


def read_columns(columns: int, k_pad: int) -> Any:
    """Which columns of K are multiplied, bool (columns,)."""
    skipped = k_pad if columns // K_BLOCK % 2 == 0 else 0
    return torch.arange(columns) < columns - min(skipped, K_BLOCK)


def computed_channels(layer: Layer, pads: Pads) -> tuple[int, int]:
    """(live channels whose gate and up stage 1 multiplies, live channels that stage 2 adds up)."""
    first = masked_rows(2 * layer.allocated, pads.n1).view(-1, 2, 16)
    assert torch.equal(first[:, 0], first[:, 1]), "gate and up are masked alike"
    second = read_columns(layer.allocated, pads.k2)
    return int(first[:, 0].reshape(-1)[: layer.live].sum()), int(second[: layer.live].sum())


def expert(layer: Layer, pads: Pads, x: Any, weights: dict[str, Any]) -> Any:
    """One expert on x (ROWS, 3072): stage 1, clamped SwiGLU, stage 2, fp32, with the pads read as above."""
    keep = masked_rows(2 * layer.allocated, pads.n1).view(-1, 2, 16).transpose(0, 1).reshape(2, -1)
    k1 = read_columns(x.shape[1], pads.k1)
    gate, linear = (
        (x * k1) @ (weights["w1"][half] * keep[half][:, None]).T + weights["b1"][half] for half in (0, 1)
    )
    gate, linear = gate.clamp(max=7.0), linear.clamp(-7.0, 7.0)
    h = gate * torch.sigmoid(1.702 * gate) * (linear + 1) * read_columns(layer.allocated, pads.k2)
    return h @ (weights["w2"] * masked_rows(x.shape[1], pads.n2)[:, None]).T + weights["b2"]


@functools.cache
def problem(layer: Layer) -> tuple[Any, dict[str, Any]]:
    """(x, weights) of one expert, zero wherever vLLM pads: gate and up (2, inter, hidden), down (hidden, inter)."""
    generator = torch.Generator().manual_seed(layer.tp)

    def padded(shape: tuple[int, ...], live: tuple[int, ...], scale: float) -> Any:
        tensor = torch.zeros(shape)
        tensor[tuple(slice(size) for size in live)] = torch.randn(live, generator=generator) * scale
        return tensor

    wide, n = up(HIDDEN), layer.allocated
    return padded((ROWS, wide), (ROWS, HIDDEN), 1.0), {
        "w1": padded((2, n, wide), (2, layer.live, HIDDEN), HIDDEN**-0.5),
        "b1": padded((2, n), (2, layer.live), 0.5),
        "w2": padded((wide, n), (HIDDEN, layer.live), INTERMEDIATE**-0.5),
        "b2": padded((wide,), (HIDDEN,), 0.5),
    }


def error(layer: Layer, pads: Pads) -> float:
    """Relative error (2-norm) of the masked expert against the unmasked one."""
    x, weights = problem(layer)
    right, got = expert(layer, Pads(0, 0), x, weights), expert(layer, pads, x, weights)
    return float((got - right).norm() / right.norm())


@pytest.mark.slow
@pytest.mark.parametrize("tp", [1, 2, 4, 8])
def test_every_live_channel_is_computed(tp: int, patched: Any, run_source: RunSource) -> None:
    layer = Layer(tp)
    pads = handed_over(run_source, patched(PATCH).after(PATH), layer)
    assert computed_channels(layer, pads) == (layer.live, layer.live)
    assert pads.intermediate == (layer.allocated - layer.live) // 64 * 64, "the pad of the shapes, whatever the TP size"
    assert error(layer, pads) == 0.0


def test_without_the_patch_192_channels_lose_their_gemm_at_tp1(patched: Any, run_source: RunSource) -> None:
    """And 64 of them are left out of stage 2: k_pad 384 masks the whole last block of 256, of which 192 are padding."""
    layer = Layer(1)
    pads = handed_over(run_source, patched(PATCH).before(PATH), layer)
    assert (pads.n1, pads.k2) == (768, 384)
    assert computed_channels(layer, pads) == (2880 - 192, 2880 - 64)
    assert error(layer, pads) > 0.05


@pytest.mark.parametrize("tp", [2, 4, 8])
def test_tensor_parallel_ranks_get_what_they_got(tp: int, patched: Any, run_source: RunSource) -> None:
    patch = patched(PATCH)
    assert handed_over(run_source, patch.after(PATH), Layer(tp)) == handed_over(run_source, patch.before(PATH), Layer(tp))


def test_situ_passes_its_pad_through(patched: Any, run_source: RunSource) -> None:
    patch = patched(PATCH)
    for source in (patch.after(PATH), patch.before(PATH)):
        assert handed_over(run_source, source, Layer(1), "SITU") == Pads(192, 192)


def test_the_reference_notices_a_pad_that_is_too_large() -> None:
    """One tile beyond the true padding, in each of the four places, is an error; the true one is none."""
    layer = Layer(1)
    assert error(layer, Pads(192, 192)) == 0.0
    assert error(layer, Pads(256, 192)) > 0.0
    assert error(layer, Pads(192, 256)) > 0.0


@pytest.mark.aiter
def test_aiters_arithmetic_is_the_references(patched: Any) -> None:
    """The premise, in AITER's tree: the four pads of the CK-Tile path, its K block, and FlyDSL's own doubling."""
    tree = patched("aiter/a16w4-two-stages").tree
    dispatch = ast.parse((tree / "aiter/fused_moe.py").read_text())
    given: dict[str, set[str]] = {}
    for call in (node for node in ast.walk(dispatch) if isinstance(node, ast.Call)):
        stage = ast.unparse(call.args[0]) if call.args else ""
        for word in call.keywords:
            if stage.startswith("cktile_moe_stage") and word.arg in ("n_pad_zeros", "k_pad_zeros"):
                given.setdefault(f"{stage[-1]} {word.arg[0]}", set()).add(ast.unparse(word.value))
    space = {"hidden_pad": 192, "intermediate_pad": 192, "use_g1u1": True}
    pads = Pads(192, 192)
    expected = {"1 n": pads.n1, "1 k": pads.k1, "2 n": pads.n2, "2 k": pads.k2}
    assert {place: {eval(text, {}, space) for text in texts} for place, texts in given.items()} == {
        place: {pad} for place, pad in expected.items()
    }
    instances = ast.parse((tree / "csrc/ck_tile_gemm_moe_2stages/moe_cktile2stages_common.py").read_text())
    tables = {
        ast.unparse(node.targets[0]): node.value
        for node in instances.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
    }
    for stage in (1, 2):
        kernels = tables[f"a16w4_gemm{stage}_kernels_list_gfx950"]
        assert {ast.literal_eval(call.args[4]) for call in kernels.values if isinstance(call, ast.Call)} == {K_BLOCK}
    flydsl = (tree / "aiter/ops/flydsl/kernels/mixed_moe_gemm_2stage_common.py").read_text()
    assert "inter_dim_pad_total = arith.constant(2 * inter_dim_pad, index=True)" in flydsl
