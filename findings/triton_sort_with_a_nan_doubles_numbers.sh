#!/bin/bash
# Triton: tl.sort and tl.topk of a block with one NaN drop numbers and give others twice.
#
# Guess written down before: the NaN comes last in the interpreter; compiled, the order around it breaks. (The zeros were met after.)
# Versions: Triton 3.7.1, 3.8.0 and 3.9.0, numpy 2.2.6, CPython 3.11.7, Linux, no GPU: run in the interpreter, where the same sort
#   runs that is compiled (it is written in Triton).
# Behaviour: both sides of an exchange decide for themselves, the right one by "not (x > y)". With a NaN both comparisons are
#   false, so the two sides keep one number twice and lose the other. What is lost depends on where the NaN stands; at the first
#   place all eight become NaN, at others the NaN vanishes without a trace. tl.topk alike: 7 6 7 3 of 1 6 3 4 NaN 5 7 2. -0.0 and
#   0.0, equal and not the same, become -0.0 twice. torch.topk and numpy put a NaN at an end. So a router whose logits have one
#   NaN picks one expert twice, with finite weights; a key that holds value and index as one integer has no such pairs.
# Output seen (2026-11-30), the same for all three versions:
#   "NaN at 0: nan nan nan nan nan nan nan nan; at 3: 1 2 1 6 5 6 7 8; top 4, NaN at 4: 7 6 7 3; with -0 and 0: -0 -0 1 2 3 5 7 8"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > order.py <<'PYTHON'
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
def order(x, y):
    tl.store(y + tl.arange(0, 8), tl.sort(tl.load(x + tl.arange(0, 8))))


@triton.jit
def largest(x, y):
    tl.store(y + tl.arange(0, 4), tl.topk(tl.load(x + tl.arange(0, 8)), 4))


def of(kernel, length, *values):
    found = np.zeros(length, np.float32)
    kernel[(1,)](Array(np.array(values, np.float32), "float32"), Array(found, "float32"))
    return " ".join(f"{each:g}" for each in found)


nan = np.nan
seen = (f"NaN at 0: {of(order, 8, nan, 6, 3, 4, 8, 5, 7, 2)}; at 3: {of(order, 8, 1, 6, 3, nan, 8, 5, 7, 2)}; "
        f"top 4, NaN at 4: {of(largest, 4, 1, 6, 3, 4, nan, 5, 7, 2)}; with -0 and 0: {of(order, 8, 1, -0.0, 3, 0.0, 8, 5, 7, 2)}")
print(f"Triton {triton.__version__}:", seen)
before = ("NaN at 0: nan nan nan nan nan nan nan nan; at 3: 1 2 1 6 5 6 7 8; top 4, NaN at 4: 7 6 7 3; "
          "with -0 and 0: -0 -0 1 2 3 5 7 8")
if seen != before:
    sys.exit(f"changed: Triton {triton.__version__} sorts otherwise")
PYTHON

for version in ${VERSIONS:-3.7.1 3.8.0 3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet "triton==$version" numpy==2.2.6 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_INTERPRET=1 "v$version/bin/python" -W ignore order.py
    rm -rf "v$version"
done
