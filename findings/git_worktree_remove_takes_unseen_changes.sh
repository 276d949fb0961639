#!/usr/bin/env bash
# git worktree remove of a worktree whose changed file has the flag assume-unchanged or skip-worktree.
#
# Guess, written down before (2026-11-30): without --force it refuses, as its manual says of unclean worktrees, whatever
#   `update-index` was told of the changed file.
# Versions: git 2.39.5 (Debian). Needs git only; nothing is installed.
#
# Behaviour: with either flag the worktree goes, exit code 0 and no word, and the change is in no object. Whoever keeps
#   patches in worktrees and hides local edits by these flags loses them.
#
# Seen, 2026-11-30:
#   none: exit 128, file there: yes ... --skip-worktree: exit 0, file there: no, in an object: no
set -euo pipefail
cd "$(mktemp -d)" && trap 'rm -rf "$PWD"' EXIT
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git --version
git init -q r && cd r && echo one > f && git add f && git commit -qm base
for flag in none --assume-unchanged --skip-worktree; do
    git worktree add -q ../w
    [ $flag = none ] || git -C ../w update-index $flag f
    echo "an hour of work, $flag" > ../w/f
    lost=$(git hash-object ../w/f)
    code=0; git worktree remove ../w 2> said || code=$?
    there=no; [ ! -e ../w/f ] || there=yes
    kept=no; ! git cat-file -e "$lost" 2> /dev/null || kept=yes
    echo "$flag: exit $code, file there: $there, in an object: $kept, said: $(cat said)"
    if [ $flag = none ]; then [ $code = 128 ] && [ $there = yes ]; git worktree remove --force ../w
    else [ $code = 0 ] && [ $there = no ] && [ $kept = no ] && [ ! -s said ]; fi
    git branch -q -D w
done
