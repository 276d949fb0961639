#!/usr/bin/env bash
# git: `git diff -B -M` tells a rename onto a path whose old file it does not mention, and `git apply` refuses that patch.
#
# Guess (2026-12-01, worded after a random test of ours had met it): what git diff tells of two commits, git apply makes of the first the second.
# Versions: git 2.39.5 (also 2.47.3), Linux.
# Behaviour: a/a is an empty file and "a b" a symbolic link; then a/a is that link and "a b" is gone. With -B -M one rename is told, from
#   "a b" to a/a: that a/a was a file is not. git apply says that a/a exists. With -M alone, a deletion and an addition stand there, and it applies.
# Output seen (2026-12-01): "-B -M: rename to a/a, apply 1; -M: delete and add, apply 0"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b

git --version
git init --quiet .
mkdir a && : > a/a && ln -s target "a b"
git add --all && git commit --quiet -m before
git rm --quiet "a b" a/a && mkdir -p a && ln -s target a/a
git add --all && git commit --quiet -m after
tried() { git diff-tree -p --binary --full-index "$@" HEAD~ HEAD > patch; git read-tree HEAD~; code=0; git apply --cached --check patch 2> said || code=$?; git read-tree HEAD; }
tried -B -M
first="-B -M: $(grep -o 'rename to a/a' patch), apply $code"
grep -q "already exists" said
tried -M
said="$first; -M: $(grep -q '^deleted file' patch && echo delete) and $(grep -q '^new file' patch && echo add), apply $code"
echo "$said"
[ "$said" = "-B -M: rename to a/a, apply 1; -M: delete and add, apply 0" ]
