#!/usr/bin/env bash
# Triton: -x of 0.0 is 0.0, not -0.0, on sm_90 and gfx950, up to 3.7.1.
#
# Guess, written down before (2026-11-30): -x turns the sign bit, as torch, numpy and C do: a neg.f32, or an exclusive or.
# Versions: Triton 3.7.1, CPython 3.11.7, Linux, no GPU. Compiled, not run on a GPU.
# Behaviour: it is compiled as 0.0 - x: a subtraction, of which no compiler may make a negation, and 0.0 - 0.0 is 0.0. So 1 / -x is
#   +inf for 0.0, and a comparison of bits with torch's -x fails. 3.8.0 turns the sign bit.
# Output seen (2026-11-30): "90: sub.f32 x, 0, x;", "gfx950: v_sub_f32_e32 v0, 0, v2", the same for gfx942
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > minus.py <<'PYTHON'
import re
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def minus(target, source, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(target + at, -tl.load(source + at))


found = {}
for target in (GPUTarget("cuda", 90, 32), GPUTarget("hip", "gfx950", 64), GPUTarget("hip", "gfx942", 64)):
    source = ASTSource(fn=minus, signature={"target": "*fp32", "source": "*fp32", "N": "constexpr"}, constexprs={(2,): 64})
    asm = triton.compile(source, target=target).asm
    code = asm["ptx" if target.backend == "cuda" else "amdgcn"]
    zeros = re.findall(r"mov\.b32\s+(%r\d+), (?:0f00000000|0);", code)
    found[str(target.arch)] = [re.sub(r"%r\d+", lambda name: "0" if name[0] in zeros else "x", text) for text in
                               re.findall(r"^\s+((?:sub|neg)\.f32.*;|v_sub_f32.*|v_xor_b32.*)", code, re.M)]
    print(f"Triton {triton.__version__} {target.arch}: {' '.join(found[str(target.arch)])}")
if any(len(texts) != 1 or not re.search(r"^sub\.f32\s+x, 0, x;|v_sub_f32_e32 v\d+, 0, v\d+", texts[0]) for texts in found.values()):
    sys.exit(f"changed: Triton {triton.__version__} negates otherwise")
PYTHON

for version in ${VERSIONS:-3.7.1}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet --disable-pip-version-check "triton==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" minus.py
    rm -rf "v$version"
done
