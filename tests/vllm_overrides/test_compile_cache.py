"""A model that vLLM compiled and kept without an override does not serve with it: vLLM's own cache, a toy model, one process per start."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

if importlib.util.find_spec("vllm") is None:
    pytest.skip("NOT TESTED: vLLM is not installed (`python3 build.py develop`)", allow_module_level=True)
pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
# The CPU's platform compiles in another way, which keeps nothing: what a GPU's does is set by hand.
START = """
import sys, torch
from vllm.compilation.decorators import support_torch_compile
from vllm.config import CompilationConfig, CompilationMode, VllmConfig, set_current_vllm_config
from vllm.forward_context import set_forward_context
from vllm_overrides.compile_cache import tell
class Block(torch.nn.Module):
    def forward(self, x):
        return x + 1
class Ours(Block):
    def forward(self, x):
        return x + 2
@support_torch_compile(dynamic_arg_dims={"x": 0})
class Model(torch.nn.Module):
    def __init__(self, *, vllm_config, prefix=""):
        super().__init__()
        self.block = Ours() if sys.argv[1] == "ours" else Block()
    def forward(self, x):
        return self.block(x)
if sys.argv[2:]:
    tell(sys.argv[2:])
    tell(sys.argv[2:])
config = VllmConfig(compilation_config=CompilationConfig(mode=CompilationMode.VLLM_COMPILE, cudagraph_mode="NONE", custom_ops=["none"]))
settled = config.compilation_config
settled.mode, settled.backend, settled.splitting_ops, settled.compile_sizes = CompilationMode.VLLM_COMPILE, "inductor", [], []
with set_current_vllm_config(config), set_forward_context({}, config):
    model = Model(vllm_config=config)
    print("RESULT", model(torch.zeros(4, 8))[0, 0].item(), model.was_aot_compile_fn_loaded_from_disk)
"""


def start(folder: Path, *words: str) -> str:
    """What a process with these words answers, and whether it took a kept model."""
    (folder / "start.py").write_text(START)  # a file: torch.compile reads its source
    done = subprocess.run([sys.executable, "start.py", *words], check=False, cwd=folder, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "VLLM_CACHE_ROOT": str(folder / "cache"), "VLLM_PLUGINS": "",
                               "TORCHINDUCTOR_CPP_CACHE_PRECOMPILE_HEADERS": "0"})  # fmt: skip # else Inductor needs the program openssl
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert found, done.stdout + done.stderr
    return found[0].removeprefix("RESULT ")


def test_a_kept_model_serves_the_overrides_it_was_compiled_under_alone(tmp_path: Path) -> None:
    assert start(tmp_path, "shipped") == "1.0 False"
    assert start(tmp_path, "ours") == "1.0 True", "vLLM's key covers what a plugin changes: vllm_overrides/compile_cache.py can go"
    assert start(tmp_path, "ours", "decode_step") == "2.0 False"
    assert start(tmp_path, "ours", "decode_step") == "2.0 True"
