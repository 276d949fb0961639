#!/usr/bin/env bash
# Gluon, gfx950: mfma_scaled of e2m1 takes any k_width and means 16: with 8 the scales belong to other numbers, with 32 half of the rows is not read.
#
# Guess, written down before (2026-12-01): mfma_scaled of e2m1 takes k_width 16 alone and refuses others.
# Versions: Triton 3.6.0, 3.7.1, 3.8.0, 3.9.0, CPython 3.11.7, Linux, no GPU. Compiled, not run on a GPU.
# Behaviour: k_width counts bytes (two numbers each). A lane of v_mfma_scale_f32_16x16x128_f8f6f4 gives 16 bytes and the scale of these 32
#   numbers. For 8, 16 and 32 the compiler makes the same four products without a word and without a shuffle, and get_mfma_scale_layout gives
#   one layout. With 8 a lane holds 8 bytes each of two blocks and one scale, of one of them or of a third. With 32 a lane has 32 bytes of a
#   row; the first 16 are multiplied for it and the second 16 in the place of the row 32 further, which is not even loaded, and so with
#   the columns. Equal scales hide the first, not the second: a test with scales left out passes with 8.
# Output seen (2026-12-01), the same for the four versions:
#   k_width 8: 4 products, 4 rows or columns read, 0 shuffles; lane 16 has bytes 8-15 40-47 and the scale of bytes 16-31
#   k_width 16: 4 products, 4 rows or columns read, 0 shuffles; lane 16 has bytes 16-31 and the scale of bytes 16-31
#   k_width 32: 4 products, 2 rows or columns read, 0 shuffles; lane 16 has bytes 32-63 and the scale of bytes 16-31
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > width.py <<'PYTHON'
import re
import sys

import triton
from triton._C.libtriton import gluon_ir, ir
from triton.backends.compiler import GPUTarget
from triton.compiler.compiler import make_backend
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon._runtime import GluonASTSource

TARGET = GPUTarget("hip", "gfx950", 64)


@gluon.jit
def product(out, left, right, scales, MMA: gl.constexpr, WIDTH: gl.constexpr):
    A: gl.constexpr = gl.DotOperandLayout(0, MMA, WIDTH)
    B: gl.constexpr = gl.DotOperandLayout(1, MMA, WIDTH)
    S: gl.constexpr = gl.amd.cdna4.get_mfma_scale_layout(A, [64, 4])
    a = gl.load(left + gl.arange(0, 64, gl.SliceLayout(1, A))[:, None] * 64 + gl.arange(0, 64, gl.SliceLayout(0, A))[None, :])
    b = gl.load(right + gl.arange(0, 64, gl.SliceLayout(0, B))[None, :] * 64 + gl.arange(0, 64, gl.SliceLayout(1, B))[:, None])
    s = gl.load(scales + gl.arange(0, 64, gl.SliceLayout(1, S))[:, None] * 4 + gl.arange(0, 4, gl.SliceLayout(0, S))[None, :])
    c = gl.amd.cdna4.mfma_scaled(a, s, "e2m1", b, None, "e2m1", gl.zeros([64, 64], gl.float32, MMA))
    row, column = gl.arange(0, 64, gl.SliceLayout(1, MMA)), gl.arange(0, 64, gl.SliceLayout(0, MMA))
    gl.store(out + row[:, None] * 64 + column[None, :], c)


def held(layout, lane):
    """Columns that the lane of the first warp holds in its first row."""
    def place(bases, index):
        row = column = 0
        for bit, base in enumerate(bases):
            if index >> bit & 1:
                row, column = row ^ base[0], column ^ base[1]
        return row, column

    own = place(layout.lane_bases, lane)
    cells = [tuple(x ^ y for x, y in zip(own, place(layout.reg_bases, index))) for index in range(1 << len(layout.reg_bases))]
    return sorted(column for row, column in cells if row == own[0])


def spans(columns):
    starts = [column for column in columns if column - 1 not in columns]
    return " ".join(f"{start}-{next(end for end in range(start, 65) if end + 1 not in columns)}" for start in starts)


def compiled(width):
    mma = gl.amd.AMDMFMALayout(version=4, instr_shape=[16, 16, 128], transposed=True, warps_per_cta=[2, 2])
    signature = {"out": "*fp32", "left": "*u8", "right": "*u8", "scales": "*u8", "MMA": "constexpr", "WIDTH": "constexpr"}
    aligned = {(at,): [["tt.divisibility", 16]] for at in range(4)}
    source = GluonASTSource(fn=product, signature=signature, constexprs={(4,): mma, (5,): width}, attrs=aligned)
    code = triton.compile(source, target=TARGET, options={"num_warps": 4}).asm["amdgcn"]
    loads = [int(text or 0) for text in re.findall(r"^\s+global_load_dwordx\d .*, off(?: offset:(\d+))?$", code, re.M)]
    context = ir.context()
    ir.load_dialects(context)
    make_backend(TARGET).load_dialects(context)
    builder = gluon_ir.GluonOpBuilder(context)
    operand = gl.DotOperandLayout(0, mma, width)
    scale, = held(gl.amd.cdna4.get_mfma_scale_layout(operand, [64, 4]), 16)
    return (len(re.findall(r"v_mfma_scale_f32_16x16x128_f8f6f4", code)), sum(offset % 64 == 0 for offset in loads),
            len(re.findall(r"^\s+(?:ds_|v_permlane|v_mov_b32_dpp)", code, re.M)),
            spans(held(builder.to_linear_layout(operand._to_ir(builder), [64, 64]), 16)), f"{16 * scale}-{16 * scale + 15}")


found = {width: compiled(width) for width in (8, 16, 32)}
for width, (products, rows, shuffles, data, scale) in found.items():
    print(f"Triton {triton.__version__}, k_width {width}: {products} products, {rows} rows or columns read, {shuffles} shuffles; "
          f"lane 16 has bytes {data} and the scale of bytes {scale}")
if found != {8: (4, 4, 0, "8-15 40-47", "16-31"), 16: (4, 4, 0, "16-31", "16-31"), 32: (4, 2, 0, "32-63", "16-31")}:
    sys.exit(f"changed: what Triton {triton.__version__} makes of mfma_scaled with another k_width")
PYTHON

for version in ${VERSIONS:-3.6.0 3.7.1 3.8.0 3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet --disable-pip-version-check "triton==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" width.py 2> python.log || { tail -n 20 python.log; exit 1; } >&2
    rm -rf "v$version"
done
