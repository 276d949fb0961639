#!/bin/bash
# ml_dtypes and onnx: a NaN cast to float4_e2m1fn is -0.0.
#
# Guess written down before: it raises, or saturates to 6 as an infinity does.
# Versions: ml_dtypes 0.6.0, onnx 1.23.2, numpy 2.3.5, CPython 3.11.7, Linux.
# Behaviour: code 8, which is minus zero; inf and -inf are 6 and -6. onnx.helper.make_tensor of FLOAT4E2M1 does the same
#   and says nothing. A NaN weight becomes the most harmless number there is.
# Output seen (2026-11-29): "ml_dtypes: nan -> code 8 (-0), inf -> code 7 (6)", "onnx: nan -> -0, inf -> 6"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet ml-dtypes==0.6.0 onnx==1.23.2 numpy==2.3.5 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import sys

import ml_dtypes
import numpy as np
from onnx import TensorProto, helper, numpy_helper

cast = np.array([np.nan, np.inf], np.float32).astype(ml_dtypes.float4_e2m1fn)
codes = cast.view(np.uint8).tolist()
print(f"ml_dtypes: nan -> code {codes[0]} ({cast[0]}), inf -> code {codes[1]} ({cast[1]})")
stored = numpy_helper.to_array(helper.make_tensor("x", TensorProto.FLOAT4E2M1, [2], [float("nan"), float("inf")]))
print(f"onnx: nan -> {stored[0]}, inf -> {stored[1]}")
if codes != [8, 7] or stored.view(np.uint8).tolist() != [8, 7]:
    sys.exit("changed: NaN or infinity as float4_e2m1fn")
PYTHON
