"""The guards: what they find in an environment, and that the dead names are dead in vLLM's source."""

from __future__ import annotations

import ast
import logging
import re
from typing import Any

import pytest

from tunefork.base.upstream_facts.vllm import WITHOUT_EFFECT
from vllm_overrides.errors import OverrideError
from vllm_overrides.guards import bound_says, dead_names
from vllm_overrides.registry import apply_named

KNOWN = ["VLLM_ROCM_USE_AITER", "VLLM_ROCM_USE_AITER_MHA", "VLLM_ROCM_USE_AITER_UNIFIED_ATTENTION"]


def test_names_that_do_nothing() -> None:
    environ = dict.fromkeys([*KNOWN, "VLLM_VERSION_OVERRIDE", "VLLM_USE_AITER_UNIFIED_ATTENTION", "VLLM_ROCM_USE_AITER_MLHA", "VLLM_QQ", "HOME"], "1")
    found = dict(dead_names(environ, KNOWN))
    assert list(found) == ["VLLM_QQ", "VLLM_ROCM_USE_AITER_MLHA", "VLLM_ROCM_USE_AITER_UNIFIED_ATTENTION", "VLLM_USE_AITER_UNIFIED_ATTENTION"]
    assert found["VLLM_ROCM_USE_AITER_MLHA"].endswith("VLLM_ROCM_USE_AITER_MHA is")
    assert found["VLLM_QQ"] == "not a variable of this vLLM"
    assert all("--attention-backend ROCM_AITER_UNIFIED_ATTN" in found[name] for name in found if "UNIFIED" in name)


def test_they_are_in_the_log(vllm: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    apply_named("guards", {"VLLM_ROCM_USE_AITER_FUSED_MOE_A16W4": "1", "VLLM_USE_V1": "1", "AITER_BF16_FP8_MOE_BOUND": "512"})
    texts = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert len(texts) == 2
    assert texts[0][0] == "WARNING" and "VLLM_ROCM_USE_AITER_FUSED_MOE_A16W4 has no effect" in texts[0][1]
    assert texts[1][0] == "INFO" and "steps of 512 rows and more use fp8" in texts[1][1]


def test_what_the_bound_means() -> None:
    assert "steps of 256 rows and more use fp8 activations (A8W4), smaller ones bf16 (A16W4)" in bound_says(256)
    assert "every step use fp8" in bound_says(0)


def test_a_bound_that_is_no_number(vllm: Any) -> None:
    with pytest.raises(OverrideError, match="whole number of rows, got '2k'"):
        apply_named("guards", {"AITER_BF16_FP8_MOE_BOUND": "2k"})


def test_nothing_is_applied_beside_a_bad_bound(vllm: Any) -> None:
    before = dict(vllm.hooks)
    with pytest.raises(OverrideError, match="whole number"):
        apply_named("capture_plan,guards", {"TUNEFORK_CAPTURE_PLAN": "conc=4", "AITER_BF16_FP8_MOE_BOUND": "2k"})
    assert vllm.hooks == before


def test_the_dead_names_are_dead(source: Any) -> None:
    """Either vLLM does not know a name, or no code but the one that stores its value mentions it.

    The patch explain-environment lists the names as having no effect; that list alone is left out of what is searched.
    """
    named: dict[str, list[str]] = {name: [] for name in WITHOUT_EFFECT}
    called: list[str] = []
    for file in sorted((source.tree / "vllm").rglob("*.py")):
        text = re.sub(r"^names_without_effect: .*?^}$", "", file.read_text(), flags=re.DOTALL | re.MULTILINE)
        for name in WITHOUT_EFFECT:
            if name in text and re.search(rf"\b{name}\b", text):
                named[name].append(file.name)
        if "is_triton_unified_attn_enabled" in text or "_TRITON_UNIFIED_ATTN_ENABLED" in text:
            called.append(file.name)
    stored = "VLLM_ROCM_USE_AITER_UNIFIED_ATTENTION"
    assert named.pop(stored) == ["_aiter_ops.py", "envs.py"]
    assert all(not files for files in named.values())
    assert called == ["_aiter_ops.py"]
    ops = ast.parse((source.tree / "vllm/_aiter_ops.py").read_text())
    readers = [node for node in ast.walk(ops) if isinstance(node, ast.Attribute) and node.attr == "is_triton_unified_attn_enabled"]
    assert not readers
