#!/usr/bin/env bash
# dulwich: `porcelain.apply_patch` refuses every file that `git format-patch` writes.
#
# Guess, noted before (2026-11-30) as "the same tree as git": a patch file of git format-patch applies as with `git apply`.
# Versions: dulwich 1.2.21, git 2.39.5, CPython 3.11, Linux.
# Behaviour: it ends with PatchApplicationFailure, "Patch does not apply to a.txt". The signature, "-- " and git's version, follows
#   the last hunk, and its "-- " is read as one more line to take away, beyond the hunk's own count. The same patch without it
#   (--no-signature), or as `git diff` prints it, applies; so does the same mail by porcelain.am. A folder of format-patch files
#   looks like conflicts.
# Output seen (2026-11-30): "git apply: as made; apply_patch: PatchApplicationFailure; --no-signature: as made; am: as made"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b.invalid
export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b.invalid EMAIL=a@b.invalid
python3 -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check dulwich==1.2.21 2> pip.log || { cat pip.log; exit 2; } >&2

git -c init.defaultBranch=main init --quiet made
cd made
seq 1 20 > a.txt; git add a.txt; git commit --quiet -m base
git clone --quiet . ../fresh
sed -i 's/^10$/ten/' a.txt; git commit --quiet -am "Say ten"
git format-patch --quiet -1 --stdout > ../signed.patch
git format-patch --quiet -1 --stdout --no-signature > ../unsigned.patch
cd ..
cat > apply.py <<'P'
import os
import subprocess
import sys
from pathlib import Path

from dulwich import porcelain


def after(apply):
    subprocess.run(["git", "reset", "--quiet", "--hard", "origin/main"], check=True)
    try:
        apply()
    except Exception as error:
        return type(error).__name__
    return "as made" if Path("a.txt").read_bytes() == Path("../made/a.txt").read_bytes() else "another file"


os.chdir("fresh")
seen = "; ".join((
    "git apply: " + after(lambda: subprocess.run(["git", "apply", "../signed.patch"], check=True)),
    "apply_patch: " + after(lambda: porcelain.apply_patch(".", "../signed.patch")),
    "--no-signature: " + after(lambda: porcelain.apply_patch(".", "../unsigned.patch")),
    "am: " + after(lambda: porcelain.am(".", ["../signed.patch"])),
))
print(seen)
if seen != "git apply: as made; apply_patch: PatchApplicationFailure; --no-signature: as made; am: as made":
    sys.exit("CHANGED: dulwich applies it otherwise")
P
venv/bin/python apply.py
