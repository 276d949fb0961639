#!/usr/bin/env bash
# patch-ng: apply() says True, and the file is another than the patch's.
#
# Guess, noted before (2026-11-30) as "the same tree as git": what it applies without an error is what `git apply` makes of it.
# Versions: patch-ng 1.19.1, git 2.39.5, CPython 3.11, Linux.
# Behaviour: three kinds of valid patches come out wrong, with True and no warning of it. A -U0 patch that adds a line after line 4
#   puts it before line 4 (the number of an empty range means "after", and is read as a line). "\ No newline at end of file" on
#   the new side is left out: the newline stays. An added \r\n becomes \n in a file of \n lines. git makes all three exactly. With
#   lines of context, line ends that stay, and newlines at the end it is right.
# Output seen (2026-11-30):
#   "context: True, as git; -U0: True, OTHER (line 3, new, line 4); no newline at the end: True, OTHER; added CRLF: True, OTHER"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check patch-ng==1.19.1 2> pip.log || { cat pip.log; exit 2; } >&2
cat > bytes.py <<'PYTHON'
import logging
import subprocess
import sys
from pathlib import Path

import patch_ng

logging.disable(logging.CRITICAL)
BEFORE = b"".join(b"line %d\n" % at for at in range(1, 9))
AFTER = {
    "context": ((), BEFORE.replace(b"line 4\n", b"line 4\nnew\n")),
    "-U0": (("-U0",), BEFORE.replace(b"line 4\n", b"line 4\nnew\n")),
    "no newline at the end": ((), BEFORE[:-1]),
    "added CRLF": ((), BEFORE.replace(b"line 4\n", b"line 4\nnew\r\n")),
}


def git(folder, *words, data=None, codes=(0,)):
    done = subprocess.run(["git", *words], cwd=folder, input=data, capture_output=True)
    assert done.returncode in codes, done.stderr
    return done.stdout


said, good = [], []
for at, (name, (options, after)) in enumerate(AFTER.items()):
    made, theirs, ours = (Path(f"{at}{kind}") for kind in ("made", "git", "ng"))
    for folder, text in ((made, after), (theirs, BEFORE), (ours, BEFORE)):
        folder.mkdir()
        git(folder, "init", "--quiet")
        (folder / "a.txt").write_bytes(BEFORE)
        git(folder, "add", "a.txt")
        (folder / "a.txt").write_bytes(text)
    patch = git(made, "diff", *options)
    git(theirs, "apply", *(("--unidiff-zero",) if options else ()), "-", data=patch)
    assert (theirs / "a.txt").read_bytes() == after, name
    true = patch_ng.fromstring(patch).apply(strip=0, root=str(ours))
    found = (ours / "a.txt").read_bytes()
    where = ", ".join(found.decode().splitlines()[2:5])
    said.append(f"{name}: {true}, " + ("as git" if found == after else "OTHER" + (f" ({where})" if options else "")))
seen = "; ".join(said)
print(seen)
if seen != "context: True, as git; -U0: True, OTHER (line 3, new, line 4); no newline at the end: True, OTHER; added CRLF: True, OTHER":
    sys.exit("CHANGED: patch-ng applies these otherwise")
PYTHON
venv/bin/python bytes.py
