#!/bin/bash
# Triton for sm_90: the registers of tl.dot's left operand are written again while wgmma may still read them.
#
# Guess written down before: a dot whose left operand was converted in registers (int8 to bf16) is safe in a pipelined
#   loop: the operand's registers are free for other values only after the wait for that wgmma.
# Versions: Triton 3.6.0, 3.7.1, 3.8.0 (their own ptxas and cuobjdump), CPython 3.11.7, Linux, no GPU.
# Behaviour: the last wgmma group of the loop's body is in flight (wait_group 1) when the loop starts again. Nothing
#   ties its left operand to the wait, and ptxas gives those registers to the next iteration's values before it. The
#   PTX manual calls such an access undefined. Control: a bf16 left operand goes through shared memory; no such write.
#   Reported as Triton issue 9433 (open). Its remedy, a copy of the operand before each wgmma, is in the PTX of 3.8.0.
# What is shown: the machine code. Whether a product is wrong depends on when the matrix unit reads; not run here.
# Output seen (2026-11-29):
#   3.6.0 "int8 left operand: HGMMA reads R60..R63, in flight at the loop's end; 3 writes before the next wait, ..."
#   3.7.1 and 3.8.0 "... R56..R59 ...; 26 writes before the next wait, the first: PRMT R57, R12, 0x3340, R21"
#   each "bf16 left operand: no HGMMA of the loop reads its left operand from registers"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > product.py <<'PYTHON'
import re
import subprocess
import sys
from pathlib import Path

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def product(a, b, c, K: tl.constexpr):
    row = tl.arange(0, 64)[:, None]
    column = tl.arange(0, 64)[None, :]
    total = tl.zeros((64, 64), tl.float32)
    for at in range(0, K, 64):
        left = tl.load(a + row * K + at + column).to(tl.bfloat16)
        right = tl.load(b + (at + row) * 64 + column)
        total = tl.dot(left, right, total)
    tl.store(c + row * 64 + column, total)


def loop(kind):
    """The loop around the matrix instructions: (opcode, operands) of each instruction, in order."""
    aligned = {(i,): [["tt.divisibility", 16]] for i in range(3)}
    signature = {"a": kind, "b": "*bf16", "c": "*fp32", "K": "constexpr"}
    source = ASTSource(fn=product, signature=signature, constexprs={(3,): 4096}, attrs=aligned)
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4, "num_stages": 3})
    Path("product.cubin").write_bytes(built.asm["cubin"])
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    text = subprocess.run([tool, "--dump-sass", "product.cubin"], capture_output=True, text=True, check=True).stdout
    code = re.findall(r"/\*([0-9a-f]{4})\*/ +(?:@\S+ )?(\S+) ?([^;]*);", text)
    start = end = 0
    for address, opcode, operands in code:
        if opcode == "BRA" and (goal := int(operands.strip().split()[-1], 16)) < int(address, 16):
            start, end = goal, int(address, 16)
            break
    return [(opcode, operands) for address, opcode, operands in code if start <= int(address, 16) <= end]


def early_writes(kind):
    """Last HGMMA's left registers (None: in shared memory, or waited for), and the next iteration's writes before."""
    body = loop(kind)
    last = max(i for i, (opcode, _) in enumerate(body) if opcode.startswith("HGMMA"))
    left = re.match(r"R\d+, R(\d+),", body[last][1])
    if not left:
        return None, []
    waits = [i for i, (opcode, _) in enumerate(body) if opcode == "WARPGROUP.DEPBAR.LE"]
    after = [int(body[i][1].split()[-1], 16) for i in waits if i > last]
    if after and min(after) == 0:
        return None, []
    registers = range(int(left[1]), int(left[1]) + 4)
    written = []
    for opcode, operands in body[: waits[0] if waits else len(body)]:
        target = None if opcode.startswith(("ST", "HGMMA")) else re.match(r"R(\d+)\b", operands)
        if target and int(target[1]) in registers:
            written.append(f"{opcode} {operands.strip()}")
    return registers, written


registers, writes = early_writes("*i8")
plain, none = early_writes("*bf16")
print(f"Triton {triton.__version__}")
if registers:
    print(f"  int8 left operand: HGMMA reads R{registers[0]}..R{registers[-1]}, in flight at the loop's end; "
          f"{len(writes)} writes before the next wait, the first: {writes[0] if writes else '-'}")
if plain is None:
    print("  bf16 left operand: no HGMMA of the loop reads its left operand from registers")
if not writes or none or plain:
    sys.exit(f"changed: Triton {triton.__version__} has no early write for int8, or has registers for bf16")
PYTHON

for version in 3.6.0 3.7.1 3.8.0; do
    python3 -m venv "v$version"
    "v$version/bin/pip" install --quiet "triton==$version" 2> pip.log || { cat pip.log; exit 2; } >&2
    TRITON_CACHE_DIR="$work/cache$version" "v$version/bin/python" product.py
    rm -rf "v$version"
done
