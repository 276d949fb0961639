"""What vLLM's fusion passes make of GPT-OSS-120B at tensor parallelism, on a machine without a GPU.

    python gpt_oss_graph.py <vllm tree> --tp 2 8 [--layers 36] [--before allreduce_rms_fusion.py] > graphs.json

The model, its configuration and the passes are vLLM's own, resolved as on an MI355X with AITER; parameters have no values. A stand-in
is only what needs the hardware: amdsmi (eight gfx950), the aiter package, the process group, the collective. Dynamo traces the whole
model, vLLM splits it at attention, Inductor runs its passes on each piece; equal pieces are worked on once and counted.

JSON: one object per TP size: ``norms`` (in the graph), ``fused`` (which pass -> norms that it fuses with the all-reduce before them;
"before" only with --before, the pass's file without the patch; 0 at TP 1, where there is no such pass), ``pieces``: each with its
``count`` and the operations ``original`` (what the pass is given), ``after`` and ``before`` it; ``between``: what vLLM calls between
pieces, outside the compiled graph -> how often in the whole model.

--ours: with the overrides moe_a16w4 and decode_step, the latter with --attention (a backend whose pages it writes).

Run as a program of its own: it puts stand-ins into sys.modules.
"""

from __future__ import annotations

import argparse
import copy
import importlib.abc
import importlib.metadata
import importlib.util
import itertools
import json
import logging
import multiprocessing
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

PASSES = "vllm.compilation.passes.fusion"
TOKENS = 8192
CONFIG = {
    "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880, "head_dim": 64,
    "num_attention_heads": 64, "num_key_value_heads": 8, "num_local_experts": 128, "num_experts_per_tok": 4, "vocab_size": 201088,
    "max_position_embeddings": 131072, "initial_context_length": 4096, "sliding_window": 128, "torch_dtype": "bfloat16",
    "rms_norm_eps": 1e-5, "swiglu_limit": 7.0, "rope_theta": 150000, "attention_bias": True, "tie_word_embeddings": False,
    "rope_scaling": {"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
                     "original_max_position_embeddings": 4096},
    "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": [
        "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]},
}  # fmt: skip


class AiterPackage(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """An aiter whose every submodule imports and whose every name is a mock: nothing of it runs here."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(name, self, is_package=True) if name.partition(".")[0] == "aiter" else None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        def attribute(name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            return MagicMock(name=f"{module.__name__}.{name}")

        module.__getattr__ = attribute  # type: ignore[method-assign]


def pretend_mi355x(tree: Path) -> None:
    """Make `import vllm` from `tree` find eight gfx950 with AITER; must come before the import."""
    os.environ |= {"VLLM_ROCM_USE_AITER": "1", "VLLM_PLUGINS": "", "VLLM_LOGGING_LEVEL": "ERROR"}
    os.environ["HIP_VISIBLE_DEVICES"] = ""  # as in a Ray actor: vLLM then takes Triton without asking for a driver
    smi = MagicMock(name="amdsmi", AmdSmiException=Exception)
    smi.amdsmi_get_processor_handles.return_value = list(range(8))
    smi.amdsmi_get_gpu_asic_info.return_value = {"target_graphics_version": "gfx950", "device_id": "0x75a0", "market_name": "MI355X"}
    smi.amdsmi_get_gpu_memory_total.return_value = 288 << 30
    smi.__spec__ = ModuleSpec("amdsmi", None)
    sys.modules["amdsmi"] = smi
    sys.modules["vllm._C"] = None  # type: ignore[assignment] # the CPU wheel's operators, which may hold instructions that this CPU lacks
    sys.meta_path.insert(0, AiterPackage())
    sys.path.insert(0, str(tree))
    installed = importlib.metadata.version
    # The CPU wheel's version says "cpu", which would make the platform ambiguous.
    importlib.metadata.version = lambda name: "0.33.0" if name == "vllm" else installed(name)

    from vllm.platforms.rocm import RocmPlatform

    RocmPlatform.device_type = "cpu"
    RocmPlatform.dispatch_key = "CPU"
    RocmPlatform.get_device_communicator_cls = classmethod(lambda cls: f"{__name__}.Communicator")
    RocmPlatform.logical_device_id_to_visible_device_id = classmethod(lambda cls, index: index)

    from vllm.model_executor.layers import utils as gemms

    def rocm_unquantized_gemm(layer: Any, x: Any, weight: Any, bias: Any = None) -> Any:
        import torch

        return torch.ops.vllm.rocm_unquantized_gemm(x, weight, bias)

    gemms.rocm_unquantized_gemm = rocm_unquantized_gemm  # vLLM's takes a tensor that is not on the GPU to torch instead


def define_native_ops(tree: Path) -> Any:
    """Declare the operations of vLLM's ROCm extension that the passes name, by the schemas in its C++ source."""
    import torch

    library = torch.library.Library("_C", "FRAGMENT")
    text = (tree / "csrc/torch_bindings.cpp").read_text().split("STABLE_TORCH_LIBRARY_IMPL(_C, CUDA")[0]
    text = re.sub(r"#ifndef USE_ROCM\n.*?#endif", "", text, flags=re.DOTALL)
    for body in re.findall(r'ops\.def\(((?:\s*"[^"]*")+)', text):
        schema = "".join(re.findall(r'"([^"]*)"', body))
        alias = itertools.count()
        schema = re.sub(r"Tensor!", lambda _, alias=alias: f"Tensor(a{next(alias)}!)", schema)
        if not hasattr(torch.ops._C, schema.partition("(")[0]):
            library.define(schema)
    return library


class Communicator:
    """In the place of vLLM's device communicator: it has AITER's all-reduce, whose signature is v0.1.19's."""

    def __init__(self, **_: Any) -> None:
        import torch.distributed
        from vllm.distributed.device_communicators.aiter_custom_all_reduce import AiterCustomAllreduce

        def custom_fused_ar_rms(input, residual_inp, weight, eps, use_1stage, out_hidden_dim=0, gemma_norm=False):  # type: ignore[no-untyped-def]
            raise AssertionError("nothing runs here")

        self.aiter_ar_comm = AiterCustomAllreduce.__new__(AiterCustomAllreduce)
        self.aiter_ar_comm._impl = SimpleNamespace(
            custom_fused_ar_rms=custom_fused_ar_rms, world_size=torch.distributed.get_world_size(), fully_connected=True, _pool=None
        )


def configuration(tp: int, layers: int, attention: str | None = None) -> Any:
    """vLLM's configuration for GPT-OSS-120B with its defaults at this TP size."""
    from vllm.engine.arg_utils import EngineArgs

    with tempfile.TemporaryDirectory() as model:
        kinds = list(itertools.islice(itertools.cycle(["sliding_attention", "full_attention"]), layers))
        Path(model, "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": layers, "layer_types": kinds}))
        args = EngineArgs(
            model=model, skip_tokenizer_init=True, max_num_batched_tokens=TOKENS, max_num_seqs=128, max_model_len=4096,
            tensor_parallel_size=tp, distributed_executor_backend="mp", attention_backend=attention,
        )  # fmt: skip
        return args.create_engine_config()


def start_ranks(tp: int) -> None:
    """Rank 0 of `tp` in vLLM's parallel state, on torch's fake process group."""
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore
    from vllm.distributed import parallel_state
    from vllm.distributed.device_communicators import shm_broadcast

    dist.init_process_group("fake", rank=0, world_size=tp, store=FakeStore())
    new_group = dist.new_group
    dist.new_group = lambda ranks=None, **_: new_group(ranks, backend="fake")
    parallel_state.in_the_same_node_as = lambda *_, **__: [True] * tp
    shm_broadcast.MessageQueue.create_from_process_group = lambda *_, **__: None
    parallel_state.init_distributed_environment(tp, 0, "env://", 0, backend="fake")
    parallel_state.initialize_model_parallel(tp, backend="fake")


def build(config: Any) -> Any:
    """GptOssModel with parameters that are allocated and never touched; the experts', which no graph sees, stay fake."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from vllm.config.compilation import CompilationMode
    from vllm.model_executor.models.gpt_oss import GptOssModel

    torch.set_default_dtype(torch.bfloat16)
    mode, config.compilation_config.mode = config.compilation_config.mode, CompilationMode.NONE  # traced below, not at the first call
    with FakeTensorMode():
        model = GptOssModel(vllm_config=config, prefix="model")
    config.compilation_config.mode = mode
    for name, module in model.named_modules():
        for tensors in (module._parameters, module._buffers) if ".experts" not in name else ():
            for key, tensor in tensors.items():
                if tensor is not None:
                    tensors[key] = torch.empty(tensor.shape, dtype=tensor.dtype)
    return model


class Traced(Exception):
    """Raised in the place of the first forward pass."""


def trace(config: Any, model: Any) -> tuple[list[tuple[int, Any, list[Any]]], dict[str, int]]:
    """(count, piece, its example inputs) for each kind of piece, in order: Dynamo's graph, split where vLLM splits it. And the operations that it is split
    at -> how often each is called."""
    import torch
    from vllm.compilation.backends import split_graph

    kinds: dict[str, list[Any]] = {}
    between: Counter[str] = Counter()

    def backend(graph: Any, _: Any) -> Any:
        whole, items = split_graph(graph, config.compilation_config.splitting_ops)
        for item in items:
            piece = getattr(whole, item.submod_name)
            if item.is_splitting_graph:
                between.update(str(node.target) for node in piece.graph.nodes if node.op == "call_function")
            else:
                kinds.setdefault(canonical(piece.graph), [0, piece])[0] += 1

        def stop(*_: Any) -> None:
            raise Traced

        return stop

    tokens = torch.zeros(8, dtype=torch.int64), torch.zeros(8, dtype=torch.int64)
    for tensor in tokens:
        torch._dynamo.mark_dynamic(tensor, 0)
    with torch.no_grad(), suppress(Traced):
        torch.compile(model.forward, backend=backend, fullgraph=True)(*tokens)
    found = [(n, p, [node.meta["example_value"] for node in p.graph.nodes if node.op == "placeholder"]) for n, p in kinds.values()]
    return found, {name: count for name, count in sorted(between.items()) if isinstance(name, str) and "getitem" not in name}


def canonical(graph: Any) -> str:
    """The graph's text with its inputs named by position: equal for pieces that differ only in the layer they belong to."""
    names = {node.name: f"${i}" for i, node in enumerate(graph.nodes)}
    values = [str(getattr(node.meta.get("example_value"), "shape", "")) for node in graph.nodes if node.op == "placeholder"]
    lines = [f"{node.target} {node.args} {node.kwargs}" for node in graph.nodes if node.op != "placeholder"]
    return re.sub(r"\w+", lambda word: names.get(word[0], word[0]), "\n".join(values + lines))


def post_grad(config: Any, piece: Any, inputs: list[Any]) -> Any:
    """The piece's graph as Inductor hands it to vLLM's passes."""
    import torch
    from torch._inductor import compile_fx, virtualized
    from torch._inductor import config as inductor
    from torch._inductor.fx_passes.post_grad import post_grad_passes, view_to_reshape
    from vllm.compilation.passes.inductor_pass import CallableInductorPass
    from vllm.compilation.passes.ir.inplace_functionalization import VllmIRInplaceFunctionalizationPass

    mode = next(value.fake_mode for value in inputs if isinstance(value, torch._subclasses.FakeTensor))
    seen: list[Any] = []

    def inner(graph: Any, _: Any, **__: Any) -> Any:
        with virtualized.V.set_fake_mode(mode):
            view_to_reshape(graph)
            post_grad_passes(graph, is_inference=True)
        return graph

    # A copy: what Inductor does next (functionalised calls back in place) would change it under us.
    keep = CallableInductorPass(lambda graph: seen.append(copy.deepcopy(graph.owning_module)), "keep")
    passes = {"pre_grad_custom_pass": VllmIRInplaceFunctionalizationPass(config), "post_grad_custom_post_pass": keep}
    settings = config.compilation_config.inductor_compile_config | passes
    with torch._guards.tracing(torch._guards.TracingContext(mode)), inductor.patch(settings):
        compile_fx.compile_fx(piece, inputs, inner_compile=inner)
    return seen[0]


def fusion_passes(config: Any, before: Path | None) -> dict[str, list[Any]]:
    """By name, vLLM's passes up to the one under test; "before" has that one from another file. At TP 1 there is none: all of vLLM's passes."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from vllm.compilation.passes.pass_manager import PostGradPassManager

    flags = config.compilation_config.pass_config
    single = config.parallel_config.tensor_parallel_size == 1
    assert (flags.fuse_allreduce_rms or single) and flags.fuse_act_padding, "the defaults changed: the pass under test is off"
    flags.fuse_norm_quant = flags.fuse_act_quant = flags.fuse_mla_dual_rms_norm = False  # they come later and find nothing here
    with FakeTensorMode():  # one pass makes its examples on the GPU
        manager = PostGradPassManager()
        manager.configure(config)
        if single:
            return {"after": list(manager.passes)}
        *first, last = manager.passes
        assert type(last).__name__ == "RocmAiterAllReduceFusionPass", [type(one).__name__ for one in manager.passes]
        found = {"after": [*first, last]}
        if before:
            spec = importlib.util.spec_from_file_location(f"{PASSES}.allreduce_rms_fusion_before", before)
            assert spec and spec.loader
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            from vllm.config import set_current_vllm_config

            with set_current_vllm_config(config, check_compile=False):
                found["before"] = [*first, module.RocmAiterAllReduceFusionPass(config)]
    return found


def operations(graph: Any) -> list[dict[str, Any]]:
    """The nodes as JSON: name, target, args, kwargs. A node among the args is {"node": name}, what is no literal {"text": ...}."""
    import torch.fx

    def plain(value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            return {"node": value.name}
        if isinstance(value, list | tuple):
            return [plain(one) for one in value]
        return value if isinstance(value, int | float | str | None) else {"text": str(value)}

    nodes = []
    for node in graph.nodes:
        called = str(node.target) if isinstance(node.target, torch._ops.OpOverload) else getattr(node.target, "__name__", "")
        args = example(node.meta["val"]) if node.op == "placeholder" else plain(node.args)
        if called == "auto_functionalized":  # the operation that it stands for is its only argument
            called, args = f"{called} {node.args[0]}", []
        kwargs = {key: plain(value) for key, value in node.kwargs.items()}
        nodes.append({"name": node.name, "target": called if node.op == "call_function" else node.op, "args": args, "kwargs": kwargs})
    return nodes


def example(value: Any) -> list[Any]:
    """[sizes, dtype] of an input, the number of tokens as None; ["tokens"] for that number itself; empty for a layer's name."""
    import torch

    if isinstance(value, torch.SymInt):
        return ["tokens"]
    if not isinstance(value, torch.Tensor):
        return []
    return [[size if isinstance(size, int) else None for size in value.shape], str(value.dtype).removeprefix("torch.")]


@contextmanager
def compiling(config: Any) -> Iterator[None]:
    """What vLLM has set up while it compiles."""
    from vllm.compilation.passes.inductor_pass import pass_context
    from vllm.config import set_current_vllm_config
    from vllm.config.utils import Range

    with set_current_vllm_config(config, check_compile=False), pass_context(Range(1, TOKENS)):
        yield


def use_ours(config: Any) -> None:
    """The overrides, as vLLM's plugin applies them; they find an MI355X, and one that does not serve is an error."""
    from vllm_overrides import registry
    from vllm_overrides.decode_step import block

    def stop(text: str) -> None:
        raise AssertionError(text)

    registry.apply_named("moe_a16w4,decode_step", {})
    block.say_once = stop
    method = importlib.import_module("vllm_overrides.moe_a16w4.method")
    method.say_once = stop
    method.capture_sizes = lambda: ()


class Prepared:
    """In the place of the experts' prepared weights, of which the forward passes on sizes and layouts."""

    intermediate = 2880

    class layout13:  # as the attribute is called
        arch, wide = "gfx950", False

    layout2 = layout13


def prepare_ours(model: Any) -> None:
    """Experts as if they were loaded; their tensors have no values and no size, since an operator of ours takes them."""
    import torch
    from vllm.model_executor.models.gpt_oss import TransformerBlock

    for block in model.modules():
        if isinstance(block, TransformerBlock):
            assert block.refused is None and block.attends, block.refused
            layer = block.mlp.experts.routed_experts
            layer.quant_method.prepared = Prepared()
            for name in [name for name, _ in layer.named_parameters(recurse=False)]:
                setattr(layer, name, torch.nn.Parameter(torch.empty(0, dtype=torch.uint8), requires_grad=False))


def capture(tp: int, layers: int, before: Path | None, ours: bool = False, attention: str | None = None) -> dict[str, Any]:
    """The JSON object of one TP size."""
    from vllm.config.utils import Range

    config = configuration(tp, layers, attention)
    with compiling(config):
        start_ranks(tp)
        if ours:
            use_ours(config)
        model = build(config)
        if ours:
            prepare_ours(model)
        traced, between = trace(config, model)
        passes = fusion_passes(config, before)
        result: dict[str, Any] = {"tp": tp, "layers": layers, "norms": 0, "fused": dict.fromkeys(passes, 0), "pieces": [], "between": between}
        for count, piece, inputs in traced:
            module = post_grad(config, piece, inputs)
            entry: dict[str, Any] = {"count": count}
            for name, (*first, last) in passes.items():
                graph = copy.deepcopy(module).graph
                if tp == 1:
                    for one in (*first, last):
                        one(graph)
                    entry["original"] = entry[name] = operations(graph)
                    continue
                for one in first:
                    one(graph)
                entry["original"] = operations(graph)
                assert last.is_applicable_for_range(Range(1, TOKENS))
                last(graph)
                graph.eliminate_dead_code()
                result["fused"][name] += count * last.matched_count
                entry[name] = operations(graph)
            result["norms"] += count * sum("rms" in node["target"] for node in entry["original"])
            result["pieces"].append(entry)
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tree", type=Path)
    parser.add_argument("--tp", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--layers", type=int, default=36)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--ours", action="store_true")
    parser.add_argument("--attention")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    pretend_mi355x(options.tree)
    library = define_native_ops(options.tree)
    results = []
    for tp in options.tp:  # a process per size: vLLM's parallel state cannot be taken back
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as pool:
            results.append(pool.submit(capture, tp, options.layers, options.before, options.ours, options.attention).result())
    del library
    print(json.dumps(results))


if __name__ == "__main__":
    main()
