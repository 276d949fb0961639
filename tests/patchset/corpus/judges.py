"""git apply, git am and patch as judges of many patches of one base, quick: a folder in memory, one process each, what they made read without another."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

from kinds import BASE

from tunefork.patchset.series.diff import blob_id
from tunefork.patchset.series.materialise import ABSENT

Entries = dict[bytes, tuple[str, str]]
"""path -> (mode, blob): what a patch changes; ABSENT where the file is gone."""
WHO = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in (("NAME", "A. User"), ("EMAIL", "user@example.org"))}
PROGRAMS = {name: shutil.which(name) or "" for name in ("git", "patch")}
ENTRY = struct.Struct(">24xI12x20sH")  # times, device and inode; mode; owner and size; hash; flags


@dataclass(frozen=True)
class Commit:
    """author: ``Name <mail>``.  date: ``<seconds> <zone>``.  message: as the commit holds it."""

    author: bytes
    date: bytes
    message: bytes


def index_entries(data: bytes) -> Entries:
    """What a git index (version 2) holds. Format: git's documentation of the index, "gitformat-index"."""
    version, count = struct.unpack(">II", data[4:12])
    assert version == 2, version
    found, at = {}, 12
    for _ in range(count):
        mode, digest, flags = ENTRY.unpack_from(data, at)
        end = data.index(b"\0", at + 62)
        assert not flags & 0x7000, "an entry of a merge"
        found[data[at + 62 : end]] = f"{mode:06o}", digest.hex()
        at += (end - at + 8) // 8 * 8
    return found


def difference(before: Entries, after: Entries) -> Entries:
    return {path: after.get(path, ABSENT) for path in {*before, *after} if before.get(path) != after.get(path)}


class Judges:
    """A base in a folder, best in memory, and what the tools make of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree, self.outside = folder / "tree", folder / "patched"
        self.environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "LC_ALL": "C", "TZ": "UTC", "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
                            "GIT_TERMINAL_PROMPT": "0", **WHO}  # fmt: skip
        for place in (self.tree, self.outside):
            place.mkdir(parents=True)
            self.restore(place)
        for words in (["init", "--quiet", "--initial-branch=main", "."], ["add", "--all", "--force"], ["commit", "--quiet", "-m", "base"]):
            subprocess.run([PROGRAMS["git"], *words], cwd=self.tree, env=self.environment, check=True)
        self.git = self.tree / ".git"
        self.index = (self.git / "index").read_bytes()
        self.ref = self.git / "refs" / "heads" / "main"
        self.base = self.ref.read_bytes()
        self.before = index_entries(self.index)
        self.objects, self.scratch = self.git / "objects", folder / "objects"
        self.judged = 0

    def run(self, words: list[str], data: bytes, place: Path, more: dict[str, str]) -> int:
        """The exit code of a tool that reads a patch file from its input; of git am, which looks at a file of that name before it takes it for mail."""
        (self.folder / "patch").write_bytes(data)
        files = [(os.POSIX_SPAWN_OPEN, 0, str(self.folder / "patch"), os.O_RDONLY, 0), *((os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_WRONLY, 0) for fd in (1, 2))]
        here = os.getcwd()
        os.chdir(place)
        try:
            pid = os.posix_spawn(PROGRAMS[words[0]], words, {**self.environment, **more}, file_actions=files)
        finally:
            os.chdir(here)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def fresh_objects(self) -> dict[str, str]:
        """Where git puts objects: emptied now and then, so that what one patch makes is not there for a later one, nor fills the memory."""
        if self.judged % 2000 == 0:
            shutil.rmtree(self.scratch, ignore_errors=True)
            self.scratch.mkdir()
        self.judged += 1
        return {"GIT_OBJECT_DIRECTORY": str(self.scratch), "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(self.objects)}

    def git_apply(self, diff: bytes) -> Entries | None:
        """What ``git apply --cached``, as git am runs it, makes of the base; None where it refuses."""
        index = self.folder / "index"
        index.write_bytes(self.index)
        index.with_name("index.lock").unlink(missing_ok=True)  # a git that crashed leaves it, and every later one would refuse
        code = self.run(["git", "apply", "--cached", "--whitespace=nowarn"], diff, self.tree, {**self.fresh_objects(), "GIT_INDEX_FILE": str(index)})
        return difference(self.before, index_entries(index.read_bytes())) if code == 0 else None

    def git_am(self, data: bytes) -> tuple[Entries, list[Commit]] | None:
        """What ``git am`` makes of the base, and its commits, the first one first; None where it refuses."""
        self.ref.write_bytes(self.base)
        (self.git / "index").write_bytes(self.index)
        (self.git / "index.lock").unlink(missing_ok=True)
        self.restore(self.tree)
        more = self.fresh_objects()
        code = self.run(["git", "am", "--quiet", "--keep-cr", "--keep-non-patch", "--no-scissors", "--committer-date-is-author-date", str(self.folder / "patch")], data, self.tree, more)
        if code:
            shutil.rmtree(self.git / "rebase-apply", ignore_errors=True)
            return None
        made, at = [], self.ref.read_bytes().strip()
        while at != self.base.strip():
            at, commit = self.commit(at.decode())
            made.append(commit)
        return difference(self.before, index_entries((self.git / "index").read_bytes())), made[::-1]

    def commit(self, name: str) -> tuple[bytes, Commit]:
        """(its parent, a commit)."""
        head, _, message = zlib.decompress((self.scratch / name[:2] / name[2:]).read_bytes()).partition(b"\0")[2].partition(b"\n\n")
        fields = dict(line.split(b" ", 1) for line in head.split(b"\n")[:4])
        author, _, date = fields[b"author"].rpartition(b"> ")
        return fields[b"parent"], Commit(author + b">", date, message)

    def patch(self, diff: bytes) -> Entries | None:
        """What ``patch``, as quilt runs it without fuzz, makes of the base; None where it refuses."""
        self.restore(self.outside)
        words = ["patch", "-F0", "-p1", "--backup", f"--prefix={self.folder}/pc/", "-f", "--quiet", "--reject-file=-", "--no-backup-if-mismatch"]
        code = self.run(words, diff, self.outside, {})
        return None if code else difference(self.before, self.files(self.outside))

    def files(self, place: Path) -> Entries:
        """What git would store of a folder."""
        found: Entries = {}
        for root, folders, names in os.walk(os.fsencode(place)):
            if b".git" in folders:
                folders.remove(b".git")
            for name in names + [each for each in folders if os.path.islink(os.path.join(root, each))]:
                path = os.path.join(root, name)
                relative = os.path.relpath(path, os.fsencode(place))
                if os.path.islink(path):
                    found[relative] = "120000", blob_id(os.fsencode(os.readlink(path)))
                elif os.path.isfile(path):
                    with open(path, "rb") as file:
                        found[relative] = "100755" if os.stat(path).st_mode & 0o100 else "100644", blob_id(file.read())
        return found

    def restore(self, place: Path) -> None:
        """Make a folder's files the base's."""
        have = self.files(place)
        wanted = {name.encode(): ("100755" if mode & 0o100 else "100644", blob_id(data)) for name, (mode, data) in BASE.items()}
        for path in have.keys() - wanted.keys():
            os.unlink(os.path.join(os.fsencode(place), path))
        for root, _, _ in os.walk(place, topdown=False):
            if root != str(place) and "/.git" not in root and not os.listdir(root):
                os.rmdir(root)
        for name, (mode, data) in BASE.items():
            if have.get(name.encode()) != wanted[name.encode()]:
                path = place / name
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                path.unlink(missing_ok=True)
                path.write_bytes(data)
                path.chmod(mode)
