#!/usr/bin/env bash
# torch: an infinity, or anything too large, is 448 as float8_e4m3fn and NaN as float8_e4m3fnuz.
#
# Guess, written down before (2026-11-30): a cast that overflows is NaN in both (neither has an infinity), as ml_dtypes does it.
# Versions: torch 2.13.0 (CPU), ml_dtypes 0.6.0, numpy 2.3.5, CPython 3.11.7, Linux.
# Behaviour: float8_e4m3fn (gfx950, NVIDIA) saturates, an infinity and 1e30 too: 448; NaN alone stays NaN. float8_e4m3fnuz (gfx942)
#   makes NaN of them, float8_e5m2 an infinity. ml_dtypes makes NaN of both e4m3. So an attention whose cache overflows shows NaN
#   on one AMD chip and plausible numbers on the next, and bytes written by numpy differ from those by torch.
# Output seen (2026-11-30): "float8_e4m3fn: torch inf -> 448, 500 -> 448, nan -> nan; ml_dtypes inf -> nan, 500 -> nan, nan -> nan",
#   "float8_e4m3fnuz: torch inf -> nan, 500 -> nan, nan -> nan; ml_dtypes inf -> nan, ...", "float8_e5m2: torch inf -> inf, 500 -> 512, ..."
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

NUMBERS = [float("inf"), 500.0, float("nan")]
found = {}
for name in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2"):
    ours = torch.tensor(NUMBERS).to(getattr(torch, name)).float().tolist()
    theirs = np.array(NUMBERS, np.float32).astype(getattr(ml_dtypes, name)).astype(np.float32).tolist()
    found[name] = [f"{value:g}" for value in ours], [f"{value:g}" for value in theirs]
    print(f"{name}:", "; ".join(library + " " + ", ".join(f"{number:g} -> {value}" for number, value in zip(NUMBERS, values))
                                for library, values in zip(("torch", "ml_dtypes"), found[name])))
if found != {"float8_e4m3fn": (["448", "448", "nan"], ["nan"] * 3), "float8_e4m3fnuz": (["nan"] * 3, ["nan"] * 3),
             "float8_e5m2": (["inf", "512", "nan"], ["inf", "512", "nan"])}:
    sys.exit("changed: a cast that overflows float8")
PYTHON
