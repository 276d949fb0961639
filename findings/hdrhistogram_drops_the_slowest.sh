#!/usr/bin/env bash
# hdrhistogram: a value over the highest is left out without an error, seconds become 0, and a percentile is rounded to a rank.
#
# Guess, written down before (2026-12-01): a value over the highest raises, a fraction raises or is kept, and a percentile is the smallest
#   recorded value with that share at or below it.
# Versions: hdrhistogram 0.10.8, CPython 3.11.7, Linux.
# Behaviour: record_value answers False to what is too large, and nobody who ignores the answer learns of it: of 98 requests of 2 s and 2 of
#   70 s, in milliseconds and up to 60,000, p99 and the maximum are 2 s and the count is 98. 0.7 is counted as 0 and 12.7 as 12. The rank is
#   `int(share * count + 0.5)`: of 199 values p99 is the 197th, with 98.99 % at or below it; the 198th has 99.5 %.
#   get_max_value of the one value 30,003 at three digits is 30,015: the end of its bucket.
# Output seen (2026-12-01): "2 of 100 refused silently; count 98, p99 2000, max 2000", "0.7 -> 0, 12.7 -> 12", "p99 of 1 to 199: 197",
#   "the maximum of 30003 is 30015"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check hdrhistogram==0.10.8 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - <<'PYTHON'
import sys

from hdrh.histogram import HdrHistogram


def recorded(values, highest=60_000):
    histogram = HdrHistogram(1, highest, 3)
    answers = [histogram.record_value(value) for value in values]
    return histogram, answers.count(False)


slow, refused = recorded([2000] * 98 + [70_000] * 2)
p99, maximum = slow.get_value_at_percentile(99), slow.get_max_value()
print(f"{refused} of 100 refused silently; count {slow.get_total_count()}, p99 {p99}, max {maximum}")
fractions = [recorded([value])[0].get_value_at_percentile(50) for value in (0.7, 12.7)]
print(f"0.7 -> {fractions[0]}, 12.7 -> {fractions[1]}")
rank = recorded(range(1, 200))[0].get_value_at_percentile(99)
print(f"p99 of 1 to 199: {rank}")
bucket = recorded([30_003])[0].get_max_value()
print(f"the maximum of 30003 is {bucket}")
if (refused, slow.get_total_count(), p99, maximum, fractions, rank, bucket) != (2, 98, 2000, 2000, [0, 12], 197, 30_015):
    sys.exit("changed: what hdrhistogram records and reads")
PYTHON
