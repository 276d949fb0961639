"""What a server's start is made of, from the log of vLLM 0.29.0."""

from __future__ import annotations

import re

# Loading holds the preparation of weights. torch.compile: with what it found in vLLM's cache.
PHASES = {
    "load_s": r"Model loading took .* and ([\d.]+) seconds",
    "compile_s": r"torch\.compile took ([\d.]+) s in total",
    "capture_s": r"Graph capturing finished in ([\d.]+) secs",
    "graphs_gib": r"Graph capturing finished in .* took ([\d.]+) GiB",
}
CACHED = "Directly load AOT compilation from path"


def phases(log: str) -> dict[str, float | bool]:
    """Seconds of each phase, GiB of its CUDA graphs, and ``cached``: whether torch.compile's result was on the disk. What the log lacks is left out."""
    found: dict[str, float | bool] = {name: float(hit[1]) for name, pattern in PHASES.items() if (hit := re.search(pattern, log))}
    return {**found, "cached": CACHED in log} if "compile_s" in found else found
