#!/usr/bin/env bash
# Triton for gfx950 and gfx942: tl.load(volatile=True) is an ordinary load: two become one, and one in a loop runs once.
#
# Guess, written down before (2026-11-30): volatile loads of one address stay two, with the bits that bypass caches (sc0 sc1), and a
#   loop that polls loads in each round; as sm_90's ld.volatile.
# Versions: Triton 3.9.0 (3.7.1 and 3.8.0 by hand, the same), CPython 3.11.7, Linux, no GPU. Compiled, not run on a GPU.
# Behaviour: the mark is lost on the way to the AMD backend: the difference of two volatile loads is the constant 0, without any
#   load; a poll moves out of its loop, so that a kernel which waits for a flag by it never sees the flag. No warning. A load with
#   cache_modifier=".cv" has sc0 sc1. AMDGCN_USE_BUFFER_OPS=0 changes nothing. sm_90 keeps each load, as ld.volatile.
# Output seen (2026-11-30): the same for all three versions: "90: 2 of 2 loads, 1 in the loop, marked", "gfx950: 0 of 2 loads, 0 in the loop, plain",
#   the same for gfx942
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > polls.py <<'PYTHON'
import re
import sys

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def twice(target, source, N: tl.constexpr):
    at = tl.arange(0, N)
    first = tl.load(source + at, volatile=True)
    tl.store(target + at, tl.load(source + at, volatile=True) - first)


@triton.jit
def rounds(target, source, N: tl.constexpr):
    at = tl.arange(0, N)
    total = tl.zeros((N,), tl.int32)
    for _ in range(100):
        total = total * 3 + tl.load(source + at, volatile=True)
    tl.store(target + at, total)


def loads(kernel, target):
    source = ASTSource(fn=kernel, signature={"target": "*i32", "source": "*i32", "N": "constexpr"}, constexprs={(2,): 64})
    compiled = triton.compile(source, target=target).asm
    code = compiled["ptx" if target.backend == "cuda" else "amdgcn"]
    found = [(match.start(), match[1]) for match in re.finditer(r"^\s+((?:buffer|global|flat)_load_\w+.*|ld\.\S*global\S*)", code, re.M)]
    loop = re.search(r"^(\S*BB0_\d+):(?:(?!^\S*BB0_).)*(?:s_cbranch_\w+|bra)\s+\S*\1\b", code, re.M | re.S)
    inside = [text for at, text in found if loop and loop.start() < at < loop.end()]
    return len(found), len(inside), any("volatile" in text or "sc1" in text for _, text in found)


found = {}
for target in (GPUTarget("cuda", 90, 32), GPUTarget("hip", "gfx950", 64), GPUTarget("hip", "gfx942", 64)):
    two, _, _ = loads(twice, target)
    _, inside, marked = loads(rounds, target)
    found[str(target.arch)] = two, inside, marked
    print(f"Triton {triton.__version__} {target.arch}: {two} of 2 loads, {inside} in the loop, {'marked' if marked else 'plain'}")
if found != {"90": (2, 1, True), "gfx950": (0, 0, False), "gfx942": (0, 0, False)}:
    sys.exit(f"changed: what Triton {triton.__version__} makes of a volatile load")
PYTHON

for version in ${VERSIONS:-3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet --disable-pip-version-check "triton==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" -W ignore polls.py
    rm -rf "v$version"
done
