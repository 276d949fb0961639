#!/bin/bash
# safetensors: a tensor of dtype F4 can be loaded whole, but no slice of it can be taken.
#
# Guess written down before: torch's float4_e2m1fn_x2 of [4, 16] is stored as F4 with shape [4, 32], and get_slice takes rows by
#   this shape, as for every dtype; columns in pairs.
# Versions: safetensors 0.8.0, torch 2.13.0 (CPU), CPython 3.11.7, Linux.
# Behaviour: the header is as guessed and get_tensor gives [4, 16] again. get_slice says [4, 32], and every index of it, rows too and
#   the whole as `[:]`, ends with "shape '[4, 32]' is invalid for input of size 64": one step counts numbers, the next bytes. The same
#   bytes as uint8 slice well. So a loader that shards by get_slice (tensor parallelism) cannot read an F4 checkpoint
#   that loads on one GPU. Store packed MXFP4 as uint8, as GPT-OSS's published weights do.
# Output seen (2026-11-30): "F4: header [4, 32], whole (4, 16); rows, all, columns: RuntimeError; U8: rows (2, 16)"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv v
v/bin/pip install --quiet safetensors==0.8.0 torch==2.13.0 numpy==2.3.5 2> pip.log || { cat pip.log; exit 2; } >&2
cat > slices.py <<'PYTHON'
import sys

import torch
from safetensors import safe_open
from safetensors.torch import save_file

packed = torch.arange(64, dtype=torch.uint8).view(4, 16)
save_file({"f4": packed.clone().view(torch.float4_e2m1fn_x2), "u8": packed}, "weights.safetensors")


def error(take):
    try:
        return str(tuple(take().shape))
    except RuntimeError:
        return "RuntimeError"


with safe_open("weights.safetensors", "pt") as file:
    part, plain = file.get_slice("f4"), file.get_slice("u8")
    header, whole = part.get_shape(), tuple(file.get_tensor("f4").shape)
    ways = [error(lambda: part[0:2]), error(lambda: part[:]), error(lambda: part[:, 0:16])]
    rows = error(lambda: plain[0:2])
print(f"F4: header {header}, whole {whole}; rows, all, columns: {', '.join(sorted(set(ways)))}; U8: rows {rows}")
if (header, whole, ways, rows) != ([4, 32], (4, 16), ["RuntimeError"] * 3, "(2, 16)"):
    sys.exit("changed: safetensors slices F4 otherwise")
PYTHON
v/bin/python -W ignore slices.py
