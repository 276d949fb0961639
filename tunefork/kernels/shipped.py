"""One kernel that Tunefork ships, in one configuration and one shape class: the row that the gfx950 gate compiles, counts and runs.

The registry (``tunefork.kernels.registry.shipped()``) returns these; this module imports neither torch nor triton.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Shipped:
    """What to compile, and how to prove that it computes the right thing.

    kernel: the kernel's name in budgets and reports, for example "moe_a16w4.gemm1".
    fn: the ``@triton.jit`` function, defined at the top of an importable module.
    config: a short name of the configuration, unique among the rows of one kernel and shape.
    shape: the shape class in words, for example "tp8 M=1".
    signature: argument name -> Triton type ("*bf16", "i32", "fp32", ...); constexprs may be left out.
    constexprs: argument name -> value.
    options: Triton options: num_warps, num_stages, waves_per_eu, matrix_instr_nonkdim, ...
    attrs: argument name -> divisor known at compile time (16 for aligned pointers and strides); or Triton's own form,
        (argument number,) -> [["tt.divisibility", 16], ...].
    grid: the launch grid of this shape class, where the gate has to count work-groups.
    least_groups: work-groups at the smallest number of tokens that takes this configuration, where the grid does not depend on the routing.
    weights: names of the arguments that hold packed weight values; tail_loads: loads of them that a wave may do narrower than 16 bytes, for the end
        of K that fills no whole chunk.  trips: iterations of the main loop.  wave_weights: bytes of weight values in one wave's part of the matrix.
    check: runs the op at the smallest shape that exercises this configuration and returns its relative error against the
        fp32 reference. It is called with kernels going to the gfx950 executor, on CPU tensors; None: not executed.
    tolerance: the largest relative error that passes.
    """

    kernel: str
    fn: Any
    config: str
    shape: str
    signature: Mapping[str, str]
    constexprs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    attrs: Mapping[Any, Any] = field(default_factory=dict)
    grid: tuple[int, int, int] | None = None
    least_groups: int | None = None
    weights: tuple[str, ...] = ()
    tail_loads: int = 0
    trips: int = 0
    wave_weights: float = 0.0
    check: Callable[[], float] | None = None
    tolerance: float = 4e-3

    @property
    def arguments(self) -> list[str]:
        """The run-time arguments by name, in order."""
        return [name for name in self.fn.arg_names if name not in self.constexprs and self.signature.get(name) != "constexpr"]

    @property
    def label(self) -> str:
        """Kernel, configuration and shape in one line, as messages name a row."""
        return f"{self.kernel} [{self.config}] {self.shape}"
