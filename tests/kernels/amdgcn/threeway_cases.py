"""Cases for test_threeway.py: one on which all agree, and one with each side wrong."""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from tunefork.kernels.amdgcn.threeway import Case

N = 100


@triton.jit
def scaled_kernel(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y + i, (tl.load(x + i, mask=i < n) * 3.0 + 1.0).to(y.dtype.element_ty), mask=i < n)


def numbers() -> torch.Tensor:
    return torch.randn(N, generator=torch.Generator().manual_seed(1))


def kernel(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    y = torch.zeros(N, dtype=dtype)
    scaled_kernel[(2,)](numbers(), y, N, BLOCK=64)
    return {"y": y}


def reference(dtype: torch.dtype = torch.float32, add: float = 1.0) -> dict[str, torch.Tensor]:
    return {"y": torch.addcmul(torch.tensor(add, dtype=torch.float64), numbers().double(), torch.tensor(3.0).double()).to(dtype)}


def negated(program: str) -> str:
    """The gfx950 text with its product taken with the wrong sign."""
    wrong = program.replace(", 0x40400000", ", 0xc0400000")
    assert wrong != program, "3.0 stands in the program"
    return wrong


good = Case(kernel, reference)
torch_wrong = Case(kernel, lambda: reference(add=1.5))
executor_wrong = Case(kernel, reference, program_filter=negated)
# Triton's interpreter cuts bits off where compiled code rounds (findings/triton_interpreter_bf16_truncates.sh).
interpreter_wrong = Case(lambda: kernel(torch.bfloat16), lambda: reference(torch.bfloat16), rtol=0.0, atol=0.0)


def as_a_function() -> Case:
    return good


def broken() -> Case:
    return Case(lambda: {"y": torch.zeros(1)[5:].reshape(2)}, reference)


other_outputs = Case(kernel, lambda: {"z": torch.zeros(1)})
