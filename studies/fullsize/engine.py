"""vLLM's engine in this process on a model of ``studies.fullsize.model``, for what a server does not show: logits, and single kernels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from studies.fullsize.arms import ATTENTION

OVERRIDES = {"shipped": "random_mxfp4", "ours": "random_mxfp4,moe_a16w4", "step": "random_mxfp4,moe_a16w4,decode_step"}


def started(model: Path, moe: str, **settings: Any) -> Any:
    """An LLM with random weights. moe: of OVERRIDES.  settings: more of LLM's arguments.

    TUNEFORK_STUDY_ATTENTION: an attention backend other than TRITON_ATTN, or auto: vLLM's choice.
    """
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ["TUNEFORK_OVERRIDES"] = OVERRIDES[moe]
    from vllm import LLM

    if (attention := os.environ.get("TUNEFORK_STUDY_ATTENTION", ATTENTION)) != "auto":
        settings["attention_config"] = {"backend": attention}
    return LLM(str(model), load_format="random_mxfp4", kv_cache_memory_bytes=1 << 30,
               gpu_memory_utilization=0.1, enable_prefix_caching=False, disable_log_stats=True, **settings)  # fmt: skip


def prompts(count: int, length: int) -> list[Any]:
    """Random token ids, the same in every run."""
    import torch

    generator = torch.Generator().manual_seed(0)
    return [{"prompt_token_ids": torch.randint(256, 190_000, (length,), generator=generator).tolist()} for _ in range(count)]
