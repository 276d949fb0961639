"""The kernels of a server's capture sizes, compiled beside its start: in a process of its own, which the server does not wait for.

Without it the first start compiles them one after the other while graphs are captured.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from functools import cache

from tunefork.base.process import bound
from tunefork.kernels.moe_a16w4 import Weights
from tunefork.kernels.moe_a16w4.plan import settle_keys


def command(weights: Weights, sizes: Iterable[int], topk: int, routed: int | None) -> list[str]:
    """What compiles the kernels of these sizes. routed: the router's experts, where not all are local."""
    words = [sys.executable, "-m", "tunefork.kernels.warming", weights.layout13.arch, "--hidden", str(weights.hidden), "--intermediate",
             str(weights.intermediate), "--experts", str(weights.experts), "--topk", str(topk), "--wide", str(int(weights.layout13.wide)),
             str(int(weights.layout2.wide)), "--live", "1", "0", "--once", "--tokens", *map(str, sizes)]  # fmt: skip
    return words if routed is None else [*words, "--routed", str(routed)]


@cache
def start(words: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Once for each command of this process: all layers of a model ask for the same."""
    return subprocess.Popen(bound(list(words)), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def capture_sizes() -> tuple[int, ...]:
    """Of the server whose layers are being made; none on a device that no kernel is compiled for, or outside vLLM's making of a model."""
    from vllm.config import get_current_vllm_config_or_none
    from vllm.platforms import current_platform

    config = get_current_vllm_config_or_none()
    if config is None or not (current_platform.is_cuda() or current_platform.is_rocm()):
        return ()
    return tuple(config.compilation_config.cudagraph_capture_sizes or ())


def compile_ahead(weights: Weights, sizes: tuple[int, ...], topk: int, routed: int | None) -> None:
    """Start it, once for a model; nothing for no sizes."""
    if sizes:
        settle_keys()  # here as there, before any other kernel that shares a helper with them
        start(tuple(command(weights, sizes, topk, routed)))
