#!/bin/bash
# compressed-tensors: one NaN or infinity makes its whole MXFP4 block zero, with a scale byte of 127.
#
# Guess: the block's scale becomes 255 (NaN in E8M0), or compressing it is an error: a broken weight stays visible.
#   (Met while comparing bytes, so this guess was not written down before that run.)
# Versions: compressed-tensors 0.20.1, torch 2.13.0 (CPU), CPython 3.11.7, Linux.
# Behaviour: amax is NaN or infinite; its logarithm as an integer lands at byte 127, and all 32 elements are 0. Nothing
#   is warned, and no check of the checkpoint for NaN or 255 can find it again: 31 good weights are gone too.
# Output seen (2026-11-29): "nan: scale byte 127, codes of the block all 0", the same for inf; a good block: byte 123
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


def compress(bad):
    weight = torch.full((1, 32), 0.25)
    weight[0, 3] = bad
    scale, _ = calculate_qparams(weight.amin(-1, keepdim=True), weight.amax(-1, keepdim=True), args)
    made = MXFP4PackedCompressor.compress({"weight": weight, "weight_scale": scale}, scheme)
    return made["weight_scale"].item(), made["weight_packed"].any().item()


seen = {name: compress(float(name)) for name in ("nan", "inf", "0.25")}
for name, (byte, some) in seen.items():
    print(f"a block of 0.25 with one {name}: scale byte {byte}, codes {'not ' if some else ''}all 0")
if seen != {"nan": (127, False), "inf": (127, False), "0.25": (123, True)}:
    sys.exit("changed: a NaN or an infinity no longer makes a block of zeros")
PYTHON
