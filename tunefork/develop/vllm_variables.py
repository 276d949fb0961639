"""VLLM_* environment variables that do nothing: misspelt, gone, or defined and never used. vLLM itself at most logs a warning."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.near import near, question
from tunefork.base.upstream_facts.vllm import READ_ELSEWHERE, WITHOUT_EFFECT


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
            found.append(Dead(name, question(near(name, [other for other in known if other.startswith("VLLM_")])).rstrip() or "unset it"))
    return found
