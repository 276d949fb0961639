#!/usr/bin/env bash
# duckdb and pyarrow.dataset: a filter on a Parquet file finds other NaN rows than on the same table in memory, and duckdb's max another maximum.
#
# Guess, written down before (2026-12-01): pyarrow says no to NaN > 100, duckdb and polars yes, whatever row groups and statistics the file has.
# Versions: duckdb 2.0.1, pyarrow 26.0.1, polars 2.1.0, CPython 3.11.7, Linux.
# Behaviour: writers leave NaN out of a row group's minimum and maximum, and readers skip row groups by these. duckdb orders NaN above all
#   numbers; of the latencies [1.5, NaN, 2.5, 1000, NaN, 3] `f > 100` finds rows 1, 3, 4 in memory and in a file of one row group, and 3, 4 in
#   row groups of three: NaN stands beside small numbers there. `isnan(f)` finds two rows in memory and none in either file, so a check for NaN
#   passes. pyarrow.dataset loses them of `not (f <= 1000)`. Files of polars do the same; without statistics all agree; polars finds them always.
#   `max(f)` alone is answered from the statistics, and is 1000; beside `avg(f)` in one SELECT it is NaN, as in memory.
# Output seen (2026-12-01): "duckdb f > 100: memory [1, 3, 4], one group [1, 3, 4], groups of 3 [3, 4], no statistics [1, 3, 4]",
#   "duckdb isnan(f): memory [1, 4], one group [], groups of 3 [], no statistics [1, 4]",
#   "pyarrow not (f <= 1000): memory [1, 4], one group [], groups of 3 [], no statistics [1, 4]",
#   "polars is_nan: memory [1, 4], one group [1, 4], groups of 3 [1, 4], no statistics [1, 4]",
#   "duckdb max(f): memory nan, one group 1000.0, one group beside avg(f) nan"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check duckdb==2.0.1 pyarrow==26.0.1 polars==2.1.0 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - <<'PYTHON'
import sys

import duckdb
import polars
import pyarrow
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet

table = pyarrow.table({"i": range(6), "f": [1.5, float("nan"), 2.5, 1000.0, float("nan"), 3.0]})
FILES = {"one group": (6, True), "groups of 3": (3, True), "no statistics": (3, False)}
for name, (rows, statistics) in FILES.items():
    pyarrow.parquet.write_table(table, name, row_group_size=rows, write_statistics=statistics)


def by_duckdb(condition):
    def rows(source):
        return [row for (row,) in duckdb.sql(f"SELECT i FROM {source} WHERE {condition} ORDER BY i").fetchall()]
    return [rows("table_in_memory"), *(rows(f"read_parquet('{name}')") for name in FILES)]


table_in_memory = table
above = ~(pc.field("f") <= 1000)
isnan = polars.col("f").is_nan()
seen = {
    "duckdb f > 100": by_duckdb("f > 100"),
    "duckdb isnan(f)": by_duckdb("isnan(f)"),
    "pyarrow not (f <= 1000)": [read["i"].to_pylist() for read in (
        table.filter(above), *(pyarrow.dataset.dataset(name, format="parquet").to_table(filter=above) for name in FILES))],
    "polars is_nan": [read["i"].to_list() for read in (
        polars.from_arrow(table).filter(isnan), *(polars.scan_parquet(name).filter(isnan).collect() for name in FILES))],
}
for name, rows in seen.items():
    print(f"{name}: " + ", ".join(f"{place} {found}" for place, found in zip(["memory", *FILES], rows)))
maximum = [str(duckdb.sql(query).fetchall()[0][0]) for query in (
    "SELECT max(f) FROM table_in_memory", "SELECT max(f) FROM read_parquet('one group')", "SELECT max(f), avg(f) FROM read_parquet('one group')")]
print("duckdb max(f): memory {}, one group {}, one group beside avg(f) {}".format(*maximum))
if maximum != ["nan", "1000.0", "nan"] or list(seen.values()) != [
    [[1, 3, 4], [1, 3, 4], [3, 4], [1, 3, 4]],
    [[1, 4], [], [], [1, 4]],
    [[1, 4], [], [], [1, 4]],
    [[1, 4]] * 4,
]:
    sys.exit("changed: what a filter or a maximum of a Parquet file finds")
PYTHON
