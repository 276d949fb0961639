#!/usr/bin/env bash
# duckdb: read_json takes a label of three numbers for a date, and reads one column in two orders.
#
# Guess, written down before (2026-11-30): a JSON string stays a VARCHAR, unless all are ISO 8601 dates.
# Versions: duckdb 2.0.1, pyarrow 26.0.1, polars 2.1.0, CPython 3.11.7, Linux.
# Behaviour: the sweep labels "4-8-16" and "8-8-16" are 2004-08-16 and 2008-08-16 (year first); "1-8-64" in the same column is
#   2064-08-01 (day first); where "16-8-32" comes first "4-8-16" is 2016-08-04. "1:30" is a TIME. One label that is no date
#   ("16-16-16") and all are text again; pyarrow and polars keep text. So two files of one sweep have two types of column.
#   Cure: columns={'label': 'VARCHAR'}.
# Output seen (2026-11-30): see the lines that it prints; the first: "['4-8-16', '8-8-16'] -> DATE ['2004-08-16', '2008-08-16']"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check duckdb==2.0.1 polars==2.1.0 pyarrow==26.0.1 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - <<'PYTHON'
import json
import sys

import duckdb
import polars
import pyarrow.json

EXPECTED = {
    ("4-8-16", "8-8-16"): ["DATE", "2004-08-16", "2008-08-16"],
    ("4-8-16", "1-8-64"): ["DATE", "2004-08-16", "2064-08-01"],
    ("16-8-32", "4-8-16"): ["DATE", "2032-08-16", "2016-08-04"],
    ("1:30", "0:45"): ["TIME", "01:30:00", "00:45:00"],
    ("4-8-16", "16-16-16"): ["VARCHAR", "4-8-16", "16-16-16"],
}
changed = []
for labels, expected in EXPECTED.items():
    with open("records.json", "w") as file:
        file.writelines(json.dumps({"label": label}) + "\n" for label in labels)
    rows = duckdb.sql("SELECT label, typeof(label) FROM read_json('records.json')").fetchall()
    others = polars.read_ndjson("records.json")["label"].to_list(), pyarrow.json.read_json("records.json").column("label").to_pylist()
    print(list(labels), "->", rows[0][1], [str(label) for label, _ in rows])
    if [rows[0][1], *(str(label) for label, _ in rows)] != expected or any(other != list(labels) for other in others):
        changed.append(str(labels))
if changed:
    sys.exit(f"changed: {'; '.join(changed)} read otherwise")
PYTHON
