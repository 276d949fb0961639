"""The number of live rows in a padded CUDA graph, where vLLM keeps it on the device."""

from __future__ import annotations

from typing import Any

import torch


def live_rows(context: Any, device: torch.device) -> torch.Tensor | None:
    """[1] int32 on ``device``: rows that hold tokens; None where no graph is being captured or vLLM has no such count.

    A FULL graph is padded to its size in rows and in requests. The attention metadata that it is captured with holds
    ``query_start_loc`` (requests + 1), a view of a buffer that vLLM fills before each replay and whose tail it fills with the number
    of tokens: so the last element is the count. A PIECEWISE graph is not tied to a number of requests, hence to no place in that buffer.
    vLLM's V2 runner captures FULL graphs under the mode NONE; NONE without a capture is an eager step, which has no padding.
    """
    if context is None or context.cudagraph_runtime_mode.name == "PIECEWISE" or not capturing(device):
        return None
    metadata = context.attn_metadata
    if not isinstance(metadata, dict):  # absent, or one per micro-batch
        return None
    for layer in metadata.values():
        starts = getattr(layer, "query_start_loc", None)
        if isinstance(starts, torch.Tensor) and starts.dtype == torch.int32 and starts.device == device and starts.numel() > 1:
            return starts[-1:]
    return None


def capturing(device: torch.device) -> bool:
    """Whether the current stream of this device is recording a graph."""
    return device.type == "cuda" and bool(torch.cuda.is_current_stream_capturing())
