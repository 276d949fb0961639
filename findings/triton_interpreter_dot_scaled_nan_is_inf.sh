#!/bin/bash
# Triton's interpreter (TRITON_INTERPRET=1): tl.dot_scaled of 3.8.0 reads a NaN scale as infinity, the smallest as zero; that of 3.7.1 fails.
#
# Guess written down before (2026-11-30): E8M0 byte 255 is NaN and byte 0 is 2^-127, in the interpreter as in compiled code.
# Versions: Triton 3.7.1, 3.8.0 and 3.9.0, numpy 2.2.6, CPython 3.11.7, Linux, no GPU. The tensors are stand-ins for torch's.
# Behaviour: in the interpreter of 3.8.0 64 products of 1.0 under scale 255 are infinity; what it compiles for sm_90 puts NaN there. Under
#   the scales 0 and 254, 2^-127 and 2^127, they are 0.0, not 64, in both: byte 0 is zero, in what 3.7.1 compiles, too. 3.9.0 is right in
#   both. In 3.7.1's interpreter any call is an AttributeError, however the format is passed.
# Output seen (2026-11-30): "3.7.1: AttributeError", "3.8.0: 127 x 127 = 64.0, 255 x 127 = inf, 0 x 254 = 0.0", both "compiled for sm_90:
#   byte 255 is NaN, byte 0 0.0"; "3.9.0: 127 x 127 = 64.0, 255 x 127 = nan, 0 x 254 = 64.0", "... byte 0 2^-127"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > scaled.py <<'PYTHON'
import os
import re
import sys

import numpy as np
import triton
import triton.language as tl


class Array:
    """As much of a tensor as the interpreter asks for: numpy's memory."""

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
def scaled(x, x_scales, w, w_scales, out):
    rows = tl.arange(0, 16)
    codes = tl.arange(0, 32)
    groups = tl.arange(0, 2)
    a = tl.load(x + rows[:, None] * 32 + codes[None, :])
    b = tl.load(w + codes[:, None] + rows[None, :] * 32)
    a_scales = tl.load(x_scales + rows[:, None] * 2 + groups[None, :])
    b_scales = tl.load(w_scales + rows[:, None] * 2 + groups[None, :])
    tl.store(out + rows[:, None] * 16 + rows[None, :], tl.dot_scaled(a, a_scales, "e2m1", b, b_scales, "e2m1"))


version = triton.__version__
if os.environ["TRITON_INTERPRET"] == "1":
    said = {}
    for pair in ((127, 127), (255, 127), (0, 254)):
        out = np.full((16, 16), 7, np.float32)
        ones = [Array(np.full((16, 32), 0x22, np.uint8), "uint8") for _ in range(2)]
        scales = [Array(np.full((16, 2), byte, np.uint8), "uint8") for byte in pair]
        try:
            scaled[(1,)](ones[0], scales[0], ones[1], scales[1], Array(out, "float32"))
            said[pair] = float(out[3, 5])
        except Exception as error:
            said[pair] = "AttributeError" if "AttributeError" in repr(error) else repr(error)
    if set(said.values()) == {"AttributeError"}:
        print(f"{version}: AttributeError")
    else:
        print(f"{version}:", ", ".join(f"{a} x {b} = {value}" for (a, b), value in said.items()))
    expected = {"3.7.1": ["AttributeError"] * 3, "3.8.0": [64.0, float("inf"), 0.0], "3.9.0": [64.0, float("nan"), 64.0]}[version]
    if str(list(said.values())) != str(expected):
        sys.exit(f"changed: Triton {version} interprets tl.dot_scaled otherwise")
else:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    names = {name: "*u8" for name in ("x", "x_scales", "w", "w_scales")} | {"out": "*fp32"}
    code = triton.compile(ASTSource(fn=scaled, signature=names), target=GPUTarget("cuda", 90, 32)).asm
    code = code["ttgir"]
    poison = re.findall(r"%(\w+) = arith\.constant dense<0x7FC0>", code)  # NaN as bf16: chosen where the byte is 255, or made as infinity * 0 + infinity
    nan = any(re.search(rf"arith\.select %\w+, %{name},", code) for name in poison) or bool(re.search(r"math\.fma %(\w+), %cst\w*, %\1 ", code))
    small = re.search(r"= arith\.maxui .*\n.*tt\.bitcast .*bf16", code) is not None  # else byte 0, shifted by 7, is the bf16 zero
    print(f"  compiled for sm_90: byte 255 is {'NaN' if nan else 'infinity'}, byte 0 {'2^-127' if small else '0.0'}")
    if not nan or small != (version == "3.9.0"):
        sys.exit(f"changed: Triton {version} compiles tl.dot_scaled otherwise")
PYTHON

for version in ${VERSIONS:-3.7.1 3.8.0 3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet "triton==$version" numpy==2.2.6 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_INTERPRET=1 "v$version/bin/python" -W ignore scaled.py
    TRITON_INTERPRET=0 TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" -W ignore scaled.py
    rm -rf "v$version"
done
