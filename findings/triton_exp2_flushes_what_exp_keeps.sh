#!/usr/bin/env bash
# Triton: tl.exp2 flushes results below 2^-126 to zero, tl.exp keeps them; on gfx950 that costs exp a comparison, selections and a v_ldexp.
#
# Guess, written down before (2026-11-30): tl.exp(x) is tl.exp2(x * log2(e)) with one multiplication more, subnormal results alike.
# Versions: Triton 3.9.0 (3.7.1 and 3.8.0 by hand, the same), CPython 3.11.7, Linux, no GPU. Compiled, not run on a GPU.
# Behaviour: tl.exp2 is one instruction whose results below 2^-126 are zero (ex2.approx.ftz; v_exp_f32, which has no subnormal results);
#   tl.exp keeps them: ex2.approx without ftz, on AMD a comparison, a scaled argument and v_ldexp_f32 around v_exp_f32. So a softmax
#   rewritten from exp to exp2, as tuned kernels do, is no longer equal in its smallest terms, and on AMD it saves a comparison, a
#   selection or two and a v_ldexp_f32 for each number, not the multiplication alone.
# Output seen (2026-11-30): the same for all three versions and both AMD chips: "90: exp2: ex2.approx.ftz.f32; exp: mul.f32 ex2.approx.f32",
#   "gfx950: exp2: v_exp_f32; exp: v_cmp_gt_f32 v_exp_f32 v_ldexp_f32"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > powers.py <<'PYTHON'
import re
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def exp2(target, source, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(target + at, tl.exp2(tl.load(source + at)))


@triton.jit
def exp(target, source, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.store(target + at, tl.exp(tl.load(source + at)))


def instructions(kernel, target):
    source = ASTSource(fn=kernel, signature={"target": "*fp32", "source": "*fp32", "N": "constexpr"}, constexprs={(2,): 64})
    asm = triton.compile(source, target=target).asm
    if target.backend == "cuda":
        return re.findall(r"^\s+((?:ex2|mul)\.\S*f32)", asm["ptx"], re.M)
    return re.findall(r"^\s+(v_(?:exp|ldexp|cmp_gt)_f32)", asm["amdgcn"], re.M)


found = {}
for target in (GPUTarget("cuda", 90, 32), GPUTarget("hip", "gfx950", 64), GPUTarget("hip", "gfx942", 64)):
    for kernel in (exp2, exp):
        found[str(target.arch), kernel.__name__] = instructions(kernel, target)
    print(f"Triton {triton.__version__} {target.arch}:",
          "; ".join(f"{name}: {' '.join(texts)}" for (arch, name), texts in found.items() if arch == str(target.arch)))
amd = {"exp2": ["v_exp_f32"], "exp": ["v_cmp_gt_f32", "v_exp_f32", "v_ldexp_f32"]}
expected = {("90", "exp2"): ["ex2.approx.ftz.f32"], ("90", "exp"): ["mul.f32", "ex2.approx.f32"]}
expected |= {(arch, name): texts for arch in ("gfx950", "gfx942") for name, texts in amd.items()}
if found != expected:
    sys.exit(f"changed: Triton {triton.__version__} makes other code of exp or exp2")
PYTHON

for version in ${VERSIONS:-3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet --disable-pip-version-check "triton==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" -W ignore powers.py
    rm -rf "v$version"
done
