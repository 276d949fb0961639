#!/usr/bin/env bash
# Gluon up to Triton 3.7.1, gfx950: async_copy.buffer_load_to_shared drops `other`: where the mask is false, LDS keeps what was there.
#
# Guess, written down before (2026-12-01): buffer_load_to_shared(mask, other=7.0) writes 7.0 to LDS where the mask is false, in each version.
# Versions: Triton 3.6.0, 3.7.1, 3.8.0, 3.9.0, CPython 3.11.7, Linux, no GPU. Compiled, not run on a GPU.
# Behaviour: the docstring says "providing default values for masked elements". 3.6.0 and 3.7.1 compile a copy under the lanes' mask and
#   nothing else: no ds_write holds the default, so a masked lane reads the last tile of that slot, or any bytes: no error, no warning.
#   global_load_to_shared writes it (one ds_write) in every version, buffer_load_to_shared from 3.8.0 on. Without `other` the buffer form
#   has no branch (a masked lane's address is out of range, for which the hardware gives 0), so there `other=0.0` makes it worse.
# Output seen (2026-12-01): of 3.6.0 and 3.7.1: "buffer, no other: 1 copy, 0 ds_write; buffer, other=7: 1 copy, 0 ds_write; global, other=7:
#   1 copy, 1 ds_write"; of 3.8.0 and 3.9.0 the second has 1 ds_write
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > other.py <<'PYTHON'
import re
import sys

import triton
from triton.backends.compiler import GPUTarget
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon._runtime import GluonASTSource

copies = gl.amd.cdna4.async_copy


@gluon.jit
def tile(out, source, count, LAYOUT: gl.constexpr, SHARED: gl.constexpr, FORM: gl.constexpr):
    at = gl.arange(0, 1024, LAYOUT)
    memory = gl.allocate_shared_memory(gl.float32, [1024], SHARED)
    if FORM == 0:
        copies.buffer_load_to_shared(memory, source, at, mask=at < count)
    if FORM == 1:
        copies.buffer_load_to_shared(memory, source, at, mask=at < count, other=7.0)
    if FORM == 2:
        copies.global_load_to_shared(memory, source + at, mask=at < count, other=7.0)
    copies.commit_group()
    copies.wait_group(0)
    gl.store(out + at, memory.load(LAYOUT))


def counts(form):
    signature = {"out": "*fp32", "source": "*fp32", "count": "i32"} | dict.fromkeys(("LAYOUT", "SHARED", "FORM"), "constexpr")
    constexprs = {(3,): gl.BlockedLayout([4], [64], [4], [0]), (4,): gl.SwizzledSharedLayout(1, 1, 1, [0]), (5,): form}
    aligned = {(at,): [["tt.divisibility", 16]] for at in range(3)}
    kernel = GluonASTSource(fn=tile, signature=signature, constexprs=constexprs, attrs=aligned)
    code = triton.compile(kernel, target=GPUTarget("hip", "gfx950", 64), options={"num_warps": 4}).asm["amdgcn"]
    copied = re.findall(r"^\s+(?:buffer_load\S+.* lds$|global_load_lds\S+)", code, re.M)
    return len(copied), len(re.findall(r"^\s+ds_write", code, re.M))


NAMES = ["buffer, no other", "buffer, other=7", "global, other=7"]
found = [counts(form) for form in range(3)]
print(f"Triton {triton.__version__}:", "; ".join(f"{name}: {copy} copy, {write} ds_write" for name, (copy, write) in zip(NAMES, found)))
dropped = triton.__version__ in ("3.6.0", "3.7.1")
if found != [(1, 0), (1, 0 if dropped else 1), (1, 1)]:
    sys.exit(f"changed: what Triton {triton.__version__} does with `other` of a copy to LDS")
PYTHON

for version in ${VERSIONS:-3.6.0 3.7.1 3.8.0 3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet --disable-pip-version-check "triton==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" other.py 2> python.log || { tail -n 20 python.log; exit 1; } >&2
    rm -rf "v$version"
done
