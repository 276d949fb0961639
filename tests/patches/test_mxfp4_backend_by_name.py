"""vllm/mxfp4-backend-by-name: a plugin's MXFP4 MoE backend is registered, chosen by --moe-backend, and refused in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal
from unittest.mock import MagicMock

import pytest

NAME = "vllm/mxfp4-backend-by-name"
HOOK = "vllm/model_executor/layers/fused_moe/oracle/mxfp4_out_of_tree.py"
QUANTIZATION, KERNEL = "vllm/model_executor/layers/quantization/mxfp4.py", "vllm/config/kernel.py"

RunSource = Callable[..., ModuleType]


@pytest.fixture
def hook(patched: Any, run_source: RunSource) -> ModuleType:
    """The registry by itself, over a vLLM whose own backends are two."""
    root = MagicMock(name="vllm")
    root.config.kernel.MoEBackend = Literal["auto", "triton"]
    root.config.kernel.OUT_OF_TREE_MOE_BACKENDS = set()
    return run_source(patched(NAME).after(HOOK), root, ("vllm",))


def asking(backend: str) -> SimpleNamespace:
    return SimpleNamespace(moe_backend=backend)


def test_the_chosen_backend_makes_the_method(hook: ModuleType) -> None:
    asked: list[Any] = []
    hook.register_mxfp4_moe_backend("mine", lambda config: (asked.append(config) or "method", ""))
    assert hook.registered() == ["mine"] and {"mine"} == hook.OUT_OF_TREE_MOE_BACKENDS
    config = asking("mine")
    assert hook.make_out_of_tree_mxfp4_method(config) == "method" and asked == [config]
    for other in ("auto", "triton", "yours"):
        assert hook.make_out_of_tree_mxfp4_method(asking(other)) is None
    assert asked == [config], "a backend that did not ask for auto is not asked"


def test_auto_asks_those_that_want_it_and_falls_through(hook: ModuleType) -> None:
    hook.register_mxfp4_moe_backend("silent", lambda config: ("silent's", ""))
    hook.register_mxfp4_moe_backend("first", lambda config: (None, "LoRA is on"), auto=True)
    assert hook.make_out_of_tree_mxfp4_method(asking("auto")) is None
    hook.register_mxfp4_moe_backend("second", lambda config: ("second's", ""), auto=True)
    assert hook.make_out_of_tree_mxfp4_method(asking("auto")) == "second's"
    with pytest.raises(ValueError, match="'first' does not support the deployment configuration since LoRA is on"):
        hook.make_out_of_tree_mxfp4_method(asking("first"))


def test_a_declared_backend_is_loaded_when_it_is_chosen(hook: ModuleType) -> None:
    """An entry point of an installed package: by its name alone, not under auto, behind a registered one of the same name."""
    loaded: list[str] = []

    def entry_points(*, group: str, name: str) -> list[Any]:
        assert group is hook.OUT_OF_TREE_MOE_BACKENDS_GROUP
        point = SimpleNamespace(load=lambda: loaded.append(name) or (lambda config: ("declared's", "")))
        return [point] if name == "declared" else []

    hook.entry_points = entry_points
    for other in ("auto", "triton", "unknown"):
        assert hook.make_out_of_tree_mxfp4_method(asking(other)) is None
    assert not loaded
    assert hook.make_out_of_tree_mxfp4_method(asking("declared")) == "declared's" and loaded == ["declared"]
    assert hook.registered() == [], "a plugin of the same package may still register it"
    hook.register_mxfp4_moe_backend("mine", lambda config: ("mine's", ""))
    assert hook.make_out_of_tree_mxfp4_method(asking("mine")) == "mine's"


@pytest.mark.parametrize(("name", "why"), [("triton", "exists already"), ("mine", "exists already"), ("my-backend", "lower case"), ("Mine", "lower case")])
def test_names_are_unique_and_spelt_as_the_flag(hook: ModuleType, name: str, why: str) -> None:
    hook.register_mxfp4_moe_backend("mine", lambda config: ("method", ""))
    with pytest.raises(ValueError, match=why):
        hook.register_mxfp4_moe_backend(name, lambda config: ("method", ""))


@pytest.mark.parametrize("side", ["before", "after"])
def test_gpt_oss_asks_the_registry_first(patched: Any, extract: Callable[[str, str], str], side: str) -> None:
    source = extract(getattr(patched(NAME), side)(QUANTIZATION), "GptOssMxfp4Config._make_moe_method")
    for made, expected in (("plugin's", {"before": "vllm's", "after": "plugin's"}), (None, {"before": "vllm's", "after": "vllm's"})):
        space: dict[str, Any] = {"make_out_of_tree_mxfp4_method": lambda moe, made=made: made, "GptOssMxfp4MoEMethod": lambda moe: "vllm's"}
        exec(source, space)
        assert space["_make_moe_method"](None, object()) == expected[side]


ENGINE = """
import json, sys
from vllm.engine.arg_utils import EngineArgs
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.config.kernel import KernelConfig
found = {}
def outcome(work):
    try:
        return work()
    except (ValueError, SystemExit) as error:
        return f"refused: {error}"
parser = EngineArgs.add_cli_args(FlexibleArgumentParser())
for name in ("mine", "My-Other", "triton", "tritn"):
    found[name] = outcome(lambda: parser.parse_args(["--moe-backend", name]).moe_backend)
def registered():
    from vllm.model_executor.layers.fused_moe.oracle.mxfp4_out_of_tree import register_mxfp4_moe_backend
    register_mxfp4_moe_backend("mine", lambda config: (None, "it is a test"))
if sys.argv[1] == "after":
    registered()
for name in ("mine", "tritn", "TRITON", "declared"):
    found["config " + name] = outcome(lambda: KernelConfig(moe_backend=name).moe_backend)
print("RESULT " + json.dumps(found))
"""


@pytest.mark.e2e
def test_the_flag_takes_a_registered_name_and_refuses_others(patched: Any, tmp_path: Path) -> None:
    """Through vLLM's own parser and configuration, of the patched tree; "declared" is an entry point whose module does not exist: nobody loads it."""
    metadata = tmp_path / "other-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[vllm.mxfp4_moe_backends]\ndeclared = nowhere.to_be_found:factory\n")
    tree = patched(NAME).tree
    pytest.importorskip("vllm", reason="NOT TESTED: vLLM is not installed (`python3 build.py develop`)")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("TUNEFORK_", "VLLM_"))}
    done = subprocess.run([sys.executable, "-P", "-c", ENGINE, "after"], env=inherited | {"PYTHONPATH": f"{tree}{os.pathsep}{tmp_path}", "VLLM_PLUGINS": ""}, capture_output=True,
                          text=True, timeout=300, check=False)  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    assert lines, done.stderr[-3000:]
    found = json.loads(lines[0].removeprefix("RESULT "))
    assert (found["mine"], found["My-Other"], found["triton"]) == ("mine", "my_other", "triton")
    assert found["config mine"] == "mine" and found["config TRITON"] == "triton" and found["config declared"] == "declared"
    assert "neither a backend of vLLM nor registered by a plugin" in found["config tritn"] and "'mine'" in found["config tritn"]


def test_without_the_patch_the_configuration_knows_vllms_names_only(patched: Any) -> None:
    patch = patched(NAME)
    assert 'moe_backend: MoEBackend = "auto"' in patch.before(KERNEL) and "check_moe_backend" not in patch.before(KERNEL)
    assert "return check_moe_backend(value)" in patch.after(KERNEL)
