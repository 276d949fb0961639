#!/usr/bin/env bash
# pygit2 (libgit2): a diff of git's that adds or deletes an empty file cannot be parsed.
#
# Guess, written down before (2026-11-30): Diff.parse_diff takes what `git diff` writes.
# Versions: pygit2 1.21.0, git 2.39.5 (no pip), CPython 3.11.7, Linux.
# Behaviour: an empty file (an `__init__.py`, say) has no hunk, and git writes no more than its `index` line: at the end of the diff
#   that is "unexpected header line", before another file "invalid patch header", and nothing of the diff is read. A file with one
#   line, a mode and a rename are read, and so is libgit2's own text of the same change.
# Output seen (2026-11-30): "an added empty file: git's: unexpected header line 4; libgit2's: 1 file(s)",
#   "and another file: git's: invalid patch header at line 4; libgit2's: 2 file(s)", ... "a mode: git's: 1 file(s); libgit2's: 1 file(s)"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check pygit2==1.21.0 2> pip.log || { cat pip.log; exit 2; } >&2

export HOME="$work" GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
git init --quiet -b main repo
cd repo
printf '1\n2\n3\n' > old
touch gone
git add . && git commit --quiet -m base
../v/bin/python - <<'PYTHON'
import pathlib
import subprocess
import sys

import pygit2

CHANGES = {
    "an added empty file": "touch new",
    "and another file": "touch new; echo 4 >> old",
    "one with a line": "echo 1 > new",
    "a deleted empty file": "git rm --quiet gone",
    "a mode": "chmod +x old",
    "a rename": "git mv old renamed",
}
found = {}
for name, change in CHANGES.items():
    subprocess.run(f"{change}; git add --all; git diff --cached -M > ../diff", shell=True, check=True)
    own = pygit2.Repository(".").index.diff_to_tree(pygit2.Repository(".").head.peel(pygit2.Tree)).patch
    said = []
    for text in (pathlib.Path("../diff").read_bytes(), own.encode()):
        try:
            said.append(f"{len(list(pygit2.Diff.parse_diff(text)))} file(s)")
        except pygit2.GitError as error:
            said.append(str(error))
    print(f"{name}: git's: {said[0]}; libgit2's: {said[1]}")
    found[name] = "line" in said[0]
    subprocess.run("git reset --quiet --hard; git clean -qfd", shell=True, check=True)
if found != {name: "empty" in name or "another" in name for name in CHANGES}:
    sys.exit(f"changed: refused: {[name for name, refused in found.items() if refused]}")
PYTHON
