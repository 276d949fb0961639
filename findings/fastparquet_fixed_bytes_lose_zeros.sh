#!/usr/bin/env bash
# fastparquet: a float16 column is read as bytes, and fixed-length bytes lose their zeros at the end.
#
# Guess, written down before (2026-12-01): fastparquet and polars read the float16 column that pyarrow writes as the same numbers.
# Versions: fastparquet 2026.9.0, pyarrow 26.0.1, polars 2.1.0, CPython 3.11.7, Linux.
# Behaviour: polars reads numbers. fastparquet makes an object column of bytes, without a word: 1.5 is b"\x00>", 0.0 is b"". So is every
#   FIXED_LEN_BYTE_ARRAY: the MXFP4 block of 16 bytes that ends in two zero bytes comes back with 14, the block of zeros with none; with a
#   variable length the same bytes come back whole. pyarrow and polars keep both.
# Output seen (2026-12-01): "float16 [1.5, 0.0, -2.0]: polars [1.5, 0.0, -2.0], fastparquet [b'\x00>', b'', b'\x00\xc0']",
#   "blocks of 16 bytes come back with: pyarrow [16, 16], polars [16, 16], fastparquet [14, 0]; of variable length: fastparquet [16, 16]"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check fastparquet==2026.9.0 pyarrow==26.0.1 polars==2.1.0 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python -W ignore - <<'PYTHON'
import sys

import fastparquet
import numpy as np
import polars
import pyarrow
import pyarrow.parquet

NUMBERS = [1.5, 0.0, -2.0]
BLOCKS = [bytes([0x24] * 14 + [0, 0]), bytes(16)]
table = pyarrow.table({"h": pyarrow.array(np.array(NUMBERS, dtype=np.float16))})
pyarrow.parquet.write_table(table, "halves.parquet")
blocks = pyarrow.table({"fixed": pyarrow.array(BLOCKS, pyarrow.binary(16)), "any": pyarrow.array(BLOCKS, pyarrow.binary())})
pyarrow.parquet.write_table(blocks, "blocks.parquet")


def by_fastparquet(name, column):
    return list(fastparquet.ParquetFile(name).to_pandas()[column])


halves = polars.read_parquet("halves.parquet")["h"].to_list(), by_fastparquet("halves.parquet", "h")
print(f"float16 {NUMBERS}: polars {halves[0]}, fastparquet {halves[1]}")
lengths = [[len(block) for block in read] for read in (
    pyarrow.parquet.read_table("blocks.parquet").column("fixed").to_pylist(),
    polars.read_parquet("blocks.parquet")["fixed"].to_list(),
    by_fastparquet("blocks.parquet", "fixed"),
    by_fastparquet("blocks.parquet", "any"),
)]
print("blocks of 16 bytes come back with: pyarrow {}, polars {}, fastparquet {}; of variable length: fastparquet {}".format(*lengths))
if halves != (NUMBERS, [b"\x00>", b"", b"\x00\xc0"]) or lengths != [[16, 16], [16, 16], [14, 0], [16, 16]]:
    sys.exit("changed: what fastparquet makes of fixed-length bytes")
PYTHON
