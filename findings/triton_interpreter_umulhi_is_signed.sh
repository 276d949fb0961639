#!/usr/bin/env bash
# Triton's interpreter up to 3.8.0: tl.umulhi of int32 multiplies signed numbers; compiled code multiplies unsigned ones, as the name says.
#
# Guess, written down before (2026-11-30): umulhi of int32 takes the bits as unsigned, interpreted and compiled: of -1 and -1 it is -2.
# Versions: Triton 3.7.1, 3.8.0, 3.9.0, numpy 2.3.5, CPython 3.11.7, Linux, no GPU. The tensors are stand-ins for torch's.
# Behaviour: tl.umulhi takes int32 and int64 too. The interpreter of 3.7.1 and 3.8.0 then multiplies them with their signs,
#   compiled code for sm_90 and gfx950 as unsigned (mul.hi.u32, v_mul_hi_u32). A division by multiplication, or a hash, of a negative
#   number passes its test in the interpreter and is wrong on the GPU, or the other way round. Of uint32 both agree. 3.9.0's
#   interpreter multiplies unsigned too.
# Output seen (2026-12-01): "interpreted: int32 [0, -1, 1, -2], uint32 [-2, 2, 1, 1073741822]" of 3.7.1 and 3.8.0, "interpreted: int32
#   [-2, 2, 1, 1073741822], uint32 [-2, 2, 1, 1073741822]" of 3.9.0; "compiled: mul.hi.u32, v_mul_hi_u32" of each
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > high.py <<'PYTHON'
import os
import re
import sys

import numpy as np
import triton
import triton.language as tl


class Array:
    """As much of a torch tensor as the interpreter asks for."""

    def __init__(self, values):
        self.values, self.dtype, self.shape = values, {"int32": "torch.int32", "uint32": "torch.uint32"}[values.dtype.name], values.shape
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
def high(target, left, right, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(target + at, tl.umulhi(tl.load(left + at), tl.load(right + at)))


LEFT, RIGHT = [-1, -1, 2**31 - 1, -5], [-1, 3, 4, 2**30]
if os.environ["TRITON_INTERPRET"] == "1":
    found = {}
    for kind in (np.int32, np.uint32):
        arrays = [Array(np.array(values, np.int64).astype(kind)) for values in ([0] * 4, LEFT, RIGHT)]
        high[(1,)](*arrays, 4)
        found[np.dtype(kind).name] = arrays[0].values.view(np.int32).tolist()
    print(f"Triton {triton.__version__} interpreted: int32 {found['int32']}, uint32 {found['uint32']}")
    exact = np.array([(left % 2**32) * (right % 2**32) >> 32 for left, right in zip(LEFT, RIGHT)]).astype(np.uint32)
    unsigned, signed = exact.view(np.int32).tolist(), [left * right >> 32 for left, right in zip(LEFT, RIGHT)]
    if found != {"uint32": unsigned, "int32": unsigned if triton.__version__ == "3.9.0" else signed}:
        sys.exit(f"changed: umulhi in the interpreter of Triton {triton.__version__}")
else:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    found = set()
    for target in (GPUTarget("cuda", 90, 32), GPUTarget("hip", "gfx950", 64)):
        signature = {"target": "*i32", "left": "*i32", "right": "*i32", "N": "constexpr"}
        asm = triton.compile(ASTSource(fn=high, signature=signature, constexprs={(3,): 64}), target=target).asm
        found |= set(re.findall(r"\b(mul\.hi\.[su]32|v_mul_hi_[iu]32)\b", asm.get("ptx") or asm["amdgcn"]))
    print(f"Triton {triton.__version__} compiled: {', '.join(sorted(found))}")
    if found != {"mul.hi.u32", "v_mul_hi_u32"}:
        sys.exit(f"changed: the code of umulhi in Triton {triton.__version__}")
PYTHON

for version in ${VERSIONS:-3.7.1 3.8.0 3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet --disable-pip-version-check "triton==$version" numpy==2.3.5 2> pip.log || { cat pip.log; exit 2; } >&2
    for interpret in 1 0; do
        TRITON_INTERPRET=$interpret TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" -W ignore high.py
    done
    rm -rf "v$version"
done
