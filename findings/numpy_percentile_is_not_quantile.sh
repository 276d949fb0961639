#!/usr/bin/env bash
# numpy: p99.9 of 1,000 values by `inverted_cdf` is the largest, and quantile 0.999 of them is not.
#
# Guess, written down before (2026-12-01): np.percentile's method "inverted_cdf" is the smallest value with its share at or below it, at p50,
#   p90, p95, p99 and p99.9, of any number of values.
# Versions: numpy 2.4.6, CPython 3.11.7, Linux.
# Behaviour: np.percentile divides 99.9 by 100, which is 0.9990000000000001, and the rank of 1,000 values becomes 999.0000000000001, hence
#   1,000: p99.9 is the maximum. np.quantile of 0.999 is the 999th. Of 1 to 5,000 values that is so at 1,000, 2,000, 3,000, 4,000 and 5,000 alone, the
#   round numbers that a benchmark asks for; p50, p90, p95 and p99 are right everywhere. p7, p14, p28, p55 and p56 of 100 are one rank too high.
#   The default method moves by 1e-16 of a step and shows nothing.
# Output seen (2026-12-01): "p99.9 of 1 to 1000: percentile 1000, quantile 999", "wrong up to 5000 values: p99.9 of 1000, 2000, 3000, 4000, 5000",
#   "of 100 values one rank too high: p7, p14, p28, p55, p56"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check numpy==2.4.6 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - <<'PYTHON'
import sys

import numpy as np

thousand = np.arange(1, 1001)
percentile = int(np.percentile(thousand, 99.9, method="inverted_cdf"))
quantile = int(np.quantile(thousand, 0.999, method="inverted_cdf"))
print(f"p99.9 of 1 to 1000: percentile {percentile}, quantile {quantile}")


def wrong(share, per_mille, count):
    rank = -(-count * per_mille // 1000)
    return int(np.percentile(np.arange(1, count + 1), share, method="inverted_cdf")) != max(1, rank)


SHARES = {50: 500, 90: 900, 95: 950, 99: 990, 99.9: 999}
sizes = {share: [count for count in range(1, 5001) if wrong(share, per_mille, count)] for share, per_mille in SHARES.items()}
print("wrong up to 5000 values: " + "; ".join(f"p{share} of {', '.join(map(str, counts))}" for share, counts in sizes.items() if counts))
whole = [share for share in range(1, 100) if wrong(share, 10 * share, 100)]
print("of 100 values one rank too high: " + ", ".join(f"p{share}" for share in whole))
if (percentile, quantile) != (1000, 999) or sizes != {50: [], 90: [], 95: [], 99: [], 99.9: [1000, 2000, 3000, 4000, 5000]}:
    sys.exit("changed: numpy's rank of p99.9")
PYTHON
