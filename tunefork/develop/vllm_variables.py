"""VLLM_* environment variables that do nothing: misspelt, gone, or defined and never used. vLLM itself at most logs a warning."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

# Names that guides for this hardware give. The reason is what a user of them wants instead.
WITHOUT_EFFECT = {
    "VLLM_ROCM_USE_AITER_FUSED_MOE_A16W4": "A16W4 is already what vLLM uses below 256 tokens; unset it",
    "VLLM_USE_AITER_UNIFIED_ATTENTION": "choose it with --attention-backend ROCM_AITER_UNIFIED_ATTN",
    "VLLM_ROCM_USE_AITER_UNIFIED_ATTENTION": "it is defined but nothing asks for it; use --attention-backend ROCM_AITER_UNIFIED_ATTN",
}
# Read by vLLM's setup.py or its build scripts rather than listed in envs.py.
READ_ELSEWHERE = frozenset({"VLLM_VERSION_OVERRIDE", "VLLM_REQUIRE_RUST_FRONTEND", "VLLM_PRECOMPILED_WHEEL_VARIANT",
                            "VLLM_PRECOMPILED_WHEEL_COMMIT", "VLLM_ROCM_WHEEL_INDEX", "VLLM_DISABLE_SCCACHE",
                            "VLLM_RS_BUILD_VERSION"})  # fmt: skip


@dataclass(frozen=True)
class Dead:
    """A variable that is set and has no effect. advice: what to do instead."""

    name: str
    advice: str


def defined(envs: Path) -> frozenset[str]:
    """The names that a vllm/envs.py defines: the keys of its ``environment_variables``. The file is parsed, not run."""
    for node in ast.parse(envs.read_text(encoding="utf-8")).body:
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id == "environment_variables":
            assert isinstance(node, ast.AnnAssign | ast.Assign)
            keys = node.value.keys if isinstance(node.value, ast.Dict) else []
            return frozenset(key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))
    return frozenset()


def dead(environment: Mapping[str, str], known: Collection[str]) -> list[Dead]:
    """The VLLM_* variables of an environment that have no effect, given the names that vLLM knows."""
    found = []
    for name in sorted(name for name in environment if name.startswith("VLLM_")):
        if name in WITHOUT_EFFECT:
            found.append(Dead(name, WITHOUT_EFFECT[name]))
        elif name not in known and name not in READ_ELSEWHERE:
            near = difflib.get_close_matches(name, [other for other in known if other.startswith("VLLM_")], n=1)
            found.append(Dead(name, f"did you mean {near[0]}?" if near else "unset it"))
    return found
