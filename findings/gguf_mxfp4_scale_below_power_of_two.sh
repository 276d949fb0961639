#!/bin/bash
# gguf: the MXFP4 scale of a block whose largest value lies just below a power of two is one too large.
#
# Guess: `floor(log2(d)) - 2 + 127` in gguf/quants.py is the exponent of d, so amax 255.99998 and 128 have one byte.
#   (Met while comparing bytes, so this guess was not written down before that run.)
# Versions: gguf 0.19.0, numpy 2.3.5, CPython 3.11.7, Linux x86-64.
# Behaviour: the logarithm is a float32. From 2^5 up (and down from 2^-5) the one of the next lower float32 rounds to
#   the integer above, floor keeps it, and the block gets the scale of the power that it does not reach: every element
#   that needed the finer step loses one bit. Other libraries take the exponent's bits.
# Output seen (2026-11-29): "amax 256 - 1 step: byte 133, the exponent's bits say 132; 16.0 ... 0.0"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet gguf==0.19.0 numpy==2.3.5 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - <<'PYTHON'
import sys

import numpy as np
from gguf.quants import MXFP4

below = np.nextafter(np.float32(256), np.float32(0))
block = np.zeros((1, 32), np.float32)
block[0, 0], block[0, 1] = below, 16.0  # 16 is half a step of scale 2^5: representable, and of scale 2^6 it is a tie
raw = MXFP4.quantize(block)
back = MXFP4.dequantize(raw)
bits = int(np.frexp(below)[1]) - 1 - 2 + 127
print(f"amax 256 - 1 step: byte {raw[0, 0]}, the exponent's bits say {bits}; 16.0 beside it is read as {back[0, 1]}")
if (int(raw[0, 0]), bits, float(back[0, 1])) != (133, 132, 0.0):
    sys.exit("changed: the scale below a power of two is the exponent's, or 16.0 is kept")
PYTHON
