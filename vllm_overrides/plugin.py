"""The entry point of the group ``vllm.general_plugins``: vLLM calls it in its front end, in the engine and in every worker."""

from __future__ import annotations

import os


def register() -> None:
    """Apply what TUNEFORK_OVERRIDES names. Unset or empty, nothing is imported.

    Errors are raised, not logged: vLLM then stops at start, rather than serving without what was asked for.
    """
    asked = os.environ.get("TUNEFORK_OVERRIDES", "").strip()
    if not asked:
        return
    from vllm_overrides.registry import apply_named

    apply_named(asked, os.environ)
