"""The entry point behind ``--moe-backend tunefork_a16w4`` (pyproject.toml, group ``vllm.mxfp4_moe_backends``), of a vLLM with our patch.

The patched vLLM loads it once the flag names it. No override is applied, and no variable is read but the one that lets an untested vLLM pass.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from vllm_overrides.errors import OverrideError
from vllm_overrides.moe_a16w4 import BACKEND
from vllm_overrides.moe_a16w4.coverage import refusal
from vllm_overrides.registry import check, collect, vllm_log


def method_or_reason(moe: Any) -> tuple[Any, str]:
    """(our MoE method, "") for a FusedMoEConfig, or (None, why not): vLLM stops with that reason."""
    if why := problem() or refusal(moe, named=BACKEND):
        return None, why
    from vllm_overrides.moe_a16w4.method import A16w4MoEMethod

    return A16w4MoEMethod(moe), ""


@cache
def problem() -> str:
    """Why no layer at all can be served here; empty where one may be."""
    try:
        check(collect("moe_a16w4", os.environ), os.environ, vllm_log())
    except OverrideError as error:
        return f"{error.message} ({error.remedy})"
    return ""
