#!/bin/bash
# Triton, sm_90: how many neighbours along K a lane of the bf16 operand holds depends on Triton's version.
#
# Guess written down before: an operand made of loaded 32-bit words, each split into two bf16, has one layout in every
#   version of Triton: kWidth 2, what a word holds, or 4.
# Versions: Triton 3.6.0, 3.7.1, 3.8.0, 3.9.0 (compiled for sm_90 on a CPU; torch is not needed).
# Behaviour: 3.6.0 and 3.7.1 give both operands kWidth 4; 3.8.0 and 3.9.0 give them 2. A kernel that labels K itself for
#   one of them, so that loaded words are its operand, pays warp shuffles under the other, and nothing says so. One byte
#   tensor added to the words makes it 8 in all four. Read it off the TTGIR of the version that you ship with.
# Output seen (2026-11-30): "3.6.0: kWidth 4, with a byte tensor added 8" and the same with 3.7.1: 4, 3.8.0: 2, 3.9.0: 2
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > words.py <<'PY'
import re

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def product(words, more, right, out, K: tl.constexpr, BYTES: tl.constexpr):
    row, column, k = tl.arange(0, 16)[:, None], tl.arange(0, 16)[None, :], tl.arange(0, 64)
    pair = tl.arange(0, 32)[None, :]
    total = tl.zeros((16, 16), tl.float32)
    for at in range(0, K, 64):
        word = tl.load(words + row * (K // 2) + at // 2 + pair)
        if BYTES:
            word += tl.load(more + row * (K // 32) + (at + 2 * pair) // 32).to(tl.int32)
        low = (word & 0xFFFF).to(tl.int16).to(tl.bfloat16, bitcast=True)
        high = (word >> 16).to(tl.int16).to(tl.bfloat16, bitcast=True)
        left = tl.reshape(tl.join(low, high), [16, 64])
        total = tl.dot(left, tl.load(right + column * K + at + k[:, None]), total)
    tl.store(out + row * 16 + column, total)


def width(with_bytes):
    kinds = {"words": "*i32", "more": "*u8", "right": "*bf16", "out": "*fp32", "K": "constexpr", "BYTES": "constexpr"}
    source = ASTSource(fn=product, signature=kinds, constexprs={"K": 512, "BYTES": with_bytes},
                       attrs={(at,): [["tt.divisibility", 16]] for at in range(4)})
    text = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 1}).asm["ttgir"]
    return ",".join(sorted(set(re.findall(r"kWidth = (\d+)", text))))


print(f"{triton.__version__}: kWidth {width(0)}, with a byte tensor added {width(1)}")
PY
changed=0
for pair in 3.6.0:4 3.7.1:4 3.8.0:2 3.9.0:2; do
    version=${pair%:*}
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --target "$version" "triton==$version" || exit 2
    said=$(TRITON_CACHE_DIR="$work/cache" PYTHONPATH="$work/$version" python3 -P -W ignore words.py)
    echo "$said"
    [ "$said" = "$version: kWidth ${pair#*:}, with a byte tensor added 8" ] || { echo "CHANGED: expected kWidth ${pair#*:}, then 8" >&2; changed=1; }
    rm -rf "$version"
done
exit $changed
