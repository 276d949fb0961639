"""The decode-step override in the real vLLM: GPT-OSS's block as the model makes it, our forward and operators, under Triton's interpreter.

One process for all cases. The CPU is no device that the kernels serve, so that answer alone is replaced; attention, which ours neither replaces nor
reads, is a product with a constant, and where our way to it is tested it hands back the queries that came.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("vllm") is None:  # importing it here would cost every run that collects this file five seconds
    pytest.skip("NOT TESTED: vLLM is not installed (`python3 build.py develop`)", allow_module_level=True)
pytestmark = [pytest.mark.e2e, pytest.mark.slow]

CONFIG = {
    "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 128, "intermediate_size": 64, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "num_local_experts": 16, "num_experts_per_tok": 4,
    "vocab_size": 2048, "max_position_embeddings": 4096, "sliding_window": 128, "dtype": "bfloat16", "swiglu_limit": 7.0,
    "layer_types": ["sliding_attention", "full_attention"], "quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": [
        "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]},
}  # fmt: skip

CASES = """
import json, os, sys
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from vllm.engine.arg_utils import EngineArgs
from vllm.config import set_current_vllm_config
from vllm.distributed import init_distributed_environment, initialize_model_parallel
from vllm_overrides import registry
from vllm_overrides.moe_a16w4 import coverage as moe_coverage
from vllm_overrides.decode_step import coverage
moe_coverage.device_refusal = coverage.device_refusal = lambda: None

found, folder = {}, sys.argv[1]
config = EngineArgs(model=folder, skip_tokenizer_init=True, enforce_eager=True, moe_backend="auto").create_engine_config()
registry.apply_named("moe_a16w4,decode_step", {})
registry.apply_named("decode_step", {})  # as in another plugin load of the same process
from vllm.model_executor.models import gpt_oss
from vllm_overrides.decode_step import operator
from vllm_overrides.decode_step.block import DecodeBlock, SkinnyLinearMethod
found["class"] = gpt_oss.GptOssModel.block_cls.__name__
said = []
import vllm_overrides.decode_step.block as module
module.say_once = said.append
with set_current_vllm_config(config):
    init_distributed_environment(1, 0, "file://" + folder + "/rendezvous", 0, "gloo")
    initialize_model_parallel(1)
    torch.set_default_dtype(torch.bfloat16)  # as the loader does
    block = gpt_oss.GptOssModel.block_cls(config, quant_config=config.quant_config, prefix="model.layers.0")
    torch.set_default_dtype(torch.float32)
    found["refused"] = block.refused
    assert block.refused is None, block.refused

    from tunefork.kernels.add_norm_router.reference import add_norm_route_reference
    from tunefork.kernels.moe_a16w4.reference import fused_moe_reference
    from vllm_overrides.random_mxfp4 import fill
    torch.manual_seed(0)
    for name, parameter in block.named_parameters():
        if "experts" in name:
            fill(name, parameter.data)
        else:
            parameter.data = torch.randn(parameter.shape).to(parameter.dtype) * (parameter.shape[-1] ** -0.5 if parameter.dim() == 2 else 1)
    layer = block.mlp.experts.routed_experts
    names = ("w13_weight", "w13_weight_scale", "w13_bias", "w2_weight", "w2_weight_scale", "w2_bias")
    plain = tuple(getattr(layer, name).data.clone() for name in names)
    layer.quant_method.process_weights_after_loading(layer)
    mix = (torch.randn(128, 128) / 11).bfloat16()
    block.attn.forward = lambda hidden, positions: hidden @ mix
    rms = type(block.post_attention_layernorm)

    def step(tokens, first):
        x, residual = torch.randn(tokens, 128).bfloat16(), None if first else torch.randn(tokens, 128).bfloat16()
        got, kept = block(x.clone(), torch.arange(tokens), None if first else residual.clone())
        inner = block.input_layernorm
        normed, both = (inner.forward_native(x.clone()), x) if first else inner.forward_native(x.clone(), residual.clone())
        norm, router = block.post_attention_layernorm, block.mlp.router
        want = add_norm_route_reference(normed @ mix, both, norm.weight.data, norm.variance_epsilon, router.weight.data, router.bias.data, 4)
        moe = fused_moe_reference(want[0], want[2].bfloat16(), plain, 4)
        return [float((got.float() - moe).norm() / moe.norm()), float((kept.float() - want[1].float()).norm() / want[1].float().norm())]

    calls = []
    kernel, operator.add_norm_moe = operator.add_norm_moe, lambda *words, **named: (calls.append(words[0].shape[0]), kernel(*words, **named))[1]
    found["few"] = step(3, False)
    found["calls"] = list(calls)
    found["first"] = step(2, True)
    operator.MOST_TOKENS = 2
    found["many"] = step(3, False)
    operator.MOST_TOKENS = 16
    words = torch.randn(3, 128).bfloat16(), torch.arange(3), torch.randn(3, 128).bfloat16()
    eager = block(words[0].clone(), words[1], words[2].clone())
    compiled = torch.compile(block.forward, backend="eager", fullgraph=True)(words[0].clone(), words[1], words[2].clone())
    found["compiled"] = all(bool((a == b).all()) for a, b in zip(eager, compiled))
    one, method = layer.quant_method.prepared, layer.quant_method
    real = [torch.zeros(tuple(t.shape), dtype=t.dtype) for t in (block.mlp.router.weight, block.mlp.router.bias, *(getattr(layer, name) for name in names))]
    empty = torch.zeros(5, 128).bfloat16()
    with FakeTensorMode() as mode:
        words, rest = [mode.from_tensor(empty)] * 2, [mode.from_tensor(t) for t in real]
        fakes = torch.ops.tunefork.add_norm_moe(*words, words[0][0], 1e-5, *rest, one.intermediate, 4, one.layout13.arch, False, False)
        fakes += (torch.ops.tunefork.skinny_linear(words[0], rest[0], rest[1]),)
    found["fake"] = [[list(one.shape), str(one.dtype)] for one in fakes]

    import vllm.model_executor.layers.attention.attention as attention_module
    from vllm_overrides.decode_step import attention as way
    found["attention refused"] = str(way.refusal(config, block.attn))
    inner = block.attn.attn
    backend = inner.attn_backend
    way.BACKENDS, backend.forward_includes_kv_cache_update, inner.use_direct_call = (backend.get_name(),), False, False
    found["attention"] = way.refusal(config, block.attn)
    whys = []
    for holder, name, value in ((inner, "kv_cache_dtype", "int8"), (inner, "attn_type", "encoder"), (inner, "head_size_v", 32), (block.attn.rotary_emb, "rotary_dim", 32),
                                (backend, "forward_includes_kv_cache_update", True), (inner, "kv_sharing_target_layer_name", "other"),
                                (block.attn.qkv_proj, "quant_method", object()), (inner, "use_direct_call", True), (config, "kv_transfer_config", object()),
                                (config.parallel_config, "decode_context_parallel_size", 2)):
        own = getattr(holder, name)
        object.__setattr__(holder, name, value) if holder is config or holder is config.parallel_config else setattr(holder, name, value)
        whys.append(str(way.refusal(config, block.attn)))
        object.__setattr__(holder, name, own) if holder is config or holder is config.parallel_config else setattr(holder, name, own)
    found["whys"] = whys
    before = list(config.compilation_config.splitting_ops or [])
    config.compilation_config.splitting_ops = ["vllm::unified_attention_with_output"]
    way.keep_out_of_pieces(config), way.keep_out_of_pieces(config)
    found["split"] = list(config.compilation_config.splitting_ops)
    config.compilation_config.splitting_ops = before

    class Echo:
        def forward(self, layer, query, key, value, kv_cache, attn_metadata, output, **rest):
            output.copy_(query)

    impl, inner.impl = inner.impl, Echo()
    o_proj = block.attn.o_proj
    o_proj.forward = lambda x: (torch.nn.functional.linear(x, o_proj.weight, o_proj.bias), None)  # vLLM's CPU product wants weights that were prepared
    kv_heads, dim = inner.num_kv_heads, inner.head_size
    pages = torch.zeros(3, 8, kv_heads, 2 * dim).bfloat16().transpose(1, 2)
    slots = torch.tensor([3, 9, -1])
    for name in ("_k_scale", "_v_scale", "_q_scale"):
        setattr(inner, name, torch.tensor(1.0))
    attention_module.get_attention_context = lambda name: (None, inner, pages, slots)
    block.attends = True
    seen = []
    # In place of the experts, which were right above and take seconds each time, something that depends on both.
    whole, operator.add_norm_moe = operator.add_norm_moe, lambda x, residual, *words, **named: (seen.append(x.clone()), (x * 2, x + residual))[1]

    def to_attention(first):
        pages.zero_()
        seen.clear()
        x, residual, positions = torch.randn(3, 128).bfloat16(), None if first else torch.randn(3, 128).bfloat16(), torch.tensor([5, 0, 2])
        block(x.clone(), positions, None if first else residual.clone())
        inner_norm = block.input_layernorm
        normed = inner_norm.forward_native(x.clone()) if first else inner_norm.forward_native(x.clone(), residual.clone())[0]
        q, k, v = torch.nn.functional.linear(normed, block.attn.qkv_proj.weight, block.attn.qkv_proj.bias).split([4 * dim, 2 * dim, 2 * dim], dim=-1)
        q, k = block.attn.rotary_emb.forward_native(positions, q.clone(), k.clone())
        want = torch.nn.functional.linear(q, block.attn.o_proj.weight, block.attn.o_proj.bias)
        kv = torch.cat((k.view(3, kv_heads, dim), v.view(3, kv_heads, dim)), dim=-1)
        kept = torch.zeros_like(pages)
        kept[0, :, 3], kept[1, :, 1] = kv[0], kv[1]
        return [float((a.float() - b.float()).norm() / b.float().norm()) for a, b in ((seen[0], want), (pages, kept))]

    found["to attention"] = to_attention(False), to_attention(True)
    own_fuses, operator.fuses = operator.fuses, lambda *words: False
    found["to attention, apart"] = to_attention(False)
    operator.fuses = own_fuses
    words = torch.randn(3, 128).bfloat16(), torch.tensor([5, 0, 2]), torch.randn(3, 128).bfloat16()
    eager = block(words[0].clone(), words[1], words[2].clone())
    again = torch.compile(block.forward, backend="eager", fullgraph=True)(words[0].clone(), words[1], words[2].clone())
    found["compiled with it"] = all(bool((a == b).all()) for a, b in zip(eager, again))
    attention_module.get_attention_context = lambda name: (None, inner, torch.tensor([]), None)
    found["no pages yet"] = [list(one.shape) for one in block(words[0].clone(), words[1], words[2].clone())]
    from vllm.utils.torch_utils import _encode_layer_name
    given, sums = torch.empty(3, 4, dim).bfloat16(), torch.empty(3, 128).bfloat16()
    attention_module.get_attention_context = lambda name: (None, inner, pages, slots)
    schema = torch.ops.tunefork.qkv_rope_cache.default._schema
    found["returns"] = [len(schema.returns), [one.name for one in schema.arguments if one.alias_info and one.alias_info.is_write]]
    def scribbles(x, residual, positions):
        torch.ops.tunefork.qkv_rope_cache(x, residual, block.input_layernorm.weight, 1e-5, block.attn.qkv_proj.weight, None, positions,
                                          block.attn.rotary_emb.cos_sin_cache, _encode_layer_name("a"), given, sums)
        return given + 0, sums + 0
    from vllm.utils.torch_utils import _encode_layer_name
    first = scribbles(words[0], words[2], words[1])
    given.zero_(), sums.zero_()
    found["functionalised"] = all(bool((a == b).all()) for a, b in zip(first, torch.compile(scribbles, backend="aot_eager", fullgraph=True)(words[0], words[2], words[1])))
    inner.impl, operator.add_norm_moe, block.attends = impl, whole, False

    def refuses(**changes):
        class Changed:
            def __getattr__(self, name):
                return changes.get(name, getattr(config, name))
        return str(coverage.refusal(Changed(), block))
    found["LoRA"] = refuses(lora_config=object())
    found["ubatch"] = refuses(parallel_config=type("P", (), {"use_ubatching": True})())
    router, block.mlp.router.bias = block.mlp.router, None
    found["bias"] = refuses()
    layer.quant_method = object()
    found["experts"] = refuses()
    block.use(config)
    found["said"] = said
    x, weight = torch.randn(4, 128).bfloat16(), torch.randn(64, 128).bfloat16()
    ran = []
    operator.linear = lambda *words: ran.append(True) or torch.nn.functional.linear(*words)
    torch.ops.tunefork.skinny_linear(x, weight)
    torch.ops.tunefork.skinny_linear(torch.randn(17, 128).bfloat16(), weight)
    found["linear"] = len(ran)
    own, operator.target = operator.target, lambda: type("Target", (), {"arch": "sm90"})
    found["ever"] = [operator.ever_wins(torch.empty(rows, cols, device="meta")) for rows, cols in ((5120, 2880), (2880, 4096), (640, 2880))]
    operator.target = own
    method = SkinnyLinearMethod()
    shell = torch.nn.Module()
    shell.weight = torch.nn.Parameter(weight)
    found["method"] = list(method.apply(shell, x).shape) + [len(ran)]
print("RESULT " + json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TUNEFORK_", "VLLM_"))}
    done = subprocess.run(
        [sys.executable, "-P", "-c", CASES, str(folder)], capture_output=True, text=True, timeout=600, check=False,
        env=inherited | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1",
                         "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), inherited.get("PYTHONPATH", "")])},
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
    return result


def test_the_model_makes_our_block(found: dict[str, Any]) -> None:
    assert found["class"] == "DecodeBlock" and found["refused"] is None


def test_a_block_is_right_below_and_above_the_kernels_tokens(found: dict[str, Any]) -> None:
    """2e-2: the interpreter cuts bf16 off instead of rounding it, and so may choose another expert where two logits are equal but for that."""
    for case in ("few", "first", "many"):
        assert max(found[case]) < 2e-2, case
    assert found["calls"] == [3]


def test_torch_compile_sees_boxes_of_known_shapes(found: dict[str, Any]) -> None:
    assert found["fake"] == [[[5, 128], "torch.bfloat16"], [[5, 128], "torch.bfloat16"], [[5, 16], "torch.bfloat16"]]


def test_the_whole_block_is_one_graph(found: dict[str, Any]) -> None:
    assert found["compiled"]


def test_what_it_does_not_cover_is_vllms_and_said(found: dict[str, Any]) -> None:
    assert "LoRA" in found["LoRA"] and "two streams" in found["ubatch"] and "no bias" in found["bias"] and "name moe_a16w4" in found["experts"]
    assert len(found["said"]) == 2 and "vLLM's own block serves, not ours" in found["said"][1]


def test_the_way_to_attention_is_refused_in_words(found: dict[str, Any]) -> None:
    assert "vLLM's own qkv projection, RoPE and cache write serve, not ours: the attention backend is CPU_ATTN" in found["said"][0]
    assert "CPU_ATTN" in found["attention refused"] and found["attention"] is None
    said = ("KV cache is int8", "is an encoder's", "another size", "NeoX rotation", "writes the cache itself", "another layer's cache", "projection is object",
            "no operator", "KV connector", "context parallelism")  # fmt: skip
    assert len(found["whys"]) == len(said) and all(one in why for one, why in zip(said, found["whys"], strict=True)), found["whys"]


def test_the_way_to_attention_is_right_in_one_launch_and_in_two(found: dict[str, Any]) -> None:
    """q as attention gets it, k and v in their pages and nowhere else. 3e-2: the interpreter cuts bf16 off, three times on this way."""
    for case in (*found["to attention"], found["to attention, apart"]):
        assert max(case) < 3e-2, case
    assert found["compiled with it"] and found["no pages yet"] == [[3, 128], [3, 128]]
    assert found["functionalised"]


def test_what_comes_out_is_written_where_the_next_piece_of_a_graph_reads(found: dict[str, Any]) -> None:
    """A served prefill on an H200 read freed memory while the operator returned new tensors: it runs between pieces that were captured with old ones."""
    assert found["returns"] == [0, ["q", "both"]]


def test_a_piece_of_a_graph_does_not_hold_it(found: dict[str, Any]) -> None:
    assert found["split"] == ["vllm::unified_attention_with_output", "tunefork::qkv_rope_cache"]


def test_the_projections_take_ours_for_few_tokens_only(found: dict[str, Any]) -> None:
    assert found["linear"] == 1 and found["method"] == [4, 64, 2]
    assert found["ever"] == [False, True, True], "qkv at TP1 stays vLLM's own layer, which Inductor fuses around"
