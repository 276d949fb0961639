#!/usr/bin/env bash
# ml_dtypes: the mean of 1,000 bfloat16 ones is 0.256, and their sum 256.
#
# Guess, written down before (2026-11-30): numpy adds them in float32, as it does for float16: 1.0 and 1000.
# Versions: ml_dtypes 0.6.0, numpy 2.3.5, CPython 3.11.7, Linux.
# Behaviour: np.sum, np.mean, np.cumsum and np.var of bfloat16, float8 and float4 arrays round after each addition and stop where one more
#   is lost: 256 in bfloat16, 16 in float8_e4m3fn, 8 in float8_e5m2, 4 in float4_e2m1fn. np.dot is right in bfloat16, and so is
#   everything with dtype=np.float32. A checkpoint's mean weight, or a mean error over it, is far too small, without a word.
# Output seen (2026-11-30): "float16: sum 1000, mean 1", "bfloat16: sum 256, mean 0.255859", "float8_e4m3fn: sum 16, mean 0.015625",
#   "float8_e5m2: sum 8, mean 0.0078125", "bfloat16 with dtype=float32: mean 1, dot 1000"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check ml-dtypes==0.6.0 numpy==2.3.5 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - <<'PYTHON'
import sys

import ml_dtypes
import numpy as np

found = {}
for name in ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"):
    ones = np.ones(1000, getattr(np, name, None) or getattr(ml_dtypes, name))
    found[name] = float(ones.sum()), float(ones.mean())
    print(f"{name}: sum {found[name][0]:g}, mean {found[name][1]:g}")
ones = np.ones(1000, ml_dtypes.bfloat16)
wide = float(ones.mean(dtype=np.float32)), float(ones @ ones)
print(f"bfloat16 with dtype=float32: mean {wide[0]:g}, dot {wide[1]:g}")
if [total for total, _ in found.values()] != [1000, 256, 16, 8] or found["float16"][1] != 1 or not 0.25 < found["bfloat16"][1] < 0.26 or wide != (1, 1000):
    sys.exit("changed: sums of ml_dtypes' numbers")
PYTHON
