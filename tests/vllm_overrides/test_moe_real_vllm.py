"""The MoE override in the real vLLM: chosen by vLLM's own registry, vLLM's own parameters, our weights and operator, under Triton's interpreter.

One process for all cases: the interpreter has to be chosen before Triton is imported, and importing vLLM takes seconds. The CPU is no device that
the kernel serves, so that answer alone is replaced.
"""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tunefork.base.layout import Layout

if importlib.util.find_spec("vllm") is None:  # importing it here would cost every run that collects this file five seconds
    pytest.skip("NOT TESTED: vLLM is not installed (`python3 build.py develop`)", allow_module_level=True)
pytestmark = [pytest.mark.e2e, pytest.mark.slow]


CASES = """
import json, sys
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from vllm_overrides import registry
from vllm_overrides.moe_a16w4 import coverage, operator, has_hook
coverage.device_refusal = lambda: None
from pathlib import Path
from vllm.model_executor.layers.fused_moe.activation import MoEActivation
from vllm.model_executor.layers.fused_moe.config import FusedMoEConfig, FusedMoEParallelConfig, RoutingMethodType
from vllm.model_executor.layers.quantization.mxfp4 import GptOssMxfp4Config

H, I, E, TOPK = 64, 40, 8, 4  # 40: no whole scale block, as 2880 / 8 is none
parallel = FusedMoEParallelConfig.make_no_parallel()

def config(**changes):
    words = dict(num_experts=E, experts_per_token=TOPK, hidden_dim=H, intermediate_size=I, num_local_experts=E, num_logical_experts=E,
                 activation=MoEActivation.SWIGLUOAI, device="cpu", routing_method=RoutingMethodType.Renormalize, moe_parallel_config=parallel,
                 in_dtype=torch.bfloat16, has_bias=True)
    return FusedMoEConfig(**(words | changes))

def outcome(work):
    try:
        return work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"

def named(**changes):
    return outcome(lambda: type(GptOssMxfp4Config()._make_moe_method(config(moe_backend="tunefork_a16w4", **changes))).__name__)

# The flag alone, before any override: the entry point of pyproject.toml, as an installation writes it.
found = {"by name": named(), "by name, LoRA": named(is_lora_enabled=True)}
from vllm_overrides.moe_a16w4 import backend
import vllm
from vllm.config.kernel import KernelConfig
found["flag"] = outcome(lambda: KernelConfig(moe_backend="tunefork-A16W4").moe_backend)
if has_hook():
    version, vllm.__version__ = vllm.__version__, "0.30.1"
    backend.problem.cache_clear()
    found["by name, untested"] = named()
    vllm.__version__ = version
    backend.problem.cache_clear()
    found["auto"] = outcome(lambda: type(GptOssMxfp4Config()._make_moe_method(config())).__name__)
registry.apply_named("moe_a16w4,random_mxfp4", {})
registry.apply_named("moe_a16w4", {})  # as in another plugin load of the same process
from vllm.model_executor.layers.quantization import get_quantization_config
from tunefork.kernels.moe_a16w4 import restore_weights
from tunefork.kernels.moe_a16w4.reference import fused_moe_reference
from vllm_overrides.random_mxfp4 import fill

found["hook"] = has_hook()
ours = get_quantization_config("gpt_oss_mxfp4")
found["config"] = ours.__name__
made = ours()
if has_hook():
    made = GptOssMxfp4Config()
GptOssMxfp4Config._fallback = GptOssMxfp4Config._make_moe_method
method = made._make_moe_method(config())
found["method"] = type(method).__name__
found["override"] = ours.override_quantization_method({"quant_method": "mxfp4"}, None, type("C", (), {"model_type": "gpt_oss"})())

def error(**changes):
    layer = torch.nn.Module()
    hidden, inter = method.maybe_roundup_sizes(H, I, torch.bfloat16, parallel)
    experts = changes.get("local", E)
    method.create_weights(layer, num_experts=experts, hidden_size=hidden, intermediate_size_per_partition=inter, params_dtype=torch.bfloat16)
    for name, parameter in layer.named_parameters():
        fill(name, parameter.data)
    names = ("w13_weight", "w13_weight_scale", "w13_bias", "w2_weight", "w2_weight_scale", "w2_bias")
    plain = tuple(getattr(layer, name).data.clone() for name in names)
    method.process_weights_after_loading(layer)
    assert not any(parameter.requires_grad for parameter in layer.parameters())
    assert all(bool((a == b).all()) for a, b in zip(restore_weights(method.prepared), plain))
    layer.expert_map = changes.get("map")
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(2, H, generator=generator).bfloat16()
    logits = torch.randn(2, E, generator=generator).bfloat16()
    got = method.apply_monolithic(layer, x, logits)
    want = fused_moe_reference(x, logits, plain, TOPK, expert_map=layer.expert_map)
    found["sizes"] = [hidden, inter]
    if not changes:
        assert method.apply_monolithic(layer, x[:0], logits[:0]).shape == (0, H)
        rows, operator.MAX_TOKENS, kernel = [], 3, operator.fused_moe
        operator.fused_moe = lambda x, logits, weights, topk, *, out, **words: rows.append((len(x), len(logits), len(out), words["num_live"] is None))
        method.apply_monolithic(layer, torch.zeros(7, H).bfloat16(), torch.zeros(7, E))
        operator.fused_moe, operator.MAX_TOKENS = kernel, 16384
        found["split"] = rows
        one = method.prepared
        with FakeTensorMode() as mode:
            words = [mode.from_tensor(t) for t in (torch.zeros(5, 2 * H).bfloat16()[:, :H], torch.zeros(5, E), *layer.parameters())]
            fake = torch.ops.tunefork.moe_a16w4(*words[:8], one.intermediate, TOPK, one.layout13.arch, False, False, None, None)
        found["fake"] = [type(fake).__name__, list(fake.shape), str(fake.dtype), fake.is_contiguous()]
    return float((got.float() - want).norm() / want.norm())

found["error"] = error()
half = torch.full((E,), -1, dtype=torch.int32)
half[E // 2:] = torch.arange(E // 2, dtype=torch.int32)
found["expert parallel"] = error(local=E // 2, map=half)

calls = []
import vllm_overrides.moe_a16w4.method as module
module.vllm_log = lambda: type("L", (), {"warning": lambda self, text, *words: calls.append(text % words)})()
try:
    for _ in range(2):
        fallen = made._make_moe_method(config(is_lora_enabled=True))
    found["fallback"] = type(fallen).__name__
except Exception as problem:  # what vLLM's own choice says on this machine
    found["fallback"] = "vLLM: " + str(problem)
    made_again = None
    try:
        made._make_moe_method(config(is_lora_enabled=True))
    except Exception:
        pass
found["said"] = calls
from vllm.config.load import LoadConfig
from vllm.model_executor.model_loader import get_model_loader
found["loader"] = type(get_model_loader(LoadConfig(load_format="random_mxfp4"))).__qualname__
print("RESULT " + json.dumps(found))
"""


def unpatched(target: Path) -> Path:
    """vLLM's Python as pinned, out of the patched checkout's history, beside its compiled operators."""
    tree = Layout.here().checkout("vllm")
    base = subprocess.run(["git", "-C", str(tree), "rev-parse", "--verify", "-q", "tunefork/base"], capture_output=True, check=False)
    if base.returncode:
        pytest.skip(f"NOT TESTED: {tree} holds no patched vllm; run `python3 build.py apply` first")
    packed = subprocess.run(["git", "-C", str(tree), "archive", "tunefork/base", "vllm"], capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(target, filter="data")
    for made in (*(tree / "vllm").rglob("*.so"), tree / "vllm/_version.py"):
        (target / made.relative_to(tree)).symlink_to(made)
    return target


@pytest.fixture(scope="module", params=["patched", "unpatched"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the process found, by the names that the tests use. Our entry points are those of pyproject.toml, whatever is installed.

    patched: the vLLM that is installed, where the name alone is asked for.  unpatched: its pin, which has the override alone.
    """
    installed = tmp_path_factory.mktemp("installed")
    metadata = installed / "tunefork-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: tunefork\nVersion: 0\n")
    points = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["entry-points"]
    text = "".join(f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in one.items()) for group, one in points.items())
    (metadata / "entry_points.txt").write_text(text)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TUNEFORK_", "VLLM_"))}
    first = [str(installed)] if request.param == "patched" else [str(installed), str(unpatched(tmp_path_factory.mktemp("pin")))]
    done = subprocess.run(
        [sys.executable, "-P", "-c", CASES], capture_output=True, text=True, timeout=300, check=False,
        env=inherited | {"TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join([*first, inherited.get("PYTHONPATH", "")])},
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(lines[0].removeprefix("RESULT "))
    assert not (request.param == "unpatched" and result["hook"]), "the pin came out with our patches in it"
    return result


def test_the_flag_alone_chooses_our_method(found: dict[str, Any]) -> None:
    """On the patched vLLM, without a variable; what the kernel does not serve stops the start with the reason, and auto is vLLM's own."""
    if not found["hook"]:
        assert found["flag"].startswith("ValidationError") and "tunefork_a16w4" in found["flag"], "an unpatched vLLM knows its own names only"
        return
    assert (found["flag"], found["by name"]) == ("tunefork_a16w4", "A16w4MoEMethod")
    assert "'tunefork_a16w4' does not support the deployment configuration since LoRA" in found["by name, LoRA"]
    assert "since moe_a16w4: tested with vLLM" in found["by name, untested"] and "0.30.1" in found["by name, untested"]
    assert found["auto"] != "A16w4MoEMethod"


def test_vllm_chooses_our_method(found: dict[str, Any]) -> None:
    assert found["method"] == "A16w4MoEMethod"
    assert found["config"] == ("GptOssMxfp4Config" if found["hook"] else "A16w4GptOssConfig")
    assert found["override"] == "gpt_oss_mxfp4"


def test_sizes_are_rounded_to_whole_scale_blocks_only(found: dict[str, Any]) -> None:
    assert found["sizes"] == [64, 64]


def test_the_layer_is_right(found: dict[str, Any]) -> None:
    """Also, in the process: the parameters are restored bit for bit, and a step of no token has an answer."""
    assert found["error"] < 0.01


def test_expert_parallelism_computes_this_ranks_part(found: dict[str, Any]) -> None:
    assert found["expert parallel"] < 0.01


def test_a_step_above_the_kernels_limit_is_split(found: dict[str, Any]) -> None:
    assert found["split"] == [[3, 3, 3, True], [3, 3, 3, True], [1, 1, 1, True]]


def test_torch_compile_sees_a_box_of_a_known_shape(found: dict[str, Any]) -> None:
    assert found["fake"] == ["FakeTensor", [5, 64], "torch.bfloat16", True]


def test_what_it_does_not_cover_is_vllms_and_said_once(found: dict[str, Any]) -> None:
    assert found["fallback"] == "GptOssMxfp4MoEMethod" or found["fallback"].startswith("vLLM: ")
    assert len(found["said"]) == 1 and "vLLM's own MoE serves, not ours: LoRA" in found["said"][0]


def test_the_load_format_is_registered(found: dict[str, Any]) -> None:
    assert found["loader"] == "RandomMxfp4Loader"
