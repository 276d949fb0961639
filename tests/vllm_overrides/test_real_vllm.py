"""The plugin in the real vLLM: discovered by its loader, through EngineArgs to the settled configuration.

Each case is a process of its own, as a server's front end is: it makes the configuration of a GPT-OSS, no engine. The CPU has no CUDA
graphs, so the platform is told to say otherwise; everything else is vLLM's.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from studies.fullsize import warps

if importlib.util.find_spec("vllm") is None:  # importing it here would cost every run that collects this file five seconds
    pytest.skip("NOT TESTED: vLLM is not installed (`python3 build.py develop`)", allow_module_level=True)
pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
GROUP = "vllm.general_plugins"
CONFIG = {
    "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64, "num_local_experts": 8, "num_experts_per_tok": 2,
    "vocab_size": 2048, "max_position_embeddings": 4096, "sliding_window": 128, "torch_dtype": "bfloat16",
    "layer_types": ["sliding_attention", "full_attention"],
}  # fmt: skip

FRONT_END = """
import json, sys
from vllm.platforms import current_platform
from vllm.platforms.interface import Platform
if sys.argv[2] == "graphs":
    type(current_platform).support_static_graph_mode = classmethod(lambda cls: True)
    type(current_platform).check_and_update_config = classmethod(lambda cls, config: None)
from vllm.engine.arg_utils import EngineArgs
args = EngineArgs(model=sys.argv[1], skip_tokenizer_init=True, max_num_seqs=16, max_num_batched_tokens=8192, max_model_len=4096,
                  enable_chunked_prefill=True, **json.loads(sys.argv[3]))
from vllm.model_executor.models.config import MODELS_CONFIG_MAP
from vllm.plugins import load_general_plugins
import vllm.plugins
vllm.plugins.plugins_loaded = False  # as if another process of the server loaded them again
hook = MODELS_CONFIG_MAP["GptOssForCausalLM"]
load_general_plugins()
assert MODELS_CONFIG_MAP["GptOssForCausalLM"] is hook
found = args.create_engine_config().compilation_config
print("RESULT " + json.dumps([found.cudagraph_capture_sizes, found.max_cudagraph_capture_size, found.compile_sizes, hook.__name__]))
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the configuration of a tiny GPT-OSS, no weights."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The entry point as pyproject.toml declares it, where importlib.metadata finds it (an older install may lack it)."""
    folder = tmp_path_factory.mktemp("site")
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][GROUP]
    info = folder / "tunefork_under_test-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tunefork-under-test\nVersion: 0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items()))
    return folder


def front_end(
    model: Path, installed: Path, environ: dict[str, str], platform: str = "graphs", **flags: Any
) -> tuple[subprocess.CompletedProcess[str], Any]:
    """Make a server's configuration. Returns the process, and [sizes, maximum, compile sizes, hook] or None."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TUNEFORK_", "VLLM_"))}
    paths = {"PYTHONPATH": os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])]), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-P", "-c", FRONT_END, str(model), platform, json.dumps(flags)],
        env=inherited | paths | environ, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return done, json.loads(lines[0].removeprefix("RESULT ")) if lines else None


PLAN = {"TUNEFORK_OVERRIDES": "capture_plan,guards", "TUNEFORK_CAPTURE_PLAN": "conc=4,8,16;isl=1024;osl=1024"}


def test_the_plan_is_what_vllm_captures(model: Path, installed: Path) -> None:
    done, found = front_end(model, installed, PLAN | {"VLLM_USE_AITER_UNIFIED_ATTENTION": "1"})
    assert found == [[4, 8, 16], 16, [], "PlannedGptOssConfig"], done.stderr[-3000:]
    log = done.stdout + done.stderr
    assert log.count("compilation_config.cudagraph_capture_sizes: None -> [4, 8, 16]") == 1
    assert log.count("guards: VLLM_USE_AITER_UNIFIED_ATTENTION has no effect") >= 1


def test_without_it_vllm_captures_its_own_list(model: Path, installed: Path) -> None:
    from vllm_overrides.capture.rules import Limits, default_sizes

    done, found = front_end(model, installed, {})
    limits = Limits(max_num_seqs=16, max_num_batched_tokens=8192)
    assert found == [default_sizes(limits), 1024, [], "GptOssForCausalLMConfig"], done.stderr[-3000:]
    assert len(found[0]) == 83


def test_a_users_list_wins(model: Path, installed: Path) -> None:
    done, found = front_end(model, installed, PLAN, cudagraph_capture_sizes=[2, 6])
    assert found == [[2, 6], 6, [], "PlannedGptOssConfig"], done.stderr[-3000:]
    assert "your flags win" in done.stdout + done.stderr


def test_the_yaml_file_gives_the_same_sizes(model: Path, installed: Path, tmp_path: Path) -> None:
    """Read by vLLM's own parser of --config, as `vllm serve` does."""
    from vllm_overrides.capture.options import Options
    from vllm_overrides.capture.plan import make_plan

    file = tmp_path / "sizes.yaml"
    file.write_text(make_plan(Options(conc=(4, 16))).as_yaml())
    code = (
        "import sys\nfrom vllm.engine.arg_utils import EngineArgs\nfrom vllm.utils.argparse_utils import FlexibleArgumentParser\n"
        "parser = EngineArgs.add_cli_args(FlexibleArgumentParser())\n"
        "found = parser.parse_args(['--config', sys.argv[1]]).compilation_config\n"
        "print('RESULT', found.cudagraph_capture_sizes, found.max_cudagraph_capture_size, found.compile_sizes)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code, str(file)], capture_output=True, text=True, timeout=300, check=False)
    assert "RESULT [4, 16] 16 []" in done.stdout, done.stderr[-3000:]


@pytest.mark.parametrize(
    ("environ", "platform", "message"),
    [
        ({"TUNEFORK_OVERRIDES": "capture_plans"}, "graphs", "'capture_plans', which is no override"),
        (PLAN, "cpu", "capture_plan matches nothing: the platform 'cpu' has no CUDA graphs"),
    ],
)
def test_a_server_does_not_start_without_what_was_asked_for(
    environ: dict[str, str], platform: str, message: str, model: Path, installed: Path
) -> None:
    done, found = front_end(model, installed, environ, platform)
    assert found is None and done.returncode != 0
    assert message in done.stderr and "try: " in done.stderr


def test_the_arm_of_another_number_of_warps_lays_out_vllms_scales_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.model_executor.layers.quantization.utils import mxfp4_utils as utils

    monkeypatch.setattr(utils._swizzle_mxfp4, "__defaults__", utils._swizzle_mxfp4.__defaults__)
    warps.register()
    assert utils._swizzle_mxfp4.__defaults__ == (8,)
    monkeypatch.setenv(warps.VARIABLE, "4")
    warps.register()
    warps.register()
    assert utils._swizzle_mxfp4.__defaults__ == (4,)
    monkeypatch.setattr(utils._swizzle_mxfp4, "__defaults__", (16,))
    with pytest.raises(RuntimeError, match=r"\(16,\), expected \(8,\)"):
        warps.register()
