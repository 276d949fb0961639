#!/bin/bash
# torchao: an MXFP4 block of tiny values is read back as half of what it was.
#
# Guess: `to_mx` then `to_dtype` gives each value to within half a step, at every magnitude that has a scale byte.
#   (Met while comparing bytes, so this guess was not written down before that run.)
# Versions: torchao 0.18.0, torch 2.13.0 (CPU), CPython 3.11.7, Linux.
# Behaviour: with FLOOR, EVEN and CEIL a block of amax below 2^-124 gets byte 0, which is 2^-127, but the elements were
#   divided by 2^-126 (the scale is clamped to float32's least normal). Reading multiplies by 2^-127. With RCEIL byte 0
#   is not divided by at all, and the block becomes zeros. 2^-126 is exact in MXFP4; from byte 1 on all is well.
# Output seen (2026-11-29), exponents read back, of 2^-126 and 2^-123:
#   "FLOOR -127.0 and -123.0, EVEN -127.0 and -123.0, CEIL -127.0 and -123.0, RCEIL None and -123.0"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet torchao==0.18.0 torch==2.13.0 numpy==2.3.5 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - 2> log <<'PYTHON' || { cat log >&2; exit 1; }
import math
import sys

import torch
from torchao.prototype.mx_formats.mx_tensor import ScaleCalculationMode, to_dtype, to_mx


def back(power, mode):
    block = torch.zeros(1, 32)
    block[0, 0] = 2.0**power
    scales, values = to_mx(block, torch.float4_e2m1fn_x2, 32, ScaleCalculationMode[mode])
    read = to_dtype(values, scales, torch.float4_e2m1fn_x2, 32, torch.float32)[0, 0].item()
    return math.log2(read) if read else None


modes = ("FLOOR", "EVEN", "CEIL", "RCEIL")
tiny, small = [back(-126, mode) for mode in modes], [back(-123, mode) for mode in modes]
print("written 2^-126 and 2^-123, read back:", ", ".join(f"{m} {t} and {s}" for m, t, s in zip(modes, tiny, small)))
if tiny != [-127.0, -127.0, -127.0, None] or small != [-123.0] * 4:
    sys.exit("changed: a block at scale byte 0 is read back otherwise")
PYTHON
