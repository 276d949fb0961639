#!/bin/bash
# Triton's AMD backend reduces a signed tl.atomic_max (and atomic_min) within a wave as unsigned numbers.
#
# Guess written down before: for gfx950 (and gfx942) tl.atomic_max of int32 values, all lanes on one address, compares signed
#   numbers throughout: max(-3, 5) is 5.
# Versions: Triton 3.7.1, 3.8.0 and 3.9.0, CPython 3.11.7, Linux, no GPU. Compiled, not run on a GPU.
# Behaviour: lanes of a wave whose addresses are equal are first combined in registers; for signed integers too that step is
#   an unsigned maximum (v_max_u32), in which -3 beats 5. What is left goes to memory by the signed atomic
#   (global_atomic_smax), so that the result is wrong where signs differ. The same for atomic_min (v_min_u32, smin).
#   Nothing is warned. Non-negative values, and addresses that differ, are right.
# Output seen (2026-11-29), the same for all three versions and both chips: "global_atomic_smax, v_max_u32"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > largest.py <<'PYTHON'
import re
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def largest(values, most, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.atomic_max(most + at * 0, tl.load(values + at))


source = ASTSource(fn=largest, signature={"values": "*i32", "most": "*i32", "N": "constexpr"}, constexprs={(2,): 64})
wrong = True
for arch in ("gfx950", "gfx942"):
    code = triton.compile(source, target=GPUTarget("hip", arch, 64)).asm["amdgcn"]
    seen = sorted(set(re.findall(r"^\s+(v_max_[iu]32|\w+_atomic_[su]max)", code, re.M)))
    print(f"Triton {triton.__version__} {arch}: {', '.join(seen)}")
    wrong &= "v_max_u32" in seen and "v_max_i32" not in seen and any(name.endswith("smax") for name in seen)
if not wrong:
    sys.exit(f"changed: Triton {triton.__version__} no longer reduces a signed maximum by v_max_u32")
PYTHON

for version in ${VERSIONS:-3.7.1 3.8.0 3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet "triton==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" largest.py
    rm -rf "v$version"
done
