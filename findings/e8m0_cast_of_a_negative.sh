#!/bin/bash
# torch: casting a negative number to float8_e8m0fnu gives the scale of its magnitude; ml_dtypes gives NaN.
#
# Guess written down before: a negative becomes NaN in both (E8M0 has no sign), and 3.0, half-way between 2 and 4, goes
#   to 2, whose byte (128) is even, as in every other cast.
# Versions: torch 2.13.0 (CPU), ml_dtypes 0.6.0, numpy 2.3.5, CPython 3.11.7, Linux.
# Behaviour: torch -3.0 is byte 129 (4.0), ml_dtypes 255. Both round the tie 3.0 up to 4.0 and 0.75 to 1.0: away from
#   zero. A scale whose sign went wrong upstream passes through torch as a good one.
# Output seen (2026-11-29): "torch: -3.0 -> 129, 3.0 -> 129, 0.75 -> 127", "ml_dtypes: -3.0 -> 255, 3.0 -> 129, ..."
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet torch==2.13.0 ml-dtypes==0.6.0 numpy==2.3.5 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - <<'PYTHON'
import sys

import ml_dtypes
import numpy as np
import torch

numbers = [-3.0, 3.0, 0.75]
ours = torch.tensor(numbers).to(torch.float8_e8m0fnu).view(torch.uint8).tolist()
theirs = np.array(numbers, np.float32).astype(ml_dtypes.float8_e8m0fnu).view(np.uint8).tolist()
for name, bytes_ in (("torch", ours), ("ml_dtypes", theirs)):
    print(f"{name}:", ", ".join(f"{number} -> {byte}" for number, byte in zip(numbers, bytes_)))
if ours != [129, 129, 127] or theirs != [255, 129, 127]:
    sys.exit("changed: a cast to E8M0 gives other bytes")
PYTHON
