#!/usr/bin/env bash
# numpy: a percentile of int8 numbers can lie outside of them, and a higher percentile below a lower one.
#
# Guess, written down before (2026-12-01): np.percentile of an int8 array is that of the same numbers as float64, as its median is.
# Versions: numpy 2.4.6, scipy 1.17.1, CPython 3.11.7, Linux.
# Behaviour: the difference of the two neighbours is computed in the array's type, and wraps where it passes 127: p50 of the int8 numbers
#   [-100, 100] is 128, p75 is 114. Of [-127, -127, 3, 127, 127] p60 is below p40. An array of percentiles comes without a warning, a single
#   one with a RuntimeWarning. uint8 is right, int16 and int32 wrap at their ends. np.median and scipy.stats.quantile give 0.
#   Who reads clipping bounds off few quantized weights meets it; `.astype(float)` before is the cure.
# Output seen (2026-12-01): "[-100, 100]: p50 128.0, p75 114.0; as float64 0.0, 50.0; median 0.0, scipy 0.0; warnings 0",
#   "[-127, -127, 3, 127, 127]: p40 53.4, p60 52.6; as float64 -49.0, 52.6", "int16 [-30000, 30000]: p50 32768.0"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 scipy==1.17.1 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - <<'PYTHON'
import sys
import warnings

import numpy as np
import scipy.stats


def percentiles(numbers, dtype, shares):
    return [round(float(value), 6) for value in np.percentile(np.array(numbers, dtype=dtype), shares)]


with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    ends = percentiles([-100, 100], np.int8, [50, 75])
    five = percentiles([-127, -127, 3, 127, 127], np.int8, [40, 60])
right = percentiles([-100, 100], np.float64, [50, 75]), percentiles([-127, -127, 3, 127, 127], np.float64, [40, 60])
pair = np.array([-100, 100], dtype=np.int8)
others = float(np.median(pair)), float(scipy.stats.quantile(pair, 0.5))
wide = percentiles([-30_000, 30_000], np.int16, [50])[0]
print(f"[-100, 100]: p50 {ends[0]}, p75 {ends[1]}; as float64 {right[0][0]}, {right[0][1]}; "
      f"median {others[0]}, scipy {others[1]}; warnings {len(caught)}")
print(f"[-127, -127, 3, 127, 127]: p40 {five[0]}, p60 {five[1]}; as float64 {right[1][0]}, {right[1][1]}")
print(f"int16 [-30000, 30000]: p50 {wide}")
if (ends, five, right, others, wide, caught) != (
    [128.0, 114.0], [53.4, 52.6], ([0.0, 50.0], [-49.0, 52.6]), (0.0, 0.0), 32768.0, []
):
    sys.exit("changed: numpy's percentile of small integers")
PYTHON
