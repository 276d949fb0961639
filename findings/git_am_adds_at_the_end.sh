#!/usr/bin/env bash
# git am of a patch that adds one line, made by `git format-patch -U0`.
#
# Guess, written down before (2026-11-30): git am adds the line where its `@@` line says, or refuses it, as
#   `git apply` asks for --unidiff-zero to take a diff without context.
# Versions: git 2.39.5 (Debian). Needs git only; nothing is installed.
#
# Behaviour: exit code 0, and the line stands at the end of the file. The `index` line names both the file that is
#   there and the one that should come out; git am looks at neither. A hunk that replaces a line it refuses.
#
# Seen, 2026-11-30:
#   git am: exit code 0; line 3 of 6: c (wanted: new); last line: new
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
cd "$folder"
git init -q .
printf '%s\n' a b c d e > file
git add file
git commit -qm base
sed -i '2a new' file
git commit -qam 'Add a line after b'
git format-patch -q -U0 --stdout HEAD~1 > patch
git reset -q --hard HEAD~1
code=0
git am -q patch || code=$?
third=$(sed -n 3p file) last=$(tail -n1 file)
echo "git am: exit code $code; line 3 of $(wc -l < file): $third (wanted: new); last line: $last"
if [ "$code" = 0 ] && [ "$third" = c ] && [ "$last" = new ]; then
    exit 0
fi
echo "changed: $(git --version) adds the line elsewhere, or refuses"
exit 1
