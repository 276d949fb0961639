#!/usr/bin/env bash
# pygit2 (libgit2): two commits that write other bytes to a binary file have one patch-id, and a form feed changes it against git's.
#
# Guess, written down before (2026-11-30): Diff.patchid is what `git patch-id --stable` says of the same diff.
# Versions: pygit2 1.21.0, git 2.39.5 (no pip), CPython 3.11.7, Linux.
# Behaviour: it is for text, modes and renames. What a binary file becomes is not in it, so any two changes of one are equal (git
#   takes in the blobs' names); and a form feed counts as white space and is left out, which git keeps. A search for "is this
#   commit there already" by patchid finds another version of the weights, and misses a commit that git finds.
# Output seen (2026-11-30): "text: as git", "binary: one id for two contents (git: two)", "form feed: not git's"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check pygit2==1.21.0 2> pip.log || { cat pip.log; exit 2; } >&2

export HOME="$work" GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
git init --quiet -b main repo
cd repo
printf 'a\0b' > binary
printf 'one\n' > text
printf 'one\n\ftwo\n' > feed
git add . && git commit --quiet -m base
../v/bin/python - <<'PYTHON'
import pathlib
import subprocess
import sys

import pygit2

repository = pygit2.Repository(".")


def git(*words, given=None):
    return subprocess.run(["git", *words], input=given, check=True, stdout=subprocess.PIPE).stdout


def ids(path, data):
    """(libgit2's, git's) of a commit that writes this to that file."""
    git("checkout", "--quiet", "--detach", "main")
    pathlib.Path(path).write_bytes(data)
    git("commit", "--quiet", "--all", "-m", "change")
    own = repository.diff("HEAD~1", "HEAD").patchid
    return str(own), git("patch-id", "--stable", given=git("diff-tree", "-p", "HEAD")).decode()[:40]


text, feed = ids("text", b"one\ntwo \n"), ids("feed", b"one\n\fTWO\n")
first, second = ids("binary", b"a\0c"), ids("binary", b"a\0d")
same = text[0] == text[1], first[0] == second[0], first[1] == second[1], feed[0] == feed[1]
print("text:", "as git" if same[0] else "not git's")
print(f"binary: {'one id' if same[1] else 'two ids'} for two contents (git: {'one' if same[2] else 'two'})")
print("form feed:", "as git" if same[3] else "not git's")
if same != (True, True, False, False):
    sys.exit("changed: libgit2 makes its patch-id of something else")
PYTHON
