#!/usr/bin/env bash
# duckdb: read_json of records whose keys differ in case alone.
#
# Guess, written down before (2026-11-30): both are kept, wherever they stand; JSON tells them apart.
# Versions: duckdb 2.0.1, CPython 3.11.7, Linux.
# Behaviour: at the top of a record the later ones are renamed (key_1). Inside of an object the whole file is refused. So
#   a benchmark's records, whose metrics two tools spell differently, cannot be read at all, and one level up they can.
#   Beside it: an integer beyond 64 bits becomes a DOUBLE without a word.
# Output seen (2026-11-30): "['Key', 'key_1', 'KEY_2']", then NotImplementedException: Duplicate name "key" in struct
set -euo pipefail
cd "$(mktemp -d)" && trap 'rm -rf "$PWD"' EXIT
python3 -m venv v && v/bin/pip install -q --disable-pip-version-check duckdb==2.0.1
v/bin/python - <<'P'
import duckdb

print("duckdb", duckdb.__version__)
open("top.json", "w").write('{"Key": 1, "key": 2}\n{"KEY": 3}\n')
open("inner.json", "w").write('{"id": "a", "metrics": {"Key": 1, "key": 2}}\n{"id": "b", "metrics": {"n": 3}}\n')
open("wide.json", "w").write('{"n": 123456789012345678901234567890}\n')
top = duckdb.sql("SELECT * FROM read_json('top.json')")
print(top.columns, top.fetchall())
assert top.columns == ["Key", "key_1", "KEY_2"] and top.fetchall() == [(1, 2, None), (None, None, 3)]
try:
    duckdb.sql("SELECT id FROM read_json('inner.json')").fetchall()
except duckdb.Error as error:
    print(type(error).__name__, error)
    assert 'Duplicate name "key" in struct' in str(error)
else:
    raise SystemExit("it reads them now")
wide = duckdb.sql("SELECT n FROM read_json('wide.json')")
print(wide.types, wide.fetchall())
assert [str(each) for each in wide.types] == ["DOUBLE"]
P
