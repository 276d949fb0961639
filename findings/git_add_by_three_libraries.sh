#!/usr/bin/env bash
# GitPython, pygit2 and dulwich: none of them adds a file as `git add` does where .gitattributes converts it.
#
# Guess, written down before (2026-11-30): the blob is that of `git add`: the repository's attributes hold for whoever writes to it.
# Versions: GitPython 3.2.1, pygit2 1.21.0, dulwich 1.2.21, git 2.39.5 (no pip), CPython 3.11.7, Linux.
# Behaviour: GitPython's index.add stores the bytes as they lie on the disk: CRLF, an expanded $Id$, UTF-16. pygit2 (libgit2) does all but
#   working-tree-encoding, dulwich's porcelain.add line ends alone. No warning; who checks such a commit out
#   gets converted bytes, or a file that git calls modified at once. Modes and links are right in each.
# Output seen (2026-11-30): "as git add: GitPython: nothing; pygit2: eol, ident; dulwich: eol"
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

python3 -m venv v
v/bin/pip install --quiet --disable-pip-version-check GitPython==3.2.1 pygit2==1.21.0 dulwich==1.2.21 2> pip.log || { cat pip.log; exit 2; } >&2

export HOME="$work" GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.org GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.org
git init --quiet -b main repo
cd repo
printf '%s\n' 'eol text eol=crlf' 'ident ident' 'encoding working-tree-encoding=UTF-16LE' > .gitattributes
git add . && git commit --quiet -m base
../v/bin/python -W ignore - <<'PYTHON'
import pathlib
import subprocess
import sys

import dulwich.porcelain
import git as gitpython
import pygit2

FILES = {"eol": b"a\r\nb\r\n", "ident": b"$Id: 1234 $\n", "encoding": "h\u00e4\n".encode("utf-16-le")}
for name, data in FILES.items():
    pathlib.Path(name).write_bytes(data)


def git(*words):
    return subprocess.run(["git", *words], check=True, stdout=subprocess.PIPE).stdout


def by_pygit2():
    index = pygit2.Repository(".").index
    for name in FILES:
        index.add(name)
    index.write()


ADDS = {
    "git": lambda: git("add", *FILES),
    "GitPython": lambda: gitpython.Repo(".").index.add(list(FILES)),
    "pygit2": by_pygit2,
    "dulwich": lambda: dulwich.porcelain.add(".", list(FILES)),
}
stored = {}
for library, add in ADDS.items():
    git("read-tree", "HEAD")
    add()
    stored[library] = {name: git("cat-file", "blob", f":{name}") for name in FILES}
same = {library: [name for name in FILES if blobs[name] == stored["git"][name]] for library, blobs in stored.items()}
print("as git add:", "; ".join(f"{library}: {', '.join(names) or 'nothing'}" for library, names in same.items() if library != "git"))
if same != {"git": list(FILES), "GitPython": [], "pygit2": ["eol", "ident"], "dulwich": ["eol"]}:
    sys.exit("changed: what the libraries convert")
PYTHON
