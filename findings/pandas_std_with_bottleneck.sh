#!/usr/bin/env bash
# pandas: the standard deviation of float32 numbers depends on whether bottleneck is installed.
#
# Guess, written down before (2026-12-01): pandas reduces float32 the same with bottleneck installed as without, and bottleneck's nanmean is
#   numpy's.
# Versions: pandas 3.1.1, bottleneck 1.6.0, numpy 2.4.6, CPython 3.11.7, Linux.
# Behaviour: bottleneck adds float32 numbers one by one in float32. Its mean of 20 million times 0.1 is 0.1049 where numpy's is 0.1, and its
#   standard deviation of them is 0.0051: 5 % of spread in numbers that are all equal. pandas picks bottleneck up as soon as it is importable;
#   then `Series.std()` is 0.0051, and without it 0.0. pandas' mean and sum are kept away from bottleneck and do not change.
# Output seen (2026-12-01): "alone: std 0.0000, mean 0.1000", "with bottleneck: std 0.0051, mean 0.1000; its own nanmean 0.1049"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

cat > equal.py <<'PYTHON'
import importlib.util

import numpy as np
import pandas as pd

numbers = np.full(20_000_000, 0.1, dtype=np.float32)
series = pd.Series(numbers)
line = f"std {series.std():.4f}, mean {series.mean():.4f}"
if importlib.util.find_spec("bottleneck"):
    import bottleneck
    print(f"with bottleneck: {line}; its own nanmean {bottleneck.nanmean(numbers):.4f}")
else:
    print(f"alone: {line}")
PYTHON

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check pandas==3.1.1 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; } >&2
alone=$(v/bin/python -W ignore equal.py)
v/bin/pip install --quiet --disable-pip-version-check bottleneck==1.6.0 numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; } >&2
with=$(v/bin/python -W ignore equal.py)
printf '%s\n' "$alone" "$with"
[ "$alone" = "alone: std 0.0000, mean 0.1000" ] && [ "$with" = "with bottleneck: std 0.0051, mean 0.1000; its own nanmean 0.1049" ] ||
    { echo "changed: pandas' reductions with or without bottleneck" >&2; exit 1; }
