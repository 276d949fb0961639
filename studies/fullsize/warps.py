"""triton_kernels' MoE with another number of warps than vLLM asks for: the best form of that peer at many sizes (docs/kernels-moe.md).

A plugin of vLLM for this study alone: `installed` makes a folder for PYTHONPATH in which vLLM finds it.
"""

from __future__ import annotations

import os
from pathlib import Path

from tunefork.base.files import write_atomically

VARIABLE = "TUNEFORK_STUDY_WARPS"


def register() -> None:
    """Have vLLM lay out MXFP4 scales for the number of warps in the variable: the kernel takes its warps from that layout.

    Raises:
        RuntimeError: vLLM's function takes no such default, so that an arm would be measured as another.
    """
    asked = os.environ.get(VARIABLE)
    if not asked:
        return
    from vllm.model_executor.layers.quantization.utils import mxfp4_utils

    if mxfp4_utils._swizzle_mxfp4.__defaults__ not in ((8,), (int(asked),)):
        raise RuntimeError(f"{VARIABLE}: _swizzle_mxfp4 has the defaults {mxfp4_utils._swizzle_mxfp4.__defaults__}, expected (8,)")
    mxfp4_utils._swizzle_mxfp4.__defaults__ = (int(asked),)


def installed(folder: Path) -> Path:
    """A folder whose distribution names `register` as a plugin: on PYTHONPATH of a server, no pip has to know of it.

    Without it an arm that sets the variable serves as vLLM ships, and nothing says so: on 2026-12-01 a start of T had A's times to 0.2 %.
    """
    named = folder / "study-plugin/tunefork_study-0.dist-info"
    write_atomically(named / "METADATA", b"Metadata-Version: 2.1\nName: tunefork-study\nVersion: 0\n")
    write_atomically(named / "entry_points.txt", f"[vllm.general_plugins]\ntunefork_study_warps = {__name__}:register\n".encode())
    return named.parent
