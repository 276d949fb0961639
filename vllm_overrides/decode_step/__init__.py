"""The override `decode_step`: add + norm + router + top-4 as the MoE kernel's first launches, and our skinny products, in GPT-OSS's blocks.

    TUNEFORK_OVERRIDES=moe_a16w4,decode_step vllm serve ...

vLLM's GptOssModel names the class of its blocks (`block_cls`); a subclass takes its place that differs in its forward alone. Steps of more tokens than the
kernels are faster at take a launch for the norm, torch's router and the MoE operator, in the same operator, so that one compiled graph holds for all.

coverage.py   which blocks are served, and why not the others
block.py      the block, and the linear method of its projections
operator.py   their operators, registered with fakes

Remove when: vLLM fuses these itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vllm_overrides.errors import OverrideError
from vllm_overrides.registry import Change, require_kernels

MODEL = "vllm.model_executor.models.gpt_oss"
TARGET = f"{MODEL}.GptOssModel.block_cls"


def override(environ: Mapping[str, str]) -> DecodeStep:
    """The override. Raises OverrideError where the kernels are not installed beside the plugin."""
    del environ  # it has no settings
    require_kernels("decode_step", "add_norm_router")
    return DecodeStep()


@dataclass(frozen=True)
class DecodeStep:
    """Puts our block where GPT-OSS's model names its class."""

    name: str = "decode_step"

    def targets(self) -> Sequence[str]:
        model = importlib.import_module(MODEL).GptOssModel
        if not hasattr(model, "block_cls"):
            raise OverrideError(f"decode_step: this vLLM has no {TARGET}", "leave decode_step out of TUNEFORK_OVERRIDES")
        return (TARGET,)

    def apply(self) -> Sequence[Change]:
        """Name our block. A second call changes nothing."""
        from vllm_overrides.decode_step.block import DecodeBlock

        model = importlib.import_module(MODEL).GptOssModel
        old = model.block_cls
        if old is DecodeBlock:
            return ()
        model.block_cls = DecodeBlock
        return (Change(TARGET, old.__qualname__, DecodeBlock.__qualname__),)
