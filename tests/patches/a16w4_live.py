"""GPT-OSS's MoE layer on vLLM's backend aiter_triton_mxfp4_bf16, from vLLM's choice of it to the result, on a machine without a GPU.

    python a16w4_live.py <vllm tree> <aiter tree> [--tp 1 2 4 8] [--execute] [--before aiter_mxfp4_w4a16_moe.py] > found.json

vLLM's classes are its own, resolved as on an MI355X: configuration, backend, sizes, parameters, conversion of the weights, forward. So is AITER's
Triton code: routing, both GEMMs and the sum run as gfx950 machine code in the executor (``--execute``, a small model), or the GEMM's call alone is
taken down (GPT-OSS-120B's sizes). Stand-ins: what gpt_oss_graph.py has, and triton_kernels, of which vLLM uses the layouts of weights (below).

JSON: by TP size ``calls`` (AITER's function and its arguments: shapes with strides, values), ``error`` (executed; largest difference from fp32 over
the reference's root mean square) or ``fault``; and ``refused``: what vLLM says to expert parallelism and to an AITER without the function.

Run as a program of its own: it puts stand-ins into sys.modules.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from studies.a16w4.case import swizzle_scales
from studies.a16w4.tree import load
from tests.patches.gpt_oss_graph import pretend_mi355x
from tunefork.kernels.amdgcn.driver import on_gfx950
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference

EXPERTS_MODULE = "vllm.model_executor.layers.fused_moe.experts.aiter_mxfp4_w4a16_moe"
KERNEL_MODULE = "moe.moe_op_gemm_a16w4"
BLOCK = 32
GPT_OSS = {"experts": 8, "topk": 4, "hidden": 2880, "intermediate": 2880}
"""GPT-OSS-120B's sizes but for the number of experts, each of which is 25 MB here."""
SMALL = {"experts": 4, "topk": 2, "hidden": 352, "intermediate": 1440}
"""Padded to 512; a rank's part, cut in whole scale blocks, is 1440, 736, 384, 192 of 1536, 768, 512, 256."""


class Strided:
    """triton_kernels' StridedLayout as of Triton 3.8: dense, contiguous in ``major_dim``."""

    def __init__(self, major_dim: int = -1) -> None:
        self.major_dim = major_dim

    def place(self, data: torch.Tensor) -> torch.Tensor:
        """(..., K, N) with this layout's strides. Packed FP4 pairs stay along K, where vLLM's weights have them."""
        return data.contiguous() if self.major_dim == -1 else data.transpose(-1, -2).contiguous().transpose(-1, -2)


class Cdna4Scales:
    """triton_kernels' CDNA4MXScaleLayout: (E, K/32, N) -> (E, K, N/32), K contiguous."""

    def place(self, data: torch.Tensor) -> torch.Tensor:
        return swizzle_scales(data.transpose(-1, -2).contiguous())


def stand_in_triton_kernels() -> None:
    """The part of triton_kernels that vLLM converts MXFP4 weights with on ROCm."""

    def module(name: str, **names: Any) -> None:
        made = ModuleType(name)
        made.__spec__, made.__file__, made.__path__ = ModuleSpec(name, None), __file__, []
        vars(made).update(names)
        sys.modules[name] = made
        parent, _, last = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, made)

    def convert_layout(tensor: Any, layout: Any) -> Any:
        return SimpleNamespace(storage=SimpleNamespace(data=layout.place(tensor.storage.data)))

    module("triton_kernels")
    module("triton_kernels.matmul", FlexCtx=SimpleNamespace, PrecisionConfig=SimpleNamespace)
    module("triton_kernels.matmul_details")
    module("triton_kernels.matmul_details.opt_flags")
    module("triton_kernels.numerics", InFlexData=SimpleNamespace)
    module("triton_kernels.tensor", FP4="fp4", convert_layout=convert_layout,
           wrap_torch_tensor=lambda data, dtype=None: SimpleNamespace(storage=SimpleNamespace(data=data)))  # fmt: skip
    module("triton_kernels.tensor_details")
    module("triton_kernels.tensor_details.layout", StridedLayout=Strided, CDNA4MXScaleLayout=Cdna4Scales)


def real_aiter(tree: Path) -> Any:
    """AITER's Triton modules of this layer, from a tree; every other name of aiter is a mock. Returns the GEMM's module."""
    kernel = load(tree, KERNEL_MODULE)
    for name in ("moe.moe_routing.routing", "moe.moe_routing.topk"):
        load(tree, name)
    package = sys.modules["aiter"]
    package.__spec__ = ModuleSpec("aiter", None)

    def attribute(name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=f"aiter.{name}")

    package.__getattr__ = attribute  # type: ignore[method-assign]
    return kernel


def replace_module(name: str, file: Path) -> None:
    """Import ``name`` from another file: the patch's, as it found it."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


def configuration(size: dict[str, int], tp: int, *, ep: bool = False) -> Any:
    """vLLM's FusedMoEConfig of a layer on rank 0 of ``tp``, with the backend asked for by name."""
    from vllm.model_executor.layers.fused_moe.activation import MoEActivation
    from vllm.model_executor.layers.fused_moe.config import FusedMoEConfig, FusedMoEParallelConfig, RoutingMethodType

    parallel = FusedMoEParallelConfig.make_no_parallel()
    parallel.tp_size, parallel.ep_size, parallel.use_ep = (1, tp, True) if ep else (tp, 1, False)
    return FusedMoEConfig(
        num_experts=size["experts"], experts_per_token=size["topk"], hidden_dim=size["hidden"], intermediate_size=size["intermediate"],
        num_local_experts=size["experts"], num_logical_experts=size["experts"], activation=MoEActivation.SWIGLUOAI, device="cpu",
        routing_method=RoutingMethodType.Renormalize, moe_parallel_config=parallel, in_dtype=torch.bfloat16, has_bias=True,
        moe_backend="aiter_triton_mxfp4_bf16",
    )  # fmt: skip


def built(size: dict[str, int], tp: int, fill: Callable[[torch.Tensor, str], None]) -> tuple[Any, Any, list[torch.Tensor]]:
    """(the MoE method, its layer, the parameters without padding), as vLLM makes, loads and converts them."""
    from vllm.distributed import parallel_state
    from vllm.model_executor.layers.quantization.mxfp4 import GptOssMxfp4Config

    world = lambda: tp  # noqa: E731
    parallel_state.get_tensor_model_parallel_world_size = sys.modules["vllm.distributed"].get_tensor_model_parallel_world_size = world
    config = configuration(size, tp)
    method = GptOssMxfp4Config()._make_moe_method(config)
    hidden, intermediate = method.maybe_roundup_sizes(config.hidden_dim, config.intermediate_size_per_partition, torch.bfloat16, config.moe_parallel_config)
    config.hidden_dim, config.intermediate_size_per_partition = hidden, intermediate
    layer = torch.nn.Module()
    method.create_weights(layer, size["experts"], hidden, intermediate, torch.bfloat16)
    # GPT-OSS's loader: rank 0 of tp gets its whole scale blocks (GptOssModel._load_weights_mxfp4).
    live, inner = -(-size["intermediate"] // BLOCK // tp) * BLOCK, size["hidden"]
    rows = {"w13": (2 * live, inner), "w2": (inner, live)}
    plain = []
    for name in ("w13_weight", "w13_weight_scale", "w13_bias", "w2_weight", "w2_weight_scale", "w2_bias"):
        n, k = rows[name.partition("_")[0]]
        k = {"weight": k // 2, "scale": k // BLOCK}.get(name.rpartition("_")[2], 0)
        whole = getattr(layer, name).data
        part = whole[:, :n] if k == 0 else whole[:, :n, :k]
        fill(part, name)
        plain.append(part.clone())
    layer._expert_routing_tables = lambda: None
    for name in ("expert_map", "num_expert_group", "topk_group", "e_score_correction_bias", "routed_scaling_factor", "routing_sink", "hash_indices_table"):
        setattr(layer, name, None)
    layer.activation, layer.global_num_experts, layer.apply_router_weight_on_input = config.activation, size["experts"], False
    method.process_weights_after_loading(layer)
    return method, layer, plain


def random_values(part: torch.Tensor, name: str) -> None:
    """MXFP4 codes, scales that keep sums near one, biases."""
    generator = torch.Generator().manual_seed(len(name))
    if name.endswith("bias"):
        part.copy_(torch.randn(part.shape, generator=generator))
    else:
        part.copy_(torch.randint(*((120, 126) if name.endswith("scale") else (0, 256)), part.shape, generator=generator))


def shown(value: Any) -> Any:
    """An argument as JSON: a tensor's shape and strides."""
    if isinstance(value, torch.Tensor):
        return {"shape": list(value.shape), "stride": list(value.stride()), "dtype": str(value.dtype).removeprefix("torch.")}
    return value if isinstance(value, (int, float, str, bool, type(None))) else type(value).__name__


class Recorded(Exception):
    """Raised after the second GEMM's call where nothing is executed."""


def run(size: dict[str, int], tp: int, tokens: int, kernel: Any, *, execute: bool) -> dict[str, Any]:
    """One layer at one TP size."""
    calls: list[dict[str, Any]] = []
    original = kernel.moe_gemm_a16w4

    @functools.wraps(original)
    def recording(*values: Any, **named: Any) -> torch.Tensor:
        names = original.__code__.co_varnames
        calls.append({name: shown(value) for name, value in (dict(zip(names, values, strict=False)) | named).items()})
        calls[-1]["block_m"] = named.get("routing_data", values[7] if len(values) > 7 else None).block_m
        if execute:
            made: torch.Tensor = original(*values, **named)
            return made
        inspect.signature(original).bind(*values, **named)  # a TypeError where AITER's function does not take the call
        if len(calls) == 2:
            raise Recorded
        return torch.empty(tokens * size["topk"], values[1].shape[-1] // 2, dtype=torch.bfloat16)

    kernel.moe_gemm_a16w4 = recording
    found: dict[str, Any] = {"calls": calls}
    generator = torch.Generator().manual_seed(tp)
    try:
        method, layer, plain = built(size, tp, random_values if execute else lambda part, name: None)
        found["method"], found["experts"] = type(method).__name__, method.experts_cls.__name__
        x = torch.nn.functional.pad(torch.randn(tokens, size["hidden"], generator=generator).bfloat16(), (0, method.moe.hidden_dim - size["hidden"]))
        logits = torch.randn(tokens, size["experts"], generator=generator).bfloat16()
        y = method.apply_monolithic(layer, x, logits)[:, : size["hidden"]].float()
        expected = fused_moe_reference(x[:, : size["hidden"]], logits, tuple(plain), size["topk"]).float()
        found["error"] = float(((y - expected).abs().max() / expected.square().mean().sqrt()).nan_to_num(float("inf")))
    except Recorded:
        pass
    except (TypeError, AttributeError) as error:
        found["fault"] = f"{type(error).__name__}: {error}"
    finally:
        kernel.moe_gemm_a16w4 = original
    return found


def refusals(kernel: Any) -> dict[str, str]:
    """What vLLM's choice of the backend says where this AITER cannot do what is asked."""
    from vllm.model_executor.layers.fused_moe.oracle.mxfp4 import select_mxfp4_moe_backend

    def said(**asked: Any) -> str:
        try:
            return str(select_mxfp4_moe_backend(configuration(GPT_OSS, 8, **asked))[0].value)
        except ValueError as error:
            return str(error)

    found = {"tensor parallel": said(), "expert parallel": said(ep=True)}
    del kernel.moe_gemm_a16w4  # this process asks nothing of it afterwards
    sys.modules["aiter.ops.triton.moe_op_gemm_a16w4"] = None  # type: ignore[assignment] # older AITER's place: not there
    found["without the function"] = said()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vllm", type=Path)
    parser.add_argument("aiter", type=Path)
    parser.add_argument("--tp", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--tokens", type=int, default=3)
    parser.add_argument("--execute", action="store_true")
    parser.add_argument("--before", type=Path, help="the experts' file as the patch found it")
    options = parser.parse_args()
    torch.use_deterministic_algorithms(True)  # fills what is allocated with NaN: padding that is read shows
    with on_gfx950():
        kernel = real_aiter(options.aiter)
        stand_in_triton_kernels()
        pretend_mi355x(options.vllm)
        if options.before:
            replace_module(EXPERTS_MODULE, options.before)
        import vllm.config.vllm as configurations

        configurations._current_vllm_config = SimpleNamespace(model_config=SimpleNamespace(quantization_config=None))
        size = SMALL if options.execute else GPT_OSS
        found: dict[str, Any] = {str(tp): run(size, tp, options.tokens, kernel, execute=options.execute) for tp in options.tp}
        if not options.execute and not options.before:
            found["refused"] = refusals(kernel)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
