"""What a server's start is made of, from vLLM's log."""

from __future__ import annotations

import re

from tunefork.base.upstream_facts import vllm

# Loading holds the preparation of weights. torch.compile: with what it found in vLLM's cache.
PHASES = {"load_s": vllm.LOADED, "compile_s": vllm.COMPILED, "capture_s": vllm.CAPTURED, "graphs_gib": vllm.GRAPHS_GIB}


def phases(log: str) -> dict[str, float | bool | str]:
    """Seconds of each phase, GiB of its CUDA graphs, ``cached``: whether torch.compile's result was on the disk, and ``model``: the key that the compiled
    model is kept under; two starts with one key ran the same. What the log lacks is left out."""
    found: dict[str, float | bool | str] = {name: float(hit[1]) for name, pattern in PHASES.items() if (hit := re.search(pattern, log))}
    if kept := re.search(vllm.KEPT_MODEL, log):
        found["model"] = kept[1]
    return {**found, "cached": vllm.FROM_COMPILE_CACHE in log} if "compile_s" in found else found
