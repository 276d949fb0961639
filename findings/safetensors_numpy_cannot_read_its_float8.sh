#!/bin/bash
# safetensors.numpy writes float8 arrays that safetensors.numpy cannot read.
#
# Guess written down before: what save_file takes (ml_dtypes' float8_e8m0fnu and float8_e4m3fn; bfloat16) load_file gives back.
# Versions: safetensors 0.8.0, ml-dtypes 0.6.0, numpy 2.3.5, CPython 3.11.7, Linux.
# Behaviour: F8_E8M0 and F8_E4M3 are written, exit code 0, and reading them ends with AttributeError: module 'numpy' has no attribute
#   'float8_e8m0fnu', also for a file that torch wrote, and also with ml_dtypes imported. One such tensor (MX scales) makes load_file
#   of the whole file fail. bfloat16 comes back.
# Output seen (2026-11-30): "bfloat16: written, read; float8_e4m3fn: written, AttributeError; float8_e8m0fnu: written, AttributeError"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv v
v/bin/pip install --quiet safetensors==0.8.0 ml-dtypes==0.6.0 numpy==2.3.5 2> pip.log || { cat pip.log; exit 2; } >&2
cat > both.py <<'PYTHON'
import sys

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file


def read(dtype):
    save_file({"scales": np.ones((2, 4)).astype(dtype), "index": np.arange(3)}, "file.safetensors")
    try:
        return "read" if load_file("file.safetensors")["scales"].dtype == dtype else "read as another"
    except AttributeError:
        return "AttributeError"


seen = {name: read(getattr(ml_dtypes, name)) for name in ("bfloat16", "float8_e4m3fn", "float8_e8m0fnu")}
print("; ".join(f"{name}: written, {what}" for name, what in seen.items()))
if list(seen.values()) != ["read", "AttributeError", "AttributeError"]:
    sys.exit("changed: safetensors.numpy reads float8 otherwise")
PYTHON
v/bin/python both.py
