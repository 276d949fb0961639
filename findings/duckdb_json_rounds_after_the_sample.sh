#!/usr/bin/env bash
# duckdb: read_json rounds a fraction that comes after its sample to an integer, without a word; polars has a reader that does and one that does not.
#
# Guess, written down before (2026-11-30): a column that was an integer for the first lines and is 3.7 later is a DOUBLE, or an error.
# Versions: duckdb 2.0.1, polars 2.1.0, pyarrow 26.0.1, CPython 3.11.7, Linux.
# Behaviour: the type is that of the first 20,480 records; a later 3.7 becomes 4, 2.5 becomes 2 (ties to even). So does no reader
#   with a type error: polars.read_ndjson refuses the file, pyarrow widens the column. polars.read_json (one array, with
#   infer_schema_length=100) cuts 3.7 to 3. Cure: sample_size=-1, or columns={...}. A client that writes whole milliseconds as
#   integers makes such a file.
# Output seen (2026-11-30): "duckdb: BIGINT [2, 4, 5]", "polars.read_json: Int64 [2, 3, 5]",
#   "polars.read_ndjson: ComputeError: cannot parse '2.5' (f64) as Int64", "pyarrow: double [2.5, 3.7, 5.0]"
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

records = [{"ms": 5}] * 20480 + [{"ms": 2.5}, {"ms": 3.7}]
with open("lines.json", "w") as file:
    file.writelines(json.dumps(record) + "\n" for record in records)
with open("array.json", "w") as file:
    json.dump(records, file)

said = duckdb.sql("SELECT DISTINCT ms, typeof(ms) FROM read_json('lines.json') ORDER BY ms").fetchall()
rounded = [value for value, _ in said]
print(f"duckdb: {said[0][1]} {rounded}")
every = [value for (value,) in duckdb.sql("SELECT DISTINCT ms FROM read_json('lines.json', sample_size=-1) ORDER BY ms").fetchall()]
print(f"duckdb, sample_size=-1: {every}")
column = polars.read_json("array.json", infer_schema_length=100)["ms"]
cut = column.unique().sort().to_list()
print(f"polars.read_json: {column.dtype} {cut}")
try:
    refused = f"read: {polars.read_ndjson('lines.json')['ms'].unique().to_list()}"
except polars.exceptions.ComputeError as error:
    refused = f"ComputeError: {error}"
print("polars.read_ndjson:", refused)
wide = pyarrow.json.read_json("lines.json", pyarrow.json.ReadOptions(block_size=4096)).column("ms")
print(f"pyarrow: {wide.type} {sorted(set(wide.to_pylist()))}")
if rounded != [2, 4, 5] or every != [2.5, 3.7, 5.0] or cut != [2, 3, 5] or "cannot parse" not in refused or str(wide.type) != "double":
    sys.exit("changed: a fraction after the sample is read otherwise")
PYTHON
