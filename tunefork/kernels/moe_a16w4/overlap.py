"""Programmatic dependent launch (nvidia): a launch starts before the one before it ends, and waits where it needs its results.

Every program of a chained launch waits at some point, also one without work: a complete launch then means that all before it are complete.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def wait(OVERLAP: tl.constexpr):
    """Until the launch before this one is complete. What that launch waited for itself may be read earlier, through L2."""
    if OVERLAP:
        tl.extra.cuda.gdc_wait()


@triton.jit
def release(OVERLAP: tl.constexpr):
    """Let the next launch start where there is room."""
    if OVERLAP:
        tl.extra.cuda.gdc_launch_dependents()
