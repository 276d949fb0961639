#!/usr/bin/env bash
# git range-diff: "=" between two commits that write other binary content, another file mode, or a link instead of a file.
#
# Guess, written down before (2026-11-30): "=" means that the two commits do the same; `git cherry`, which knows them apart, agrees.
# Versions: git 2.39.5 (no pip), Linux.
# Behaviour: of a binary file it compares that there is a change, of an added file not its mode: a script that no longer runs, and a
#   link `l -> f` against a file that holds "f", are "=". A mode changed on a file that was there before is "!". Who reviews a
#   rebased series by range-diff alone does not see a binary file that the conflict was resolved to. patch-id does.
# Output seen (2026-11-30): "binary content: range-diff =, cherry +", "mode of a new file: range-diff =, cherry +",
#   "link or file: range-diff =, cherry +", "mode of an old file: range-diff !, cherry +", "a line: range-diff !, cherry +"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export HOME="$work" GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
git init --quiet -b main .
printf 'a\0b' > binary
printf 'a\n' > text
git add . && git commit --quiet -m base
base=$(git rev-parse HEAD)

commit() {
    git checkout --quiet --detach "$base"
    eval "$1"
    git add --all && git commit --quiet -m change
    git rev-parse HEAD
}

said=""
compare() {
    local first second line
    first=$(commit "$2")
    second=$(commit "$3")
    line="$1: range-diff $(git range-diff --no-color --creation-factor=999 "$first^!" "$second^!" | awk 'NR == 1 { print $3 }')"
    line+=", cherry $(git cherry "$first" "$second" | cut -c1)"
    echo "$line"
    said+="$(sed "s,.*range-diff \(.\)\, cherry ,\1," <<< "$line") "
}

git --version
compare "binary content" "printf 'a\0c' > binary" "printf 'a\0d' > binary"
compare "mode of a new file" "echo x > tool" "echo x > tool; chmod +x tool"
compare "link or file" "ln -s f link" "printf f > link"
compare "mode of an old file" "echo x >> text" "echo x >> text; chmod +x text"
compare "a line" "echo x >> text" "echo y >> text"
[ "$said" = "=+ =+ =+ !+ !+ " ] || { echo "changed: $said"; exit 1; }
