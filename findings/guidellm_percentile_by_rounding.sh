#!/usr/bin/env bash
# guidellm: which of the measured values is p90 or the median depends on how 1/n rounds.
#
# Guess, written down before (2026-11-30): the percentiles are numpy's: of 1 and 3 the median is 2, of 1 .. 10 p90 is 9.1; or the
#   nearest rank throughout: 1 and 9.
# Versions: guidellm 0.8.1, numpy 2.3.5, CPython 3.11.7, Linux.
# Behaviour: the nearest rank, found in a running sum of 1/n in float64: ten times 0.1 passes 0.9 one value late. So of 10 requests p90
#   is the largest, of 20 it is the 18th; the median of 10 is the lower of the middle two, of 12 the upper. Of the counts 2 to 200
#   a quarter have a p50 one rank too high. Nothing says so. The public DistributionSummary is what its benchmarks report with.
# Output seen (2026-11-30): "p90 of 1..10: 10.0, of 1..20: 18.0", "median of 1..10: 5.0, of 1..12: 7.0, of 1, 3: 1.0",
#   "of 199 counts a rank too high: {'p50': 49, 'p90': 12, 'p95': 5}"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check --no-deps guidellm==0.8.1 2> pip.log || { cat pip.log; exit 2; } >&2  # of 6 GB with torch
v/bin/pip install --quiet --disable-pip-version-check numpy==2.3.5 pydantic==2.14.4 pydantic-settings==2.16.3 loguru==0.7.3 \
    2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import sys

from guidellm.schemas import DistributionSummary


def of(count):
    return DistributionSummary.from_values([float(value) for value in range(1, count + 1)])


p90 = {count: of(count).percentiles.p90 for count in (10, 20)}
median = {count: of(count).median for count in (10, 12)}
pair = DistributionSummary.from_values([1.0, 3.0]).median
late = {name: sum(getattr(of(count).percentiles, name) != -(-count * tenths // 20) for count in range(2, 201))
        for name, tenths in (("p50", 10), ("p90", 18), ("p95", 19))}
print(f"p90 of 1..10: {p90[10]}, of 1..20: {p90[20]}")
print(f"median of 1..10: {median[10]}, of 1..12: {median[12]}, of 1, 3: {pair}")
print("of 199 counts a rank too high:", late)
if p90 != {10: 10.0, 20: 18.0} or median != {10: 5.0, 12: 7.0} or pair != 1.0:
    sys.exit("changed: guidellm finds its percentiles otherwise")
PYTHON
