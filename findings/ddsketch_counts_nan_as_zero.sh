#!/usr/bin/env bash
# ddsketch: a NaN is counted as the value 0, so that a request without a latency lowers every percentile.
#
# Guess, written down before (2026-11-30): add(nan) raises, or leaves the sketch as it was; an infinity likewise.
# Versions: ddsketch 3.0.1, CPython 3.11.7, Linux.
# Behaviour: NaN falls through the tests for > 0 and < 0 into the bucket of zeros: the count grows, a quantile below that share is 0, and
#   the sum and the average are NaN, which is the one sign of it. An infinity is an OverflowError.
# Output seen (2026-11-30): "of 6 times NaN and 4 times 50.0: count 10, p50 0.0, p90 49.9, average nan", "an infinity: OverflowError"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check ddsketch==3.0.1 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import sys

from ddsketch import DDSketch

sketch = DDSketch(0.01)
for value in [float("nan")] * 6 + [50.0] * 4:
    sketch.add(value)
quantiles = [float(sketch.get_quantile_value(share)) for share in (0.5, 0.9)]
print(f"of 6 times NaN and 4 times 50.0: count {sketch.count:g}, p50 {quantiles[0]:.1f}, p90 {quantiles[1]:.1f}, average {sketch.avg}")
try:
    DDSketch(0.01).add(float("inf"))
    infinity = "taken"
except OverflowError as error:
    infinity = type(error).__name__
print("an infinity:", infinity)
if sketch.count != 10 or quantiles[0] != 0 or not 49 < quantiles[1] < 51 or infinity != "OverflowError":
    sys.exit("changed: what ddsketch makes of a NaN or an infinity")
PYTHON
