#!/usr/bin/env bash
# quilt: `quilt refresh` of a pushed git patch, nothing edited, loses modes, links and empty files that `quilt push` had applied.
#
# Guess, written down before (2026-11-30): push and refresh of an untouched patch give a patch that makes the same tree again.
# Versions: quilt 0.66, patch 2.7.6, git 2.39.5 (Debian 12). Needs these; nothing is installed.
# Behaviour: quilt push hands the patch to patch, which knows git's headers: modes, links, empty files are right. refresh writes the
#   difference anew by diff: the x bit is gone; of a new link it writes the text of the file that it points to; a new empty
#   file, another target of a link and a mode alone leave an empty patch ("Nothing in patch", exit code 0), which the next push
#   refuses. Renames and changed lines come through. Whoever refreshes a series for one line loses these of the same patch.
# Output seen (2026-11-30): "a line: same; a rename: same; the mode alone: lost; a new script: run 100644; a new link: link 100644;
#   another target: lost; a new empty file: lost"
set -euo pipefail
for tool in quilt patch git; do command -v $tool > /dev/null || { echo "NOT TRIED: $tool is not installed"; exit 2; }; done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export QUILTRC=- LC_ALL=C HOME="$work" GIT_CONFIG_NOSYSTEM=1
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org

git init --quiet -b main repo
cd repo
seq 30 > text && seq 3 > tool && ln -s text old
git add . && git commit --quiet -m base

said=""
try() { # a name, and the command that makes the change
    rm -rf ../tree && mkdir -p ../tree/patches
    git reset --quiet --hard && git clean --quiet -fdx
    git archive HEAD | tar -x -C ../tree
    eval "$2"
    git add --all
    git diff --cached -M --full-index HEAD > ../tree/patches/one.patch
    local want result=lost
    want=$(git write-tree)
    echo one.patch > ../tree/patches/series
    (cd ../tree && quilt push -q && quilt refresh) > ../log 2>&1 || result=refused
    cp ../tree/patches/one.patch ../refreshed
    git reset --quiet --hard
    rm -rf ../tree && mkdir -p ../tree/patches
    git archive HEAD | tar -x -C ../tree
    mv ../refreshed ../tree/patches/one.patch
    echo one.patch > ../tree/patches/series
    (cd ../tree && { quilt push -q || true; } && rm -rf .pc patches) > ../log 2>&1
    git --work-tree=../tree add --all
    if [ "$(git write-tree)" = "$want" ]; then
        result=same
    elif [ "$(git write-tree)" != "$(git rev-parse "HEAD^{tree}")" ]; then
        result=$(git diff --cached --raw --no-renames "$want" | awk '{ print $6, $2 }')
    fi
    said+="$1: $result; "
}
try "a line" "echo more >> text"
try "a rename" "git mv text new"
try "the mode alone" "chmod +x tool"
try "a new script" "echo x > run; chmod +x run"
try "a new link" "ln -s text link"
try "another target" "ln -sf tool old"
try "a new empty file" ": > __init__.py"
echo "${said%; }"
[ "$said" = "a line: same; a rename: same; the mode alone: lost; a new script: run 100644; a new link: link 100644; \
another target: lost; a new empty file: lost; " ] || { echo "changed: what quilt refresh writes"; exit 1; }
