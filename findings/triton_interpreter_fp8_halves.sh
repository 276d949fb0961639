#!/bin/bash
# Triton's interpreter (TRITON_INTERPRET=1) gives half the value where rounding to float8 carries into the exponent.
#
# Guess written down before: float32 to float8_e4m3fn of 1.97 is 2.0 in the interpreter, as on a GPU.
# Versions: Triton 3.7.1 and 3.8.0, numpy 2.2.6, CPython 3.11.7, Linux, no GPU. The tensors are stand-ins for torch's.
# Behaviour: a significand that rounds up past its last bit is joined to the exponent by OR, so the carry is lost where
#   the exponent is odd: 1.97 becomes 1.0 and 7.9 becomes 4.0. Where the exponent is even it is right (0.98, 3.9).
#   The same source compiled for sm_90 has cvt.rn.satfinite.e4m3x2. Nothing is warned.
# Output seen (2026-11-29), the same for both versions:
#   "interpreted: 0.98 -> 1.0, 1.97 -> 1.0, 3.9 -> 4.0, 7.9 -> 4.0"
#   "compiled for sm_90: cvt.rn.satfinite.e4m3x2"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > convert.py <<'PYTHON'
import os
import sys

import numpy as np
import triton
import triton.language as tl

INTERPRETED = os.environ["TRITON_INTERPRET"] == "1"


class Array:
    """As much of a tensor as the interpreter asks for: numpy's memory under a type that numpy lacks."""

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
def convert(source, target, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(target + at, tl.load(source + at).to(target.dtype.element_ty))


def ptx(kind):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    signature = {"source": "*fp32", "target": kind, "N": "constexpr"}
    source = ASTSource(fn=convert, signature=signature, constexprs={(2,): 128})
    return triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]


print(f"Triton {triton.__version__}", end=" ")
if INTERPRETED:
    x = np.array([0.98, 1.97, 3.9, 7.9], np.float32)
    bits = np.zeros(4, np.uint8)
    convert[(1,)](Array(x, "float32"), Array(bits, "float8_e4m3fn"), N=4)
    y = [(1 + (int(b) & 7) / 8) * 2.0 ** ((int(b) >> 3) - 7) for b in bits]  # normal, positive
    print("interpreted:", ", ".join(f"{a:.3g} -> {b}" for a, b in zip(x, y, strict=True)))
    if y != [1.0, 1.0, 4.0, 4.0]:
        sys.exit(f"changed: the interpreter of Triton {triton.__version__} converts 1.97 or 7.9 otherwise")
else:
    rounds = "cvt.rn.satfinite.e4m3x2" in ptx("*fp8e4nv")
    print("compiled for sm_90:", "cvt.rn.satfinite.e4m3x2" if rounds else "no cvt.rn.satfinite.e4m3x2")
    if not rounds:
        sys.exit(f"changed: Triton {triton.__version__} no longer compiles the conversion to cvt.rn.satfinite.e4m3x2")
PYTHON

for version in 3.7.1 3.8.0; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet "triton==$version" numpy==2.2.6 2> pip.log || { cat pip.log; exit 2; } >&2
    for interpret in 1 0; do
        TRITON_INTERPRET=$interpret TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" convert.py
    done
    rm -rf "v$version"
done
