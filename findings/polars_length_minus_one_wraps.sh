#!/usr/bin/env bash
# polars: lengths are uint32 and wrap below zero, and a sum of 32-bit integers wraps where one of 8 or 16 bits does not.
#
# Guess, written down before (2026-12-01): `list.len() - 1` of an empty list is -1, the difference of two group sizes can be negative, and a
#   sum of Int32 past 2^31 is right.
# Versions: polars 2.1.0, CPython 3.11.7, Linux.
# Behaviour: the number of a request's intervals less one is 4294967295 where it has none, so that a time per token divided by it is 0
#   instead of visibly wrong; the same of `str.len_chars()` and of `1 - len` of a group, without a warning. `diff()` of the same column is
#   signed. The sum of the Int32 numbers 2^31 - 1 and 1 is -2147483648 and of the UInt32 numbers 2^32 - 1 and 1 is 0, in `cum_sum` and `dot`, too;
#   mean is right, and so are sums of Int8 and Int16, which are made in Int64. A sum of lengths is a sum of UInt32.
# Output seen (2026-12-01): "intervals less one: [1, 4294967295, 0]", "group sizes [2, 1]: shift [None, 4294967295], diff [None, -1]",
#   "sum of Int32 -2147483648, of UInt32 0, of Int16 65534; mean of Int32 1073741824.0"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check polars==2.1.0 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - <<'PYTHON'
import sys

import polars as pl

intervals = pl.DataFrame({"itl": [[0.01, 0.02], [], [0.03]]}).select(pl.col("itl").list.len() - 1)["itl"].to_list()
print(f"intervals less one: {intervals}")
sizes = pl.DataFrame({"model": ["a", "a", "b"]}).group_by("model", maintain_order=True).len()["len"]
shift, diff = (sizes - sizes.shift(1)).to_list(), sizes.diff().to_list()
print(f"group sizes {sizes.to_list()}: shift {shift}, diff {diff}")
int32 = pl.Series([2**31 - 1, 1], dtype=pl.Int32)
sums = [int32.sum(), pl.Series([2**32 - 1, 1], dtype=pl.UInt32).sum(), pl.Series([2**15 - 1] * 2, dtype=pl.Int16).sum()]
print(f"sum of Int32 {sums[0]}, of UInt32 {sums[1]}, of Int16 {sums[2]}; mean of Int32 {int32.mean()}")
if (intervals, shift, diff, sums, int32.mean()) != (
    [1, 4294967295, 0], [None, 4294967295], [None, -1], [-2147483648, 0, 65534], 1073741824.0
):
    sys.exit("changed: what polars makes of lengths and of sums of 32 bits")
PYTHON
