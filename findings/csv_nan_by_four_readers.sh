#!/usr/bin/env bash
# pyarrow, polars: a NaN in a CSV file is a missing value for one and makes text of the whole column for the other.
#
# Guess, written down before (2026-12-01): a float column with a NaN and an infinity that pyarrow.csv writes is read by pyarrow.csv as it was.
# Versions: pyarrow 26.0.1, polars 2.1.0, pandas 3.1.1, duckdb 2.0.1, CPython 3.11.7, Linux.
# Behaviour: pyarrow.csv writes "nan", as Python's csv does, and reads it as null: the mean of [1.5, NaN, 2.5] is then 2.0 and a check for NaN
#   finds none. polars reads a number of "NaN", its own spelling, and of "inf", and not of "nan": all of the column is text. pandas and duckdb
#   read what was written. In a column of text pandas makes NaN of the quoted "nan" and "NULL"; the other three keep them.
# Output seen (2026-12-01): "f [1.5, nan, 2.5]: pyarrow [1.5, None, 2.5], polars ['1.5', 'nan', '2.5'], pandas [1.5, nan, 2.5],
#   duckdb [1.5, nan, 2.5]", "s ['nan', 'NULL', 'x']: pyarrow ['nan', 'NULL', 'x'], polars ['nan', 'NULL', 'x'], pandas [nan, nan, 'x'],
#   duckdb ['nan', 'NULL', 'x']", "mean of f: pyarrow 2.0, pandas without skipna nan"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check pyarrow==26.0.1 polars==2.1.0 pandas==3.1.1 duckdb==2.0.1 2> pip.log ||
    { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import sys

import duckdb
import pandas
import polars
import pyarrow
import pyarrow.compute
import pyarrow.csv

NUMBERS, TEXTS = [1.5, float("nan"), 2.5], ["nan", "NULL", "x"]
pyarrow.csv.write_csv(pyarrow.table({"f": NUMBERS, "s": TEXTS}), "run.csv")
read = {
    "pyarrow": pyarrow.csv.read_csv("run.csv").to_pydict(),
    "polars": polars.read_csv("run.csv").to_dict(as_series=False),
    "pandas": pandas.read_csv("run.csv").to_dict("list"),
    "duckdb": dict(zip("fs", map(list, zip(*duckdb.sql("SELECT f, s FROM read_csv('run.csv')").fetchall())))),
}
lines = [f"{column} {written}: " + ", ".join(f"{name} {columns[column]}" for name, columns in read.items())
         for column, written in (("f", NUMBERS), ("s", TEXTS))]
arrow = pyarrow.compute.mean(pyarrow.csv.read_csv("run.csv")["f"]).as_py()
lines.append(f"mean of f: pyarrow {arrow}, pandas without skipna {pandas.read_csv('run.csv')['f'].mean(skipna=False)}")
print("\n".join(lines))
if lines != [
    "f [1.5, nan, 2.5]: pyarrow [1.5, None, 2.5], polars ['1.5', 'nan', '2.5'], pandas [1.5, nan, 2.5], duckdb [1.5, nan, 2.5]",
    "s ['nan', 'NULL', 'x']: pyarrow ['nan', 'NULL', 'x'], polars ['nan', 'NULL', 'x'], pandas [nan, nan, 'x'], duckdb ['nan', 'NULL', 'x']",
    "mean of f: pyarrow 2.0, pandas without skipna nan",
]:
    sys.exit("changed: what four libraries read of a NaN in a CSV file")
PYTHON
