#!/usr/bin/env bash
# patch: of "Binary files /dev/null and b/x differ" GNU patch makes an empty file, exit code 0; git apply refuses.
#
# Guess, written down before (2026-11-30): a diff made without --binary cannot be applied: both refuse it.
# Versions: patch 2.7.6, git 2.39.5 (Debian 12). Needs these; nothing is installed.
# Behaviour: the header "new file mode 100644" is enough for patch to make the file, of 0 bytes; a changed binary stays as it was. Both
#   are exit code 0, alone and beside a text that is patched; "patching file new" is all that is said. A deleted binary, and
#   a diff made with --binary, are refused with exit code 1; git apply takes the latter and refuses the others whole.
# Output seen (2026-11-30): "a new binary: patch exit 0, 0 bytes; git apply exit 1. a changed one: patch exit 0, 4 bytes; git apply
#   exit 1. a deleted one: patch exit 1, 5 bytes; git apply exit 1. a new one beside a text: patch exit 0, 0 bytes; git apply exit 1.
#   a new one with --binary: patch exit 1, gone; git apply exit 0."
set -euo pipefail
for tool in patch git; do command -v $tool > /dev/null || { echo "NOT TRIED: $tool is not installed"; exit 2; }; done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export LC_ALL=C HOME="$work" GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org

git init --quiet -b main repo
cd repo
printf '\0old' > old && printf '\0gone' > gone && echo text > text
git add . && git commit --quiet -m base
said=""
try() { # a name, the command that makes the change, the file
    git reset --quiet --hard && git clean --quiet -fdx
    eval "$2"
    git add --all && git diff --cached $4 HEAD > ../diff
    git reset --quiet --hard
    local code=0 applied=0
    patch -p1 < ../diff > ../log 2>&1 || code=$?
    local size
    size=$([ -e "$3" ] && stat -c "%s bytes" "$3" || echo gone)
    git reset --quiet --hard && git clean --quiet -fdx
    git apply ../diff 2> ../log || applied=$?
    said+="$1: patch exit $code, $size; git apply exit $applied. "
}
try "a new binary" "printf '\0new' > new" new ""
try "a changed one" "printf '\0other' > old" old ""
try "a deleted one" "rm gone" gone ""
try "a new one beside a text" "printf '\0new' > new; echo more >> text" new ""
try "a new one with --binary" "printf '\0new' > new" new --binary
echo "$said"
[ "$said" = "a new binary: patch exit 0, 0 bytes; git apply exit 1. a changed one: patch exit 0, 4 bytes; git apply exit 1. \
a deleted one: patch exit 1, 5 bytes; git apply exit 1. a new one beside a text: patch exit 0, 0 bytes; git apply exit 1. \
a new one with --binary: patch exit 1, gone; git apply exit 0. " ] || { echo "changed: what patch makes of a binary file's diff"; exit 1; }
