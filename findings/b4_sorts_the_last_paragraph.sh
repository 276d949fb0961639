#!/usr/bin/env bash
# b4 am: the lines "word: something" of a message's last paragraph are moved to its end, as if they were trailers.
#
# Guess, written down before (2026-11-30): only what git itself takes for trailers (`git interpret-trailers --parse`) is touched.
# Versions: b4 0.16.0, git 2.39.5 (no pip), CPython 3.11.7, Linux.
# Behaviour: any last paragraph is sorted: the lines that are no "word: value" first, the others after an empty line below. A table of
#   measurements loses its order and its end ("and no other shape changes" comes before it), exit code 0. git finds no trailer there.
#   With a Signed-off-by paragraph below it nothing happens; the mail itself, by `git am`, keeps its text.
# Output seen (2026-11-30): "git am: Microseconds of a call | M=16: 3.2 -> 2.9 | M=64: 8.1 -> 8.0 | other shapes are as before",
#   "b4 am: Microseconds of a call | other shapes are as before |  | M=16: 3.2 -> 2.9 | M=64: 8.1 -> 8.0"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check b4==0.16.0 2> pip.log || { cat pip.log; exit 2; } >&2

export HOME="$work" XDG_DATA_HOME="$work" XDG_CACHE_HOME="$work" GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME='A. User' GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME='A. User' GIT_COMMITTER_EMAIL=a@example.org
git init --quiet -b main repo
cd repo
git config b4.attestation-policy off
echo a > file
git add . && git commit --quiet -m base
git checkout --quiet -b topic
echo b >> file
git commit --quiet --all --file - <<'MESSAGE'
Tile M for the decode shapes

Microseconds of a call
M=16: 3.2 -> 2.9
M=64: 8.1 -> 8.0
other shapes are as before
MESSAGE
[ -z "$(git log -1 --format=%B | git interpret-trailers --parse)" ] || { echo "changed: git finds trailers in it"; exit 1; }
git format-patch --quiet -1 --thread --stdout > ../mail
id=$(sed -n 's/^Message-I[dD]: <\(.*\)>/\1/p' ../mail | head -1)

last() { git log -1 --format=%B | sed -e 1,2d -e '$!b' -e '/^$/d' | paste -sd '|' | sed 's/|/ | /g'; }
git checkout --quiet main && git am --quiet ../mail
plain=$(last)
git reset --quiet --hard HEAD~1
../v/bin/b4 --offline-mode am -m ../mail -o ../out "$id" > ../b4.log 2>&1 || { cat ../b4.log; exit 1; }
git am --quiet ../out/*.mbx
sorted=$(last)
echo "git am: $plain"
echo "b4 am: $sorted"
[ "$plain" = "Microseconds of a call | M=16: 3.2 -> 2.9 | M=64: 8.1 -> 8.0 | other shapes are as before" ] || { echo "changed: git am"; exit 1; }
[ "$sorted" = "Microseconds of a call | other shapes are as before |  | M=16: 3.2 -> 2.9 | M=64: 8.1 -> 8.0" ] || { echo "changed: b4 am"; exit 1; }
