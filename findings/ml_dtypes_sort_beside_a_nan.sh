#!/usr/bin/env bash
# ml_dtypes: np.sort of an array with one NaN does not sort the rest.
#
# Guess, written down before (2026-11-30): NaN goes last, as numpy sorts its own floats.
# Versions: ml_dtypes 0.6.0, numpy 2.3.5, CPython 3.11.7, Linux.
# Behaviour: [3, NaN, 1, 2] in bfloat16, float8_e4m3fn and float8_e5m2 stays as it is; np.argsort, np.unique and what is built on them
#   (a search in the sorted array) follow. np.median is NaN in each. For float16 and float32 numpy gives [1, 2, 3, NaN].
# Output seen (2026-11-30): "float16: [1, 2, 3, nan]", "bfloat16: [3, nan, 1, 2]", the same for float8_e4m3fn and float8_e5m2
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check ml-dtypes==0.6.0 numpy==2.3.5 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import sys

import ml_dtypes
import numpy as np

found = {}
for name in ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"):
    numbers = np.array([3, np.nan, 1, 2], np.float32).astype(getattr(np, name, None) or getattr(ml_dtypes, name))
    sorts = [f"[{', '.join(f'{value:g}' for value in each.astype(np.float32))}]" for each in (np.sort(numbers), numbers[np.argsort(numbers)], np.unique(numbers))]
    print(f"{name}: {sorts[0]}, by argsort {sorts[1]}, unique {sorts[2]}, median {float(np.median(numbers)):g}")
    found[name] = set(sorts)
if found.pop("float16") != {"[1, 2, 3, nan]"} or any(each != {"[3, nan, 1, 2]"} for each in found.values()):
    sys.exit("changed: the order of ml_dtypes' numbers beside a NaN")
PYTHON
