#!/usr/bin/env bash
# Triton for gfx950 and gfx942: tl.atomic_add with sem="release" fences as an acquire does, and sem="acquire" as a release.
#
# Guess, written down before (2026-11-30): "release" writes the L2 back (buffer_wbl2) before the atomic, "acquire" invalidates
#   (buffer_inv) after it, for a block of addresses as for one.
# Versions: Triton 3.8.0 (3.7.1 by hand, the same), CPython 3.11.7, Linux, no GPU. Compiled, not run on a GPU.
# Behaviour: a block of offsets from one pointer becomes buffer_atomic, whose two fences are exchanged: "release" invalidates after the
#   atomic and writes nothing back, so that what was stored before may reach another XCD after the flag; "acquire" writes back before
#   it and reads on from stale lines. One address goes by global_atomic, fenced rightly, and so does all with AMDGCN_USE_BUFFER_OPS=0.
#   "acq_rel", the default, has both fences and is right. 3.9.0 and sm_90 are right.
# Output seen (2026-11-30): the same for both chips: "block acquire: buffer_wbl2 buffer_atomic_add_f32;
#   block release: buffer_atomic_add_f32 buffer_inv; scalar acquire: global_atomic_add_f32 buffer_inv; scalar release: buffer_wbl2
#   global_atomic_add_f32"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > fences.py <<'PYTHON'
import re
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def block(total, values, SEM: tl.constexpr, N: tl.constexpr):
    at = tl.arange(0, N)
    tl.atomic_add(total + at, tl.load(values + at), sem=SEM)


@triton.jit
def scalar(total, values, SEM: tl.constexpr, N: tl.constexpr):
    tl.atomic_add(total, tl.load(values), sem=SEM)


def order(kernel, sem, arch):
    signature = {"total": "*fp32", "values": "*fp32", "SEM": "constexpr", "N": "constexpr"}
    source = ASTSource(fn=kernel, signature=signature, constexprs={(2,): sem, (3,): 64})
    code = triton.compile(source, target=GPUTarget("hip", arch, 64)).asm["amdgcn"]
    return " ".join(re.findall(r"^\s+(buffer_wbl2|\w+_atomic_add_f32|buffer_inv)", code, re.M))


found = {}
for arch in ("gfx950", "gfx942"):
    for kernel in (block, scalar):
        for sem in ("acquire", "release"):
            found[arch, kernel.__name__, sem] = order(kernel, sem, arch)
    print(f"Triton {triton.__version__} {arch}:", "; ".join(f"{name} {sem}: {text}" for (of, name, sem), text in found.items() if of == arch))
EXPECTED = {
    ("block", "acquire"): "buffer_wbl2 buffer_atomic_add_f32",
    ("block", "release"): "buffer_atomic_add_f32 buffer_inv",
    ("scalar", "acquire"): "global_atomic_add_f32 buffer_inv",
    ("scalar", "release"): "buffer_wbl2 global_atomic_add_f32",
}
if any(text != EXPECTED[key[1:]] for key, text in found.items()):
    sys.exit(f"changed: Triton {triton.__version__} fences an atomic otherwise")
PYTHON

for version in ${VERSIONS:-3.8.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet --disable-pip-version-check "triton==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" fences.py
    rm -rf "v$version"
done
