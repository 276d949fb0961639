#!/bin/bash
# Triton's interpreter (TRITON_INTERPRET=1): tl.histogram counts the value just past the last bin into the last bin.
#
# Guess written down before: of 4 bins a value of 4 is in none, as -1 and 9 are in none, in the interpreter and compiled.
# Versions: Triton 3.7.1 and 3.8.0; control: 3.9.0. numpy 2.2.6, CPython 3.11.7, Linux, no GPU. Stand-ins for torch's tensors.
# Behaviour: numpy's histogram closes its last bin on both sides, and the interpreter asks it for bins 0 to N. So N counts as
#   N - 1, silently, and a 9 does not. N is what a MoE's kernels write for "no expert" (padding): the last expert gets the
#   padding's tokens in the interpreter and nowhere else. 3.9.0's interpreter leaves it out.
# Output seen (2026-11-30):
#   "3.7.1: 0 1 1 3 4 -1 9 2 in 4 bins: 1 2 1 2", the same for 3.8.0; 3.9.0: "1 2 1 1"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > count.py <<'PYTHON'
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
def count(x, bins):
    tl.store(bins + tl.arange(0, 4), tl.histogram(tl.load(x + tl.arange(0, 8)), 4))


values, bins = np.array([0, 1, 1, 3, 4, -1, 9, 2], np.int32), np.zeros(4, np.int32)
count[(1,)](Array(values, "int32"), Array(bins, "int32"))
print(f"Triton {triton.__version__}:", *values, "in 4 bins:", *bins)
if bins.tolist() != [1, 2, 1, 1 if triton.__version__ == "3.9.0" else 2]:
    sys.exit(f"changed: the interpreter of Triton {triton.__version__} counts otherwise")
PYTHON

for version in ${VERSIONS:-3.7.1 3.8.0 3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet "triton==$version" numpy==2.2.6 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_INTERPRET=1 "v$version/bin/python" -W ignore count.py
    rm -rf "v$version"
done
