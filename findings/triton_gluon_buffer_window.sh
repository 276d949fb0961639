#!/usr/bin/env bash
# Gluon, gfx950: buffer_load sees 2 GiB behind its pointer; beyond that it reads zeros, and beyond 4 GiB the start again, in silence.
#
# Guess, written down before (2026-12-01): the window is 4 GiB; an offset that does not fit in bytes is computed in 64 bits or refused.
# Versions: Triton 3.6.0, 3.7.1, 3.8.0, 3.9.0, CPython 3.11.7, Linux, no GPU. Compiled, not run on a GPU.
# Behaviour: offsets count numbers, as int32 or uint32. Their bytes are computed in 32 bits (v_add_lshl_u32: for float32 the number 2^30 is
#   byte 0), and the descriptor ends at byte 0x7ffffffe, behind which the hardware reads 0 and stores nothing. So int32 reaches a
#   quarter of its float32 numbers, and uint32 is taken and reaches no byte more. gpt-oss logits in float32 (201,088 a row) pass 2 GiB
#   at row 2,670. The author has to move the pointer by 64 bits first; no version warns. A tl.load of the same address
#   is in 64 bits, unless the compiler knows that the tensor is smaller.
# Output seen (2026-12-01): the same for the four versions: "Gluon fp32 by int32: window 0x7ffffffe, v_add_lshl_u32 by 2; by uint32: window
#   0x7ffffffe, v_add_lshl_u32 by 2; tl: 64-bit addresses, no buffer_load"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > window.py <<'PYTHON'
import re
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon._runtime import GluonASTSource

TARGET = GPUTarget("hip", "gfx950", 64)


@gluon.jit
def by_buffer(out, source, base, LAYOUT: gl.constexpr, UNSIGNED: gl.constexpr):
    at = gl.arange(0, 256, LAYOUT)
    offset = base + at
    if UNSIGNED:
        offset = offset.to(gl.uint32)
    gl.store(out + at, gl.amd.cdna4.buffer_load(source, offset))


@triton.jit
def by_pointer(out, source, base):
    at = tl.arange(0, 256)
    tl.store(out + at, tl.load(source + (base + at)))


def code(kernel, constexprs=()):
    signature = {"out": "*fp32", "source": "*fp32", "base": "i32"} | dict.fromkeys(kernel.arg_names[3:], "constexpr")
    make = GluonASTSource if constexprs else ASTSource
    source = make(fn=kernel, signature=signature, constexprs={(3 + at,): value for at, value in enumerate(constexprs)})
    return triton.compile(source, target=TARGET, options={"num_warps": 4}).asm["amdgcn"]


def reach(unsigned):
    text = code(by_buffer, (gl.BlockedLayout([1], [64], [4], [0]), unsigned))
    loads = re.findall(r"buffer_load_dword v\d+, (v\d+), s\[(\d+):", text)
    (address, first), = loads
    window, = re.findall(rf"s_mov_b32 s{int(first) + 2}, (0x\w+)", text)
    shift, = re.findall(rf"v_add_lshl_u32 {address}, .*, (\d+)", text)
    return window, int(shift)


found = [reach(False), reach(True)]
text = code(by_pointer)
wide = "buffer_load" not in text and re.search(r"v_ashrrev_i32|v_lshl_add_u64|v_lshlrev_b64|v_mad_i64", text) is not None
print(f"Triton {triton.__version__}: Gluon fp32", "; ".join(
    f"by {kind}: window {window}, v_add_lshl_u32 by {shift}" for kind, (window, shift) in zip(("int32", "uint32"), found))
      + "; tl: " + ("64-bit addresses, no buffer_load" if wide else "otherwise"))
if found != [("0x7ffffffe", 2)] * 2 or not wide:
    sys.exit(f"changed: how far a buffer_load of Triton {triton.__version__} reaches")
PYTHON

for version in ${VERSIONS:-3.6.0 3.7.1 3.8.0 3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet --disable-pip-version-check "triton==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" window.py 2> python.log || { tail -n 20 python.log; exit 1; } >&2
    rm -rf "v$version"
done
