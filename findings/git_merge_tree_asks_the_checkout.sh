#!/usr/bin/env bash
# git merge-tree --write-tree: whether two commits conflict depends on what happens to be checked out.
#
# Guess, written down before (2026-11-30): it merges in the object store alone, so the same two commits make the same tree anywhere;
#   `merge=union` is read from the .gitattributes that both commits hold, or not at all.
# Versions: git 2.39.5 (no pip), Linux.
# Behaviour: .gitattributes is read from the working tree (or the index). Where a branch with it is checked out the merge is clean,
#   in a bare clone and beside an unrelated branch it conflicts (exit code 1). A trial of a rebase in a scratch repository then
#   differs from the rebase.
# Output seen (2026-11-30): "a branch with it: 0", "an unrelated branch: 1", "bare: 1", "a worktree of the same repository: 0"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export HOME="$work" GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
git init --quiet -b main repo
cd repo
printf 'first\n' > CHANGES
echo 'CHANGES merge=union' > .gitattributes
git add . && git commit --quiet -m base
for side in ours theirs; do
    git checkout --quiet -b $side main
    echo $side >> CHANGES
    git commit --quiet --all -m $side
done

said=""
merge() {
    local code=0
    git -C "$2" merge-tree --write-tree ours theirs > /dev/null || code=$?
    echo "$1: $code"
    said+=$code
}

git --version
merge "a branch with it" .
git checkout --quiet --orphan other
git rm --quiet -r --force .
git commit --quiet --allow-empty -m other
merge "an unrelated branch" .
git clone --quiet --bare . ../bare
merge "bare" ../bare
git worktree add --quiet ../tree ours
merge "a worktree of the same repository" ../tree
[ "$said" = 0110 ] || { echo "changed: exit codes $said"; exit 1; }
