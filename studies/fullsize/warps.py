"""triton_kernels' MoE with another number of warps than vLLM asks for: the best form of that peer at many sizes (docs/kernels-moe.md).

A plugin of vLLM for this study alone: name ``studies.fullsize.warps:register`` as an entry point of ``vllm.general_plugins``.
"""

from __future__ import annotations

import os

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
