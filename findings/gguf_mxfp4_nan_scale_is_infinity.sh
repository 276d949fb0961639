#!/bin/bash
# gguf: the NaN scale of an MXFP4 block is read as infinity (or 2^127), and a NaN weight is written as a block of zeros.
#
# Guess written down before (2026-11-30): byte 255 is read as NaN, and a NaN weight stays visible, as in gguf's other block formats.
# Versions: gguf 0.19.0, numpy 2.3.5, CPython 3.11.7, Linux.
# Behaviour: under byte 255 1.0 is infinity, -1.0 minus infinity, 0.5 is 2^127 and 0.0 is 0.0; no NaN. A block with a NaN or
#   an infinity is written with byte 0 and codes 0: 32 zeros. Q4_0, Q5_0 and Q8_0 make 32 NaN of it. A block below 2^-125 is written
#   with byte 251, the exponent having wrapped, and zeros.
# Output seen (2026-11-30): "byte 255: [inf, -inf, 1.7014118346046923e+38, 0.0]", "a NaN weight: MXFP4 0 NaN, all zero True; Q4_0 32, Q5_0 32, Q8_0 32 NaN",
#   "a block of 1e-39: byte 251, 0.0"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check gguf==0.19.0 numpy==2.3.5 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import sys

import numpy as np
from gguf import GGMLQuantizationType as Kind
from gguf.quants import dequantize, quantize

block = np.array([[255, 0x02, 0x0A, 0x01, *[0x00] * 13]], np.uint8)  # a scale, then codes: 1.0, -1.0, 0.5, 0.0
read = [float(value) for value in dequantize(block, Kind.MXFP4)[0][:4]]
print("byte 255:", read)

weights = np.ones((1, 32), np.float32)
weights[0, 5] = np.nan
back = {kind: dequantize(quantize(weights, getattr(Kind, kind)), getattr(Kind, kind)) for kind in ("MXFP4", "Q4_0", "Q5_0", "Q8_0")}
lost = {kind: int(np.isnan(values).sum()) for kind, values in back.items()}
gone = bool((back["MXFP4"] == 0).all())
print(f"a NaN weight: MXFP4 {lost['MXFP4']} NaN, all zero {gone}; Q4_0 {lost['Q4_0']}, Q5_0 {lost['Q5_0']}, Q8_0 {lost['Q8_0']} NaN")

tiny = quantize(np.full((1, 32), 1e-39, np.float32), Kind.MXFP4)
print(f"a block of 1e-39: byte {tiny[0, 0]}, {dequantize(tiny, Kind.MXFP4)[0, 0]}")
if read != [float("inf"), float("-inf"), 2.0**127, 0.0] or lost != {"MXFP4": 0, "Q4_0": 32, "Q5_0": 32, "Q8_0": 32} or not gone or tiny[0, 0] != 251:
    sys.exit("changed: gguf's MXFP4 of a NaN scale, a NaN weight or a tiny block")
PYTHON
