#!/bin/bash
# tdigest: of 97 latencies of 50 ms and 3 of 900 ms it says p50 75.5 and p90 755.5.
#
# Guess written down before: of 100 values p50 and p90 are 50, as 97 of them are; p99 is between 50 and 900.
# Versions: tdigest 0.5.2.2, numpy 2.3.5, CPython 3.11.7, Linux.
# Behaviour: equal values become one centroid with their weight, 97, and a percentile is read off a line to the next centroid, as
#   if the 97 lay spread between. With distinct values (1 to 100) it is right to half a value. Latencies have ties: a clock of 1 ms,
#   a server that sends every token after the same time, and small runs.
#   The least bit of noise on the values makes it right.
# Output seen (2026-11-30):
#   "tied: p50 75.5, p90 755.5, p95 840.5; numpy: 50, 50, 50; with noise of 0.001: p50 50.0, p90 50.0, p95 50.0"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv v
v/bin/pip install --quiet tdigest==0.5.2.2 numpy==2.3.5 2> pip.log || { cat pip.log; exit 2; } >&2
cat > ties.py <<'PYTHON'
import sys

import numpy as np
from tdigest import TDigest


def read(values):
    digest = TDigest()
    digest.batch_update(values)
    return [round(float(digest.percentile(at)), 1) for at in (50, 90, 95)]


values = [50.0] * 97 + [900.0] * 3
tied, true = read(values), np.percentile(values, (50, 90, 95)).tolist()
noisy = read([each + 0.00001 * at for at, each in enumerate(values)])
print("tied: p50 {}, p90 {}, p95 {}; numpy:".format(*tied), ", ".join(f"{each:g}" for each in true) + "; with noise of 0.001:",
      "p50 {}, p90 {}, p95 {}".format(*noisy))
if tied != [75.5, 755.5, 840.5] or true != [50, 50, 50] or noisy != [50, 50, 50]:
    sys.exit("changed: tdigest reads percentiles of ties otherwise")
PYTHON
v/bin/python ties.py
