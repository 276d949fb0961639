#!/usr/bin/env bash
# Triton: tl.sum of float16 adds in float16, and of bfloat16 in bfloat16 on sm_90 but in float32 on gfx950.
#
# Guess, written down before (2026-11-30): tl.sum and tl.cumsum widen 16-bit numbers to float32 and round once, on every chip.
# Versions: Triton 3.9.0 (3.7.1 and 3.8.0 by hand), CPython 3.11.7, Linux, no GPU. Compiled, not run on a GPU.
# Behaviour: tl.sum widens integers below 32 bits and no floats: each of its additions rounds to float16 (and 65,504 is its end), or to
#   bfloat16 on sm_90; AMD's chips add bfloat16 in float32 for want of an instruction, rounding between. tl.cumsum of bfloat16 on
#   sm_90 was in float32 in 3.7.1 and 3.8.0, and is in bfloat16 in 3.9.0; all else is the same in the three.
#   The remedy is .to(tl.float32) before, or dtype=tl.float32.
# Output seen (2026-11-30): "90: total fp16: f16; total bf16: bf16; running fp16: f16; running bf16: bf16",
#   "gfx950: total fp16: f16; total bf16: f32; running fp16: f16; running bf16: f32", the same for gfx942
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > sums.py <<'PYTHON'
import re
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def total(target, source, N: tl.constexpr):
    tl.store(target, tl.sum(tl.load(source + tl.arange(0, N))))


@triton.jit
def running(target, source, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(target + at, tl.cumsum(tl.load(source + at), 0))


def adds(kernel, kind, target):
    source = ASTSource(fn=kernel, signature={"target": "*fp32", "source": kind, "N": "constexpr"}, constexprs={(2,): 1024})
    asm = triton.compile(source, target=target).asm
    code = asm["ptx" if target.backend == "cuda" else "amdgcn"]
    return " ".join(sorted(set(re.findall(r"^\s+(?:v_pk_add_|v_add_|add\.(?:rn\.)?)(b?f\d+)", code, re.M))))


found = {}
for target in (GPUTarget("cuda", 90, 32), GPUTarget("hip", "gfx950", 64), GPUTarget("hip", "gfx942", 64)):
    for kernel in (total, running):
        for kind in ("fp16", "bf16"):
            found[str(target.arch), kernel.__name__, kind] = adds(kernel, f"*{kind}", target)
    print(f"Triton {triton.__version__} {target.arch}:",
          "; ".join(f"{name} {kind}: {texts}" for (arch, name, kind), texts in found.items() if arch == str(target.arch)))
amd = {("total", "fp16"): "f16", ("total", "bf16"): "f32", ("running", "fp16"): "f16", ("running", "bf16"): "f32"}
expected = {(arch, *key): text for arch in ("gfx950", "gfx942") for key, text in amd.items()}
expected |= {("90", *key): text for key, text in (amd | {("total", "bf16"): "bf16", ("running", "bf16"): "bf16"}).items()}
if found != expected:
    sys.exit(f"changed: what Triton {triton.__version__} adds 16-bit numbers in")
PYTHON

for version in ${VERSIONS:-3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet --disable-pip-version-check "triton==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" -W ignore sums.py
    rm -rf "v$version"
done
