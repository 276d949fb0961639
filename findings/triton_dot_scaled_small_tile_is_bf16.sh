#!/bin/bash
# Triton for gfx950: tl.dot_scaled of two e2m1 tiles with a small K multiplies in bf16, without a word.
#
# Guess written down before: BLOCK_M 16 with BLOCK_K 64 (half of the instruction's 128) still uses the scaled MFMA,
#   padded; and a K of one scale group, 32, uses it too.
# Versions: Triton 3.7.1 and 3.9.0, CPython 3.11.7, Linux, no GPU. Compiled for gfx950, the machine code counted.
# Behaviour: 16 x 64 and every tile of K 32 is decoded by v_cvt_scalef32_pk_bf16_fp4 and multiplied by
#   v_mfma_f32_*_bf16; 32 x 64 and 16 x 128 use v_mfma_scale_f32_*_f8f6f4. bf16's rate is a quarter of fp4's by AMD's
#   published peaks; results agree, so only a count of the instructions tells.
# Output seen (2026-11-29), the same for both versions:
#   "16x32 bf16, 32x32 bf16, 16x64 bf16, 32x64 scaled, 16x128 scaled, 32x128 scaled"
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


@triton.jit
def product(a, a_scale, b, b_scale, c, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    m, n, k, group = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K // 2), tl.arange(0, K // 32)
    left = tl.load(a + m[:, None] * (K // 2) + k[None, :])
    right = tl.load(b + n[None, :] * (K // 2) + k[:, None])
    left_scale = tl.load(a_scale + m[:, None] * (K // 32) + group[None, :])
    right_scale = tl.load(b_scale + n[:, None] * (K // 32) + group[None, :])
    total = tl.dot_scaled(left, left_scale, "e2m1", right, right_scale, "e2m1")
    tl.store(c + m[:, None] * N + n[None, :], total)


def kind(m, k):
    signature = {"a": "*u8", "a_scale": "*u8", "b": "*u8", "b_scale": "*u8", "c": "*fp32",
                 "M": "constexpr", "N": "constexpr", "K": "constexpr"}
    aligned = {(i,): [["tt.divisibility", 16]] for i in range(5)}
    source = ASTSource(fn=product, signature=signature, constexprs={(5,): m, (6,): 32, (7,): k}, attrs=aligned)
    code = triton.compile(source, target=GPUTarget("hip", "gfx950", 64)).asm["amdgcn"]
    scaled, plain = re.search(r"v_mfma_scale_f32_\S+f8f6f4", code), re.search(r"v_mfma_f32_\S+_bf16", code)
    return "both" if scaled and plain else "scaled" if scaled else "bf16" if plain else "none"


seen = {(m, k): kind(m, k) for k in (32, 64, 128) for m in (16, 32)}
print(f"Triton {triton.__version__}:", ", ".join(f"{m}x{k} {name}" for (m, k), name in seen.items()))
if list(seen.values()) != ["bf16", "bf16", "bf16", "scaled", "scaled", "scaled"]:
    sys.exit(f"changed: Triton {triton.__version__} chooses other instructions for a small tl.dot_scaled")
PYTHON

for version in 3.7.1 3.9.0; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet "triton==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" -W ignore product.py
    rm -rf "v$version"
done
