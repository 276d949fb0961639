#!/usr/bin/env bash
# gfx950 under Triton 3.8.0 and 3.9.0: scales in e4m3, or one for 16 numbers (NVFP4), compile into the MFMA that knows E8M0 for 32.
#
# Guess, written down before (2026-12-01): mfma_scaled and tl.dot_scaled refuse scales of float8e4nv and blocks of 16; a_scale=1.0 is a factor of 1.
# Versions: Triton 3.7.1, 3.8.0, 3.9.0 (3.6.0 by hand: as 3.7.1), CPython 3.11.7, Linux, no GPU. Compiled, not run on a GPU.
# Behaviour: v_mfma_scale reads one byte a lane for 32 numbers, as a power of two. 3.7.1 refuses each of the forms below (a line of Python).
#   3.8.0 and 3.9.0 compile them without a word or a conversion: Gluon's a_scale=1.0 becomes e4m3's byte 0x38, which the instruction takes
#   for 2^-71, and the missing b_scale becomes that byte too, so a product is 2^-142 of what it should be; NVFP4's e4m3 scales, one for 16
#   numbers, go in as they are, and of two scales one is read; tl.dot_scaled takes bytes for 16 numbers likewise (of e4m3 scales it
#   says "PassManager::run failed"). On gfx950 NVFP4 has to be decoded first.
# Output seen (2026-12-01):
#   Triton 3.7.1: a_scale=1.0: refused; e4m3 for 16: refused; tl bytes for 16: refused
#   Triton 3.8.0: a_scale=1.0: 4 products, scale bytes 56; e4m3 for 16: 4 products, 0 conversions; tl bytes for 16: 2 products, 0 conversions
#   Triton 3.9.0: as 3.8.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > scales.py <<'PYTHON'
import re
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompilationError
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon._runtime import GluonASTSource

TARGET = GPUTarget("hip", "gfx950", 64)
MMA = gl.amd.AMDMFMALayout(version=4, instr_shape=[16, 16, 128], transposed=True, warps_per_cta=[2, 2])


@gluon.jit
def in_gluon(out, left, right, scales, MMA: gl.constexpr, BLOCK: gl.constexpr):
    A: gl.constexpr = gl.DotOperandLayout(0, MMA, 16)
    B: gl.constexpr = gl.DotOperandLayout(1, MMA, 16)
    a = gl.load(left + gl.arange(0, 64, gl.SliceLayout(1, A))[:, None] * 64 + gl.arange(0, 64, gl.SliceLayout(0, A))[None, :])
    b = gl.load(right + gl.arange(0, 64, gl.SliceLayout(0, B))[None, :] * 64 + gl.arange(0, 64, gl.SliceLayout(1, B))[:, None])
    zero = gl.zeros([64, 64], gl.float32, MMA)
    if BLOCK == 0:
        c = gl.amd.cdna4.mfma_scaled(a, 1.0, "e2m1", b, None, "e2m1", zero)
    else:
        N: gl.constexpr = 128 // BLOCK
        S: gl.constexpr = gl.amd.cdna4.get_mfma_scale_layout(A, [64, N])
        T: gl.constexpr = gl.amd.cdna4.get_mfma_scale_layout(B, [64, N])
        s = gl.load(scales + gl.arange(0, 64, gl.SliceLayout(1, S))[:, None] * N + gl.arange(0, N, gl.SliceLayout(0, S))[None, :])
        t = gl.load(scales + gl.arange(0, 64, gl.SliceLayout(1, T))[:, None] * N + gl.arange(0, N, gl.SliceLayout(0, T))[None, :])
        c = gl.amd.cdna4.mfma_scaled(a, s, "e2m1", b, t, "e2m1", zero)
    row, column = gl.arange(0, 64, gl.SliceLayout(1, MMA)), gl.arange(0, 64, gl.SliceLayout(0, MMA))
    gl.store(out + row[:, None] * 64 + column[None, :], c)


@triton.jit
def in_tl(out, left, right, scales, BLOCK: tl.constexpr):
    N: tl.constexpr = 128 // BLOCK
    at, n = tl.arange(0, 64), tl.arange(0, N)
    a, b = tl.load(left + at[:, None] * 64 + at[None, :]), tl.load(right + at[:, None] * 64 + at[None, :])
    s = tl.load(scales + at[:, None] * N + n[None, :])
    tl.store(out + at[:, None] * 64 + at[None, :], tl.dot_scaled(a, s, "e2m1", b, s, "e2m1"))


def compiled(kernel, kind, *constants):
    signature = {"out": "*fp32", "left": "*u8", "right": "*u8", "scales": kind} | dict.fromkeys(kernel.arg_names[4:], "constexpr")
    aligned = {(at,): [["tt.divisibility", 16]] for at in range(4)}
    source = (GluonASTSource if kernel is in_gluon else ASTSource)(
        fn=kernel, signature=signature, constexprs={(4 + at,): value for at, value in enumerate(constants)}, attrs=aligned)
    try:
        code = triton.compile(source, target=TARGET, options={"num_warps": 4}).asm["amdgcn"]
    except CompilationError:
        return "refused"
    products = re.findall(r"v_mfma_scale_\S+ .*, (v\d+), (v\d+) op_sel", code)
    if constants[-1]:
        return f"{len(products)} products, {len(re.findall(r'v_cvt', code))} conversions"
    names = {name for pair in products for name in pair}
    texts = sorted({text for name in names for text in re.findall(rf"v_mov_b32_e32 {name}, (\w+)", code)})
    return f"{len(products)} products, scale bytes {' '.join(texts)}"


found = [compiled(in_gluon, "*u8", MMA, 0), compiled(in_gluon, "*fp8e4nv", MMA, 16), compiled(in_tl, "*u8", 16)]
print(f"Triton {triton.__version__}:", "; ".join(
    f"{name}: {text}" for name, text in zip(("a_scale=1.0", "e4m3 for 16", "tl bytes for 16"), found)))
taken = ["4 products, scale bytes 56", "4 products, 0 conversions", "2 products, 0 conversions"]
if found != (["refused"] * 3 if triton.__version__ in ("3.6.0", "3.7.1") else taken):
    sys.exit(f"changed: which scales Triton {triton.__version__} takes for gfx950")
PYTHON

for version in ${VERSIONS:-3.7.1 3.8.0 3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet --disable-pip-version-check "triton==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" scales.py 2> python.log || { tail -n 20 python.log; exit 1; } >&2
    rm -rf "v$version"
done
