#!/bin/bash
# Triton's interpreter (TRITON_INTERPRET=1) adds, multiplies, negates and sorts bfloat16 as 16-bit integers.
#
# Guess written down before: bfloat16 arithmetic in the interpreter is float32's, rounded (or cut) afterwards: 1.5 + 1.5 is 3.0.
# Versions: Triton 3.7.1, 3.8.0 and 3.9.0, numpy 2.2.6, CPython 3.11.7, Linux, no GPU. The tensors are stand-ins for torch's; torch
#   2.13.0 (CPU) with Triton 3.7.1 gave the same.
# Behaviour: numpy has no bfloat16, so a block of them is kept as uint16, and +, -, *, unary -, tl.sum and tl.sort work on those
#   numbers: 1.5 + 1.5 is infinity, -(1.5) is -3.0, 1.0 * 1.0 is 2.0, a sum of 8 is 3e37, negative numbers sort above positive
#   ones. Nothing is warned. In 3.9.0 `x < 0` is false for all of them; before it was right. Compiled code is right: float32,
#   or bf16 instructions. So a kernel for the interpreter says .to(tl.float32) after each load; one that does not fails there
#   and is right on the GPU.
# Output seen (2026-11-30):
#   "3.7.1 interpreted: 1.5 + 1.5 = inf, 1.0 * 1.0 = 2.0, -(1.5) = -3.0, sorted 0.25 .. -5.0, sum 3.2e+37, -2.5 < 0 True"
#   the same for 3.8.0, and for 3.9.0 with "-2.5 < 0 False"; each "compiled for sm_90: float arithmetic"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > arithmetic.py <<'PYTHON'
import os
import re
import sys

import numpy as np
import triton
import triton.language as tl


class Array:
    """As much of a tensor as the interpreter asks for: numpy's memory under a type that numpy may lack."""

    def __init__(self, values, dtype):
        self.values, self.dtype, self.shape = values, dtype, values.shape
        self.storage_offset = self.stride = self.size = lambda: 0
        self.untyped_storage = self.cpu = lambda: self

    def data_ptr(self):
        return self.values.ctypes.data

    def new_empty(self, *_, **__):
        return self

    def set_(self, *_):
        pass

    def copy_(self, *_):
        pass

@triton.jit
def arithmetic(x, y):
    at = tl.arange(0, 8)
    a = tl.load(x + at)
    tl.store(y + at, a + a)
    tl.store(y + 8 + at, a * a)
    tl.store(y + 16 + at, -a)
    tl.store(y + 24 + at, tl.sort(a))
    tl.store(y + 32 + at, tl.sum(a, 0) + at * 0.0)
    tl.store(y + 40 + at, tl.where(a < 0, 1.0, 0.0))


print(f"Triton {triton.__version__}", end=" ")
if os.environ["TRITON_INTERPRET"] == "1":
    numbers = np.array([1.5, -2.5, 3.0, -0.5, 1.0, -5.0, 0.25, 2.0], np.float32)
    found = np.zeros(48, np.uint16)
    arithmetic[(1,)](Array((numbers.view(np.uint32) >> 16).astype(np.uint16), "bfloat16"), Array(found, "bfloat16"))
    twice, square, minus, order, total, below = (found.astype(np.uint32) << 16).view(np.float32).reshape(6, 8)
    print(f"interpreted: 1.5 + 1.5 = {twice[0]}, 1.0 * 1.0 = {square[4]}, -(1.5) = {minus[0]}, sorted {order[0]} .. {order[-1]}, "
          f"sum {total[0]:.1e}, -2.5 < 0 {bool(below[1])}")
    if not (np.isinf(twice[0]) and square[4] == 2 and minus[0] == -3 and order[-1] == -5 and total[0] > 1e37
            and bool(below[1]) == (triton.__version__ != "3.9.0")):
        sys.exit(f"changed: the interpreter of Triton {triton.__version__} computes otherwise with bfloat16")
else:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    code = triton.compile(ASTSource(fn=arithmetic, signature={"x": "*bf16", "y": "*bf16"}), target=GPUTarget("cuda", 90, 32)).asm["ptx"]
    floats = set(re.findall(r"^\s+((?:add|mul|fma|sub|neg)\S*(?:f32|bf16x?2?))\s", code, re.M))
    print("compiled for sm_90:", "float arithmetic" if floats else "none")
    if not floats:
        sys.exit(f"changed: Triton {triton.__version__} compiles it without float arithmetic")
PYTHON

for version in ${VERSIONS:-3.7.1 3.8.0 3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet "triton==$version" numpy==2.2.6 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_INTERPRET=1 "v$version/bin/python" -W ignore arithmetic.py
    TRITON_INTERPRET=0 TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" -W ignore arithmetic.py
    rm -rf "v$version"
done
