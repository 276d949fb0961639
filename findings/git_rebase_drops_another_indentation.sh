#!/usr/bin/env bash
# git rebase of a Python patch whose line upstream added too, but under another indentation.
#
# Guess, written down before (2026-11-30): the two commits make different files and different programs, so `git rebase` tries
#   ours and stops with a conflict; `git cherry` marks it "+", not there yet.
# Versions: git 2.39.5 (Debian). Needs git and python3 only; nothing is installed.
#
# Behaviour: a commit is "previously applied" where patch-ids are equal, and those are made without white space. Ours (`log(i)`
#   in the loop) is left out for upstream's (`log(i)` after it) with a warning on stderr and exit code 0; `git cherry` marks it "-",
#   and `git log --cherry-pick` leaves it out. `git rebase --reapply-cherry-picks` conflicts, as it should; `git patch-id --verbatim`
#   (from 2.39 on) tells the two apart. A patch file that adds a line in another block is taken for "upstream has it".
#
# Seen, 2026-11-30:
#   cherry: -; rebase: exit 0, ours logs 3, after it 1; patch-id: equal, --verbatim: differ; --reapply-cherry-picks: exit 1
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b.invalid
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b.invalid GIT_EDITOR=true
git -c init.defaultBranch=upstream init --quiet .

write() {  # FIRST LINE, then the line that is added
    printf '%sdef total(values, log):\n    done = 0\n    for i in values:\n        done += i\n%s    return done\n' "$1" "$2" > total.py
}
logged() { python3 -c 'from total import total; seen = []; total([1, 2, 3], seen.append); print(len(seen))'; }

write "" ""; git add .; git commit --quiet -m base
git checkout --quiet -b ours
write "" $'        log(i)\n'; git commit --quiet -am "Log each value"
before=$(logged)
git checkout --quiet upstream
write "" $'    log(i)\n'; git commit --quiet -am "Log the last value"
write $'"""Totals."""\n\n\n' $'    log(i)\n'; git commit --quiet -am "Say what it is"

mark=$(git cherry upstream ours | cut -c1)
id() { git diff-tree -p "$1" | git patch-id "$2" | cut -d' ' -f1; }
same() { if [ "$(id ours "$1")" = "$(id upstream~ "$1")" ]; then echo equal; else echo differ; fi; }
plain=$(same --stable) verbatim=$(same --verbatim)
git branch kept ours
code=0; git rebase --quiet upstream ours 2> said || code=$?
after=$(logged)
git checkout --quiet kept
strict=0; git rebase --quiet --reapply-cherry-picks upstream > /dev/null 2>&1 || strict=$?

seen="cherry: $mark; rebase: exit $code, ours logs $before, after it $after; patch-id: $plain, --verbatim: $verbatim; --reapply-cherry-picks: exit $strict"
echo "$seen"
cat said
[ "$seen" = "cherry: -; rebase: exit 0, ours logs 3, after it 1; patch-id: equal, --verbatim: differ; --reapply-cherry-picks: exit 1" ] || {
    echo "CHANGED: git $(git --version) no longer drops it"; exit 1; }
