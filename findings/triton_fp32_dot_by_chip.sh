#!/bin/bash
# Triton: a tl.dot of float32 rounds its operands on gfx942, does not on gfx950, and "tf32" is an error there.
#
# Guess written down before: what gfx942 compiles gfx950 compiles, into the same arithmetic: float32 by default is exact on
#   both (or reduced on both), and input_precision="tf32", the manual's default, is accepted by both.
# Versions: Triton 3.7.1 and 3.9.0, CPython 3.11.7, Linux, no GPU. Compiled, the machine code counted.
# Behaviour: without an input_precision gfx942 uses v_mfma_*_xf32, which keeps 10 bits of a float32's 23, and gfx950, which
#   has no such instruction, the exact v_mfma_*_f32, in twice as many. Nothing is said: results of one kernel differ by chip,
#   and a tolerance found on an MI300X is a thousand times too wide. The default written out, "tf32", does not compile for gfx950.
# Output seen (2026-11-30), the same for both versions:
#   "gfx942: default 16 xf32, tf32 16 xf32, ieee 32 f32, bf16x3 24 bf16"
#   "gfx950: default 32 f32, tf32 refused, ieee 32 f32, bf16x3 12 bf16"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > product.py <<'PYTHON'
import re
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.compiler.errors import CompilationError


@triton.jit
def default(a, b, c):
    m, k = tl.arange(0, 32), tl.arange(0, 64)
    product = tl.dot(tl.load(a + m[:, None] * 64 + k[None, :]), tl.load(b + k[:, None] * 32 + m[None, :]))
    tl.store(c + m[:, None] * 32 + m[None, :], product)


@triton.jit
def asked(a, b, c, P: tl.constexpr):
    m, k = tl.arange(0, 32), tl.arange(0, 64)
    product = tl.dot(tl.load(a + m[:, None] * 64 + k[None, :]), tl.load(b + k[:, None] * 32 + m[None, :]), input_precision=P)
    tl.store(c + m[:, None] * 32 + m[None, :], product)


def made(arch, precision):
    pointers = {"a": "*fp32", "b": "*fp32", "c": "*fp32"}
    source = ASTSource(fn=default, signature=pointers) if precision == "default" else ASTSource(
        fn=asked, signature={**pointers, "P": "constexpr"}, constexprs={(3,): precision})
    try:
        code = triton.compile(source, target=GPUTarget("hip", arch, 64)).asm["amdgcn"]
    except CompilationError:
        return "refused"
    kinds = re.findall(r"^\s+v_mfma_f32_\d+x\d+x\d+_(\w+)", code, re.M)
    return f"{len(kinds)} {kinds[0]}" if len(set(kinds)) == 1 else f"mixed {sorted(set(kinds))}"


before = {"gfx942": ["16 xf32", "16 xf32", "32 f32", "24 bf16"], "gfx950": ["32 f32", "refused", "32 f32", "12 bf16"]}
seen = {}
for arch in before:
    ways = {precision: made(arch, precision) for precision in ("default", "tf32", "ieee", "bf16x3")}
    seen[arch] = list(ways.values())
    print(f"Triton {triton.__version__} {arch}:", ", ".join(f"{name} {what}" for name, what in ways.items()))
if seen != before:
    sys.exit(f"changed: Triton {triton.__version__} multiplies float32 by other instructions")
PYTHON

for version in ${VERSIONS:-3.7.1 3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet "triton==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" -W ignore product.py
    rm -rf "v$version"
done
