#!/bin/bash
# Triton's interpreter (TRITON_INTERPRET=1): tl.maximum, tl.minimum and tl.clamp keep a NaN that compiled code drops.
#
# Guess written down before: max(NaN, 2) is the same in the interpreter and compiled.
# Versions: Triton 3.7.1; control: 3.8.0. numpy 2.2.6, CPython 3.11.7, Linux, no GPU. Stand-ins for torch's tensors.
# Behaviour: 3.7.1's interpreter gives NaN for all three, whatever propagate_nan is; tl.max over the same block gives the largest
#   number. Compiled for gfx950 and sm_90 the same source has v_max_f32, v_med3_f32 and max.f32, which give the number. So a clamp in front of
#   a cast shows a NaN in a test in the interpreter, and on the GPU a NaN of the layer before becomes the clamp's lower bound,
#   unseen. 3.8.0's interpreter is as compiled code. (GPT-OSS's SwiGLU clamps.)
# Output seen (2026-11-30):
#   "3.7.1 interpreted: maximum nan, minimum nan, clamp nan, max over all 5.0", 3.8.0 "2.0, 2.0, 1.0, 5.0"
#   each "compiled: gfx950 drops it, sm_90 drops it"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > bounds.py <<'PYTHON'
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
def bounds(x, y):
    at = tl.arange(0, 8)
    a = tl.load(x + at)
    tl.store(y + at, tl.maximum(a, 2.0))
    tl.store(y + 8 + at, tl.minimum(a, 2.0))
    tl.store(y + 16 + at, tl.clamp(a, 1.0, 3.0))
    tl.store(y + 24 + at, tl.max(a, 0) + at * 0.0)


print(f"Triton {triton.__version__}", end=" ")
if os.environ["TRITON_INTERPRET"] == "1":
    values, found = np.array([1, np.nan, 3, 0, 0, 5, np.nan, 2], np.float32), np.zeros(32, np.float32)
    bounds[(1,)](Array(values, "float32"), Array(found, "float32"))
    seen = [str(each) for each in found[1::8]]
    print("interpreted: maximum {}, minimum {}, clamp {}, max over all {}".format(*seen))
    if seen != (["nan", "nan", "nan", "5.0"] if triton.__version__ == "3.7.1" else ["2.0", "2.0", "1.0", "5.0"]):
        sys.exit(f"changed: the interpreter of Triton {triton.__version__} treats a NaN otherwise")
else:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    source = ASTSource(fn=bounds, signature={"x": "*fp32", "y": "*fp32"})
    amd = triton.compile(source, target=GPUTarget("hip", "gfx950", 64)).asm["amdgcn"]
    cuda = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
    drops = [bool(re.search(r"v_(pk_)?max_f32", amd)) and "v_maximum" not in amd, "max.f32" in cuda and ".NaN" not in cuda]
    print("compiled: gfx950 {}, sm_90 {}".format(*("drops it" if each else "keeps it" for each in drops)))
    if not all(drops):
        sys.exit(f"changed: Triton {triton.__version__} compiles a maximum that keeps a NaN")
PYTHON

for version in ${VERSIONS:-3.7.1 3.8.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet "triton==$version" numpy==2.2.6 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_INTERPRET=1 "v$version/bin/python" -W ignore bounds.py
    TRITON_INTERPRET=0 TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" -W ignore bounds.py
    rm -rf "v$version"
done
