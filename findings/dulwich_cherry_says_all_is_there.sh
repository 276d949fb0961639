#!/usr/bin/env bash
# dulwich: `porcelain.cherry` of commits that upstream does not have.
#
# Guess, written down before (2026-11-30): dulwich's patch-id is git's, or at least another number with the same meaning; its
#   cherry marks the same commits as `git cherry`: "+" for what upstream lacks.
# Versions: dulwich 1.2.21, git 2.39.5, CPython 3.11, Linux.
# Behaviour: its patch-id hashes neither the names of the files nor modes, and of a binary or an empty file nothing at all. So it
#   never equals git's, an edit of a.py is "there" because b.py got the same edit, and every change of a mode, a binary or an
#   empty file is "there" as soon as upstream has any other of them: all of them have the id of the empty text (da39a3ee).
#   A tool that drops by it what upstream has drops what upstream never saw.
# Output seen (2026-11-30):
#   a.py as b.py: git +, dulwich -; mode of run.sh: git +, dulwich -; binary: git +, dulwich -; empty file: git +, dulwich -
#   the binary's patch-id: da39a3ee5e6b4b0d3255bfef95601890afd80709
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b.invalid
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b.invalid
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check dulwich==1.2.21 2> pip.log || { cat pip.log; exit 2; } >&2

git -c init.defaultBranch=upstream init --quiet tree
cd tree
keep() { git add --all; git commit --quiet -m "$1"; }
echo 'x = 1' | tee a.py > b.py
echo true > run.sh; printf '\0a' > table.bin; keep base
git checkout --quiet -b ours
echo 'x = 2' > a.py; keep "a.py as b.py"
chmod +x run.sh; keep "mode of run.sh"
printf '\0b' > table.bin; keep "binary"
: > new.py; keep "empty file"
git checkout --quiet upstream
echo 'x = 2' > b.py; keep "b: two"
printf '\0z' > other.bin; keep "another binary"

cat > ../cherry.py <<'P'
import subprocess
import sys

from dulwich import porcelain
from dulwich.patch import commit_patch_id
from dulwich.repo import Repo

git = [line.split() for line in subprocess.check_output(["git", "cherry", "upstream", "ours"], text=True).splitlines()]
theirs = {commit.decode(): mark for mark, commit, _ in porcelain.cherry(".", upstream="refs/heads/upstream", head="refs/heads/ours")}
name = {commit: subprocess.check_output(["git", "log", "-1", "--format=%s", commit], text=True).strip() for _, commit in git}
print("; ".join(f"{name[commit]}: git {mark}, dulwich {theirs[commit]}" for mark, commit in git))
binary = next(commit for commit in name if name[commit] == "binary")
found = commit_patch_id(Repo(".").object_store, binary.encode()).decode()
print(f"the binary's patch-id: {found}")
if [mark for mark, _ in git] != ["+"] * 4 or list(theirs.values()) != ["-"] * 4 or not found.startswith("da39a3ee"):
    sys.exit("CHANGED: dulwich no longer marks all four as there")
P
../venv/bin/python ../cherry.py
