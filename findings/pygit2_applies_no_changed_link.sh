#!/usr/bin/env bash
# pygit2: a patch that changes or deletes a symbolic link applies to the index, and not to a work tree.
#
# Guess, written down before (2026-12-01): Repository.apply takes what `git diff --binary` writes, modes, renames and links among it, as git does.
# Versions: pygit2 1.21.0, git 2.39.5 (no pip), CPython 3.11.7, Linux.
# Behaviour: a new link, a deleted file and a new mode apply everywhere. A changed link is refused by the work tree, "hunk at line 1 did not
#   apply", a deleted one with "1 conflict prevents checkout", and both by work tree and index at once, "does not match index", in a clean
#   checkout of the very commit that the patch was made from. The index alone takes them, and makes git's tree, as `git apply --index` does.
# Output seen (2026-12-01): "changed link: index applied, work tree refused (hunk at line 1 did not apply), both refused (link: does not match
#   index), git applied", "deleted link: index applied, work tree refused (1 conflict prevents checkout), both refused (link: does not match
#   index), git applied"; "applied" four times for "new link", "deleted file" and "new mode"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check pygit2==1.21.0 2> pip.log || { cat pip.log; exit 2; } >&2

export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
v/bin/python - <<'PYTHON'
import os
import subprocess
import sys
import time

import pygit2
from pygit2.enums import ApplyLocation


def git(*arguments, stdin=None):
    answer = subprocess.run(["git", *arguments], input=stdin, capture_output=True, check=True)
    return answer.stdout


def link(target):
    if os.path.lexists("link"):
        os.remove("link")
    os.symlink(target, "link")


os.mkdir("tree")
os.chdir("tree")
git("init", "-q")
git("config", "user.name", "Ann")
git("config", "user.email", "ann@example.org")
for name in ("one", "two"):
    with open(name, "w") as file:
        file.write(f"{name}\n")
git("add", "-A")
git("commit", "-qm", "files")
states = [git("rev-parse", "HEAD").decode().strip()]
for change in (lambda: link("one"), lambda: link("two"), lambda: os.remove("link"), lambda: os.remove("two"), lambda: os.chmod("one", 0o755)):
    change()
    git("add", "-A")
    git("commit", "-qm", "change")
    states.append(git("rev-parse", "HEAD").decode().strip())

seen = []
for name, before, after in zip(("new link", "changed link", "deleted link", "deleted file", "new mode"), states, states[1:]):
    patch = git("diff", "--binary", "--full-index", before, after)
    wanted = git("rev-parse", f"{after}^{{tree}}")
    answers = []
    for location in (ApplyLocation.INDEX, ApplyLocation.WORKDIR, ApplyLocation.BOTH, None):
        git("reset", "-q", "--hard", before)
        git("clean", "-fdq")
        time.sleep(1.1)  # the index is older than the next change, and younger than the files
        git("update-index", "--refresh")
        try:
            if location is None:
                git("apply", "--index", stdin=patch)
            else:
                pygit2.Repository(".").apply(pygit2.Diff.parse_diff(patch), location)
            if location is ApplyLocation.WORKDIR:
                git("add", "-A")
            answers.append("applied" if git("write-tree") == wanted else "another tree")
        except pygit2.GitError as error:
            answers.append(f"refused ({error})")
    seen.append(answers)
    print(f"{name}: " + ", ".join(f"{place} {answer}" for place, answer in zip(("index", "work tree", "both", "git"), answers)))
applied = ["applied"] * 4
refused = [["applied", f"refused ({reason})", "refused (link: does not match index)", "applied"]
           for reason in ("hunk at line 1 did not apply", "1 conflict prevents checkout")]
if seen != [applied, *refused, applied, applied]:
    sys.exit("changed: which links pygit2 applies")
PYTHON
