#!/usr/bin/env bash
# syrupy: a snapshot passes when the line ends of a text change from "\n" to "\r\n" or "\r", and when a dict's keys change places.
#
# Guess, written down before (2026-11-30): the text must be equal to the character, and the keys must come in the order in which the
#   program makes them: both are what a user of the output sees.
# Versions: syrupy 7.0.2, pytest 9.2.0, CPython 3.11.7, Linux. The default (amber) extension.
# Behaviour: lines are stored and compared without their ends, so a file that suddenly has CRLF, and a progress line's "\r", pass; keys are
#   sorted. A space at a line's end, a missing last newline, True for 1, an OrderedDict's order and a tuple for a list do fail.
# Output seen (2026-11-30): "passed: crlf, lone_cr, order", "failed: last_newline, ordered_dict, space, true, tuple"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check syrupy==7.0.2 pytest==9.2.0 2> pip.log || { cat pip.log; exit 2; } >&2

cat > test_it.py <<'PYTHON'
import os
from collections import OrderedDict

import pytest

PAIRS = {
    "crlf": ("a\nb\n", "a\r\nb\r\n"),
    "lone_cr": ("a\nb", "a\rb"),
    "order": ({"p50": 1, "p99": 2}, {"p99": 2, "p50": 1}),
    "space": ("a", "a "),
    "last_newline": ("a\n", "a"),
    "true": (1, True),
    "ordered_dict": (OrderedDict(p50=1, p99=2), OrderedDict(p99=2, p50=1)),
    "tuple": ([1, 2], (1, 2)),
}


@pytest.mark.parametrize("name", PAIRS)
def test(name, snapshot):
    assert PAIRS[name][int(os.environ["SIDE"])] == snapshot
PYTHON
SIDE=0 v/bin/python -m pytest -q --snapshot-update > first || { tail -5 first; exit 1; }
SIDE=1 v/bin/python -m pytest -q -rA > second || true
said=""
for outcome in PASSED FAILED; do
    line="${outcome,,}: $(sed -n "s,^$outcome test_it.py::test.\([a-z_]*\)\].*,\1,p" second | sort | paste -sd, | sed "s/,/, /g")"
    echo "$line"
    said+="$line; "
done
[ "$said" = "passed: crlf, lone_cr, order; failed: last_newline, ordered_dict, space, true, tuple; " ] || { echo "changed: what a snapshot passes"; exit 1; }
