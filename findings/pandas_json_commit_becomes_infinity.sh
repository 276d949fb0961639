#!/usr/bin/env bash
# pandas: read_json makes numbers of text: a short commit becomes infinity, the version "0.10" 0.1.
#
# Guess, written down before (2026-11-30): a JSON string stays text; names that end in "_time" may become dates, as its manual says.
# Versions: pandas 3.1.1, numpy 2.3.5, CPython 3.11.7, Linux.
# Behaviour: where float() takes every string of a column it is a column of numbers: "83e1042" is infinity, "0.10" 0.1, "007" 7,
#   "1_000" 1000, and "nan" is missing. One string more that is none, and all stay text: a file of two runs and one of three join on
#   other types. dtype=False keeps the text. json.loads and pandas.DataFrame of the same records keep it, too.
# Output seen (2026-11-30): "commit: [1234567.0, inf] float64", "version: [0.1, 0.9] float64", "label: [7, 12] int64",
#   "tile: [1000, 2000] int64", "a third commit: ['1234567', '83e1042', 'ab12345'] str", "dtype=False: ['1234567', '83e1042'] str"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check pandas==3.1.1 numpy==2.3.5 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import io
import json
import sys

import pandas


def read(name, *values, **how):
    lines = "".join(json.dumps({name: value}) + "\n" for value in values)
    column = pandas.read_json(io.StringIO(lines), lines=True, **how)[name]
    return f"{column.tolist()} {column.dtype}"


found = {
    "commit": read("commit", "1234567", "83e1042"),
    "version": read("version", "0.10", "0.9"),
    "label": read("label", "007", "012"),
    "tile": read("tile", "1_000", "2_000"),
    "a third commit": read("commit", "1234567", "83e1042", "ab12345"),
    "dtype=False": read("commit", "1234567", "83e1042", dtype=False),
}
for name, said in found.items():
    print(f"{name}: {said}")
if list(found.values()) != ["[1234567.0, inf] float64", "[0.1, 0.9] float64", "[7, 12] int64", "[1000, 2000] int64",
                            "['1234567', '83e1042', 'ab12345'] str", "['1234567', '83e1042'] str"]:
    sys.exit("changed: pandas.read_json of text that looks like numbers")
PYTHON
