"""What these tests share: vLLM's own source to compare with, and a stand-in for vLLM where the plugin protocol alone is tested."""

from __future__ import annotations

import ast
import logging
import os
import sys
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

TREE = Path(os.environ.get("TUNEFORK_TREE_VLLM") or Path(__file__).resolve().parents[2] / "work" / "vllm")


class Source:
    """vLLM's source, of which single definitions are executed: importing vLLM would need torch and take seconds."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree

    @cache  # noqa: B019 - one object per session
    def body(self, path: str) -> list[ast.stmt]:
        """The statements of a module."""
        return ast.parse((self.tree / path).read_text()).body

    @cache  # noqa: B019 - one object per session
    def definition(self, path: str, name: str) -> str:
        """The text of a class or function at the top of a module, or of ``Class.method``."""
        body = self.body(path)
        node: Any = None
        for part in name.split("."):
            node = next(one for one in body if getattr(one, "name", None) == part)
            body = getattr(node, "body", [])
        return ast.unparse(node)

    def run(self, space: dict[str, Any], *parts: tuple[str, str]) -> dict[str, Any]:
        """Execute definitions, each ``(path, name)``, in ``space``; annotations stay text."""
        for path, name in parts:
            exec("from __future__ import annotations\n" + self.definition(path, name), space)
        return space


@pytest.fixture(scope="session")
def source() -> Source:
    if not (TREE / "vllm" / "config" / "vllm.py").is_file():
        pytest.skip(f"NOT TESTED: no vLLM source at {TREE} (`python3 build.py apply vllm`, or TUNEFORK_TREE_VLLM)")
    return Source(TREE)


class Hook:
    """vLLM's adjustment for GPT-OSS, as far as sizes go, and a mark that it ran."""

    @staticmethod
    def verify_and_update_config(vllm_config: Any) -> None:
        vllm_config.adjusted_by_vllm = True
        config = vllm_config.compilation_config
        if config.cudagraph_capture_sizes is None and config.max_cudagraph_capture_size is None:
            config.max_cudagraph_capture_size = 1024


Hook.__module__ = "vllm.model_executor.models.config"


class StubVllm:
    """Modules in sys.modules that look like vLLM 0.33.0 to the plugin. `hooks`: MODELS_CONFIG_MAP."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.hooks: dict[str, Any] = {"GptOssForCausalLM": Hook}
        self.platform = SimpleNamespace(support_static_graph_mode=lambda: True, device_name="stub")
        self.vllm = self.module("vllm", __version__="0.33.0+p0123.cpu")
        self.module("vllm.logger", init_logger=logging.getLogger)
        self.module("vllm.envs", environment_variables={"VLLM_USE_V1": None, "VLLM_PLUGINS": None})
        self.vllm.envs = sys.modules["vllm.envs"]  # type: ignore[attr-defined]
        self.module("vllm.platforms", current_platform=self.platform)
        for name in ("vllm.model_executor", "vllm.model_executor.models"):
            self.module(name)
        self.module("vllm.model_executor.models.config", MODELS_CONFIG_MAP=self.hooks)

    def module(self, name: str, **names: Any) -> ModuleType:
        module = ModuleType(name)
        module.__dict__.update(names)
        self.monkeypatch.setitem(sys.modules, name, module)
        return module

    def config(self, **compilation: Any) -> SimpleNamespace:
        """A VllmConfig with what the override reads."""
        sizes = {"cudagraph_capture_sizes": None, "max_cudagraph_capture_size": None, "compile_sizes": None, "cudagraph_mode": None}
        return SimpleNamespace(
            compilation_config=SimpleNamespace(**(sizes | compilation)),
            model_config=SimpleNamespace(enforce_eager=False),
            scheduler_config=SimpleNamespace(max_num_seqs=16, max_num_batched_tokens=8192),
            parallel_config=SimpleNamespace(tensor_parallel_size=1),
            num_speculative_tokens=0,
        )


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> StubVllm:
    return StubVllm(monkeypatch)
