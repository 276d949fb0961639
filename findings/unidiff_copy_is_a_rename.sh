#!/usr/bin/env bash
# unidiff: a copied file is a renamed one, a path with " b/" in it is refused, and a printed patch lacks its binary content.
#
# Guess, written down before (2026-11-30): of what `git diff` writes unidiff tells renames from copies, reads each path, and
#   str(PatchSet(text)) gives the text back, or at least a patch that makes the same tree.
# Versions: unidiff 1.0.1, git 2.39.5 (no pip), CPython 3.11.7, Linux.
# Behaviour: is_rename is true of a copy, whose source stays; nothing else tells the two apart. A file `x b/y` with an added line makes the
#   diff a UnidiffParseError, `a b` does not. The lines of a `GIT binary patch` are gone from str(): `git apply` refuses the rest.
#   A path in quotes keeps quotes and octal escapes. Text hunks, modes, empty files and a missing last newline come through.
# Output seen (2026-11-30): "a rename: is_rename True, as text same", "a copy: is_rename True, as text same",
#   "a path with ' b/': UnidiffParseError", "a binary file: is_rename False, as text other, applies False", "a path in quotes: "\"\\303\\251\""
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check unidiff==1.0.1 2> pip.log || { cat pip.log; exit 2; } >&2

export HOME="$work" GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
git init --quiet -b main repo
cd repo
../v/bin/python -W ignore - <<'PYTHON'
import pathlib
import subprocess
import sys

import unidiff

LINES = "".join(f"line {number}\n" for number in range(30)).encode()


def git(*words, **options):
    return subprocess.run(["git", *words], check=True, stdout=subprocess.PIPE, **options).stdout


def commit(files):
    git("rm", "-r", "-q", "--ignore-unmatch", ".")
    for name, data in files.items():
        pathlib.Path(name).parent.mkdir(exist_ok=True)
        pathlib.Path(name).write_bytes(data)
    git("add", "--all")
    git("commit", "-q", "--allow-empty", "-m", "files")
    return git("rev-parse", "HEAD").decode().strip()


def read(before, after):
    first, second = commit(before), commit(after)
    text = git("diff", "--binary", "-C", "--find-copies-harder", first, second).decode()
    try:
        patch = unidiff.PatchSet(text)
    except unidiff.UnidiffParseError as error:
        return type(error).__name__
    git("checkout", "-q", first)
    applied = subprocess.run(["git", "apply", "--index"], input=str(patch).encode(), stderr=subprocess.DEVNULL)
    same = applied.returncode == 0 and git("write-tree") == git("rev-parse", f"{second}^{{tree}}")
    git("reset", "-q", "--hard")
    return patch[0].path, patch[0].is_rename, str(patch) == text, same


CASES = {
    "a rename": ({"a": LINES}, {"b": LINES}),
    "a copy": ({"a": LINES}, {"a": LINES, "b": LINES}),
    "a path with ' b/'": ({"x b/y": LINES}, {"x b/y": LINES + b"more\n"}),
    "a binary file": ({"a": b"\0a"}, {"a": b"\0b"}),
    "a path in quotes": ({"\u00e9": LINES}, {"\u00e9": LINES + b"more\n"}),
}
found = {name: read(*files) for name, files in CASES.items()}
for name, result in found.items():
    print(f"{name}:", result if isinstance(result, str) else f"path {result[0]}, is_rename {result[1]}, same text {result[2]}, same tree {result[3]}")
if found != {"a rename": ("b", True, True, True), "a copy": ("b", True, True, True), "a path with ' b/'": "UnidiffParseError",
             "a binary file": ("a", False, False, False), "a path in quotes": ('"\\303\\251"', False, True, True)}:
    sys.exit("changed: what unidiff makes of a diff")
PYTHON
