#!/usr/bin/env bash
# torch: isfinite of an E8M0 scale that is NaN is True, and a tensor of zeros of that type holds no zero.
#
# Guess, written down before (2026-11-30): isfinite is the opposite of "NaN or infinite" for each type that it takes; torch.zeros of a
#   type without a zero is an error, or what is full(0.0).
# Versions: torch 2.13.0 (CPU), ml_dtypes 0.6.0, numpy 2.3.5, CPython 3.11.7, Linux.
# Behaviour: of byte 255 isnan is True and isfinite is True as well, so a check of a checkpoint's scales by isfinite passes what makes
#   32 weights NaN. For float8_e5m2 it is right, for float8_e4m3fn it raises. zeros, zero_ and tensor([0.0]) make byte 0, 2^-127, which is
#   true and nonzero, and prints as "0."; full(0.0) raises where it is for more than one element. ml_dtypes: zeros is byte 0, too, but a cast of 0.0 is NaN.
# Output seen (2026-11-30): "byte 255: isnan True, isfinite True; ml_dtypes: isnan True, isfinite False",
#   "torch: zeros 0, tensor([0.0]) 0, any True, full RuntimeError; ml_dtypes: zeros 0, cast of 0.0 255"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check torch==2.13.0 ml-dtypes==0.6.0 numpy==2.3.5 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import sys

import ml_dtypes
import numpy as np
import torch

E8M0 = torch.float8_e8m0fnu
scale = torch.tensor([255], dtype=torch.uint8).view(E8M0)
theirs = np.array([255], np.uint8).view(ml_dtypes.float8_e8m0fnu)
checks = bool(torch.isnan(scale)), bool(torch.isfinite(scale)), bool(np.isnan(theirs)[0]), bool(np.isfinite(theirs)[0])
print("byte 255: isnan {}, isfinite {}; ml_dtypes: isnan {}, isfinite {}".format(*checks))

zeros = torch.zeros(1, dtype=E8M0)
try:
    full = torch.full((2,), 0.0, dtype=E8M0).view(torch.uint8).tolist()
except RuntimeError as error:
    full = type(error).__name__
made = (zeros.view(torch.uint8).item(), torch.tensor([0.0], dtype=E8M0).view(torch.uint8).item(), bool(zeros.any()), full,
        np.zeros(1, ml_dtypes.float8_e8m0fnu).view(np.uint8).item(), np.zeros(1, np.float32).astype(ml_dtypes.float8_e8m0fnu).view(np.uint8).item())
print("torch: zeros {}, tensor([0.0]) {}, any {}, full {}; ml_dtypes: zeros {}, cast of 0.0 {}".format(*made))
if checks != (True, True, True, False) or made != (0, 0, True, "RuntimeError", 0, 255):
    sys.exit("changed: NaN or zero as float8_e8m0fnu")
PYTHON
