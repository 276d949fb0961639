#!/usr/bin/env bash
# whatthepatch: a changed line that holds U+2028 or U+0085 is not changed, without an error; beside a form feed a git diff does not apply.
#
# Guess, written down before (2026-11-30): lines of a patch end at a newline, as git's do; what apply_diff returns is what git makes.
# Versions: whatthepatch 1.0.7, git 2.39.5 (no pip), CPython 3.11.7, Linux.
# Behaviour: the patch is cut by str.splitlines, at U+2028, U+0085, form feed, vertical tab and a lone carriage return, too. So of
#   "-b", "+b U+2028 B" the line is gone from the change, and the old text comes back as the new; a form feed (of old C and Emacs
#   Lisp sources) is a HunkApplyException. Plain lines, also those that look like headers ("-- x", "++ x"), are right.
# Output seen (2026-11-30): "U+2028: the old text", "U+0085: the old text", "form feed: HunkApplyException", "-- and ++: as git"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check whatthepatch==1.0.7 2> pip.log || { cat pip.log; exit 2; } >&2

v/bin/python - <<'PYTHON'
import pathlib
import subprocess
import sys

import whatthepatch

CASES = {
    "U+2028": ("a\nb\nc\n", "a\nb\u2028B\nc\n"),
    "U+0085": ("a\nb\nc\n", "a\nb\u0085B\nc\n"),
    "form feed": ("a\n\fint x;\nc\n", "a\n\fint y;\nc\n"),
    "-- and ++": ("a\n-- b\nc\n", "a\n++ b\nc\n"),
}
found = {}
for name, (old, new) in CASES.items():
    for path, text in (("old", old), ("new", new)):
        pathlib.Path(path).write_bytes(text.encode())
    diff = subprocess.run(["git", "diff", "--no-index", "old", "new"], stdout=subprocess.PIPE).stdout.decode()
    try:
        made = "\n".join(whatthepatch.apply_diff(next(whatthepatch.parse_patch(diff)), old))
    except whatthepatch.exceptions.HunkApplyException as error:
        found[name] = type(error).__name__
    else:
        found[name] = "as git" if made == new[:-1] else "the old text" if made == old[:-1] else repr(made)
    print(f"{name}: {found[name]}")
if found != {"U+2028": "the old text", "U+0085": "the old text", "form feed": "HunkApplyException", "-- and ++": "as git"}:
    sys.exit("changed: whatthepatch ends the lines of a patch elsewhere")
PYTHON
