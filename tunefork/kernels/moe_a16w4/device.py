"""The one place that asks what Triton will compile for; CPU tensors are fine under the interpreter or a driver that executes machine code."""

from __future__ import annotations

from dataclasses import dataclass

import triton
from triton.runtime.interpreter import InterpretedFunction

from tunefork.base.errors import BadInput
from tunefork.kernels.arch import GFX950, SM90
from tunefork.kernels.moe_a16w4 import kernel


@dataclass(frozen=True)
class Target:
    """arch: the name (kernels/arch.py) whose configurations and weight layout to use. asm: whether the kernels may use its instructions (the
    interpreter has none)."""

    arch: str
    asm: bool


def target() -> Target:
    """What the active Triton driver compiles for. Errors: BadInput for a GPU whose instructions cannot decode MXFP4 as the kernels do."""
    if isinstance(kernel.up_kernel, InterpretedFunction):
        return Target(SM90.name, asm=False)
    active = triton.runtime.driver.active.get_current_target()
    if active.backend == GFX950.backend:
        if active.arch != GFX950.processor:
            raise BadInput(f"no MXFP4 decode for {active.arch}", "gfx950 has the FP4 conversion this kernel needs")
        return Target(GFX950.name, asm=True)
    if active.backend == SM90.backend and active.arch >= SM90.processor:
        return Target(SM90.name, asm=True)
    raise BadInput(f"no MXFP4 decode for {active.backend} {active.arch}", "gfx950, or NVIDIA of compute capability 9.0 and newer")
