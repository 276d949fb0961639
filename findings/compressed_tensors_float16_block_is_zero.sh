#!/bin/bash
# compressed-tensors: MXFP4 of float16 weights below 2^-14 is zero; of the same weights as float32 it is not.
#
# Guess written down before: compressing float16 weights gives the bytes of their float32 copies.
# Versions: compressed-tensors 0.20.1, torch 2.13.0 (CPU), CPython 3.11.7, Linux.
# Behaviour: the scale is made in the weight's dtype. A block whose amax is a float16 subnormal (below 6.1e-5) has no
#   exponent bits, so its power of two is 0; it gets the scale byte 127 and 32 zeros. No warning. bfloat16 is right.
# Output seen (2026-11-29): "float16: byte 127, all zero; bfloat16: byte 110, kept; float32: byte 110, kept"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet compressed-tensors==0.20.1 torch==2.13.0 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - 2> log <<'PYTHON' || { cat log >&2; exit 1; }
import sys

import torch
from compressed_tensors.compressors.mxfp4.base import MXFP4PackedCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from compressed_tensors.quantization.utils.helpers import calculate_qparams

args = QuantizationArgs(num_bits=4, type="float", symmetric=True, strategy="group", group_size=32,
                        scale_dtype=torch.uint8, zp_dtype=torch.uint8)
scheme = QuantizationScheme(targets=["Linear"], weights=args)


def compress(dtype):
    weight = torch.full((1, 32), 2.0**-15, dtype=dtype)  # exact in each dtype
    scale, _ = calculate_qparams(weight.amin(-1, keepdim=True), weight.amax(-1, keepdim=True), args)
    made = MXFP4PackedCompressor.compress({"weight": weight, "weight_scale": scale}, scheme)
    return made["weight_scale"].item(), made["weight_packed"].any().item()


seen = {str(dtype)[6:]: compress(dtype) for dtype in (torch.float16, torch.bfloat16, torch.float32)}
print("2^-15:", "; ".join(f"{name}: byte {byte}, {'kept' if kept else 'all zero'}" for name, (byte, kept) in seen.items()))
if seen != {"float16": (127, False), "bfloat16": (110, True), "float32": (110, True)}:
    sys.exit("changed: float16 weights below 2^-14 compress otherwise")
PYTHON
