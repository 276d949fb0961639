#!/usr/bin/env bash
# Triton 3.9.0 for sm_90: each product of a pipelined loop gets a fence of its own, and with more than one warp group a barrier.
#
# Guess (put into words after our own kernels' code had been seen, 2026-11-30): a loop that brings the shared operands of four products in by one cp.async.wait_group passes
#   one fence.proxy.async behind it, as under 3.8.0, and as many barriers as there.
# Versions: Triton 3.8.0, 3.9.0 (3.6.0 by hand: no fence in the loop), CPython 3.11.7, Linux, no GPU. Compiled, not run on a GPU.
# Behaviour: 3.9.0 sets the fence in front of each wgmma group, though nothing is written to shared memory between them; with 16 warps
#   (four warp groups) each fence has a bar.sync in front: 7 in the loop where 3.8.0 has 4. With 4 warps the barriers stay 4.
#   What it costs on an H200 in a kernel of that kind is in docs/kernels-moe.md (one 7 % slower layer).
# Output seen (2026-11-30):
#   Triton 3.8.0, 4 warps: 8 wgmma, 1 fence, 4 barriers, 2 waits; 16 warps: 8 wgmma, 1 fence, 4 barriers, 2 waits
#   Triton 3.9.0, 4 warps: 8 wgmma, 4 fence, 4 barriers, 2 waits; 16 warps: 8 wgmma, 4 fence, 7 barriers, 2 waits
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
def product(w_ptr, x_ptr, out_ptr, K: tl.constexpr, ROWS: tl.constexpr, BM: tl.constexpr, PARTS: tl.constexpr):
    row, column, k = tl.arange(0, ROWS), tl.arange(0, BM), tl.arange(0, 32)
    acc = tl.zeros([ROWS, BM], tl.float32)
    for step in tl.range(0, K, 32 * PARTS, num_stages=3):
        for part in tl.static_range(PARTS):
            at = step + part * 32 + k
            w = tl.load(w_ptr + row[:, None] * K + at[None, :]).to(tl.float32) * 2.0
            x = tl.load(x_ptr + column[None, :] * K + at[:, None])
            acc = tl.dot(w.to(tl.bfloat16), x, acc)
    tl.store(out_ptr + row[:, None] * BM + column[None, :], acc)


NAMES = {"wgmma": "wgmma.mma_async", "fence": "fence.proxy.async", "barriers": "bar.sync", "waits": "cp.async.wait_group"}


def loop(warps):
    """Counts in the basic block that has the most products."""
    pointers = {"w_ptr": "*bf16", "x_ptr": "*bf16", "out_ptr": "*fp32"}
    signature = pointers | dict.fromkeys(("K", "ROWS", "BM", "PARTS"), "constexpr")
    aligned = {(at,): [["tt.divisibility", 16]] for at in range(3)}
    source = ASTSource(fn=product, signature=signature, constexprs={(3,): 2048, (4,): 16 * warps, (5,): 64, (6,): 4}, attrs=aligned)
    code = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps}).asm["ptx"]
    body = max(re.split(r"^\$L__BB\w+:", code, flags=re.M), key=lambda block: block.count(NAMES["wgmma"]))
    return [body.count(text) for text in NAMES.values()]


found = {warps: loop(warps) for warps in (4, 16)}
print(f"Triton {triton.__version__},", "; ".join(
    f"{warps} warps: " + ", ".join(f"{count} {name}" for name, count in zip(NAMES, counts)) for warps, counts in found.items()))
EXPECTED = {"3.8.0": {4: [8, 1, 4, 2], 16: [8, 1, 4, 2]}, "3.9.0": {4: [8, 4, 4, 2], 16: [8, 4, 7, 2]}}
if found != EXPECTED.get(triton.__version__, found):
    sys.exit(f"changed: Triton {triton.__version__} fences the products of a loop otherwise")
PYTHON

for version in ${VERSIONS:-3.8.0 3.9.0}; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet --disable-pip-version-check "triton==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" fences.py 2> python.log || { cat python.log; exit 1; } >&2
    rm -rf "v$version"
done
