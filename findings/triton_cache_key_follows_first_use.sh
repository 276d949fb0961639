#!/bin/bash
# The key under which Triton keeps a kernel on disk depends on which kernel of the process was used first.
#
# Guess written down before (as a test): a process that launches the same kernels in another order finds in Triton's cache
#   what an earlier process put there.
# Versions: Triton 3.6.0, 3.7.1, 3.8.0 and 3.9.0, CPython 3.11, Linux, no GPU.
# Behaviour: two kernels call one helper, and the helper reads a global tl.constexpr. The first of them to be hashed does not
#   have the helper's constant in its key, the second has: a function's constants are merged into its caller's before they
#   are collected, so they are there only if somebody else made the helper's key before. `cache_key` of either kernel is
#   hence one of two, by the order of first use. On disk that is another entry: the kernel is compiled again, in silence, to
#   the same machine code. Triton 3.8.0 and 3.9.0 give one key.
# Output seen (2026-11-30): "two keys" for 3.6.0 and 3.7.1, "one key" for 3.8.0 and 3.9.0
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > kernels.py <<'PYTHON'
import sys

import triton
import triton.language as tl

STEP = tl.constexpr(2)


@triton.jit
def helper(x):
    return x * STEP


@triton.jit
def first(ptr):
    tl.store(ptr, helper(tl.load(ptr)))


@triton.jit
def second(ptr):
    tl.store(ptr, helper(tl.load(ptr) + 1))


for name in sys.argv[1:]:
    key = globals()[name].cache_key
    if name == "second":
        print(key)
PYTHON

for version in ${VERSIONS:-3.6.0 3.7.1 3.8.0 3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet "triton==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    alone=$("v$version/bin/python" kernels.py second 2>/dev/null)
    after=$("v$version/bin/python" kernels.py first second 2>/dev/null)
    seen="one key"; [ "$alone" = "$after" ] || seen="two keys"
    echo "Triton $version: $seen"
    want="two keys"; case $version in 3.[89].*) want="one key" ;; esac
    [ "$seen" = "$want" ] || { echo "changed: Triton $version gives $seen" >&2; exit 1; }
    rm -rf "v$version"
done
