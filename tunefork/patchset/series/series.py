"""A series: the ordered patches of one upstream, as the files of patches/<upstream>/ hold them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tunefork.base import mutex
from tunefork.base.errors import BadInput
from tunefork.base.near import near, question
from tunefork.base.typed import typed
from tunefork.patchset.series import mail
from tunefork.patchset.series.mail import PatchFile

SUFFIX = ".patch"
LOCK = "series.lock"
PICK = re.compile(r"pick\s+(\S+)(?:\s+(\S+))?")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*(\.(?!lock$)[A-Za-z0-9_+-]+)*")  # it becomes part of a branch's name


@dataclass(frozen=True)
class Series:
    """The patches of one upstream in the order of its ``series`` file.

    Raw bytes are read at once (a no-op apply needs only their hashes); a patch is parsed when it is first asked for. A line
    ``pick <sha> [name]`` stands for an upstream commit: its bytes are that line, and picks.obtained() brings the patch.
    lock: the text of series.lock as it stood beside them (lock.py); None where there is none.
    """

    upstream: str
    directory: Path
    files: dict[str, bytes]
    obtained: dict[str, PatchFile] = field(default_factory=dict)
    lock: str | None = None

    @classmethod
    def load(cls, upstream: str, directory: Path) -> Series:
        """Read ``series`` and every patch it names. A folder without a series file is an empty series.

        Where another command writes them just now, as that leaves them.
        """
        with mutex.folder(directory, shared=True):
            return cls._load(upstream, directory)

    @classmethod
    def _load(cls, upstream: str, directory: Path) -> Series:
        order = directory / "series"
        if linked := next((path for path in (directory, order, directory / LOCK) if path.is_symlink()), None):
            raise BadInput(f"{linked} is a link, and what is written there would be written elsewhere",
                           f"put a folder with its files there: rm {typed(linked)}")
        text = order.read_text(encoding="utf-8", errors="replace") if order.is_file() else ""
        files: dict[str, bytes] = {}
        for number, line in enumerate(text.splitlines(), 1):
            entry = line.partition("#")[0].strip()
            if not entry:
                continue
            pick, name = PICK.fullmatch(entry), entry_name(f"{order}:{number}", entry)
            if not NAME.fullmatch(name):
                raise BadInput(f"{order}:{number}: {entry!r} is no name of a patch: letters, digits, and single . _ + - between them",
                               "rename the file (`git mv`) and this line")
            if name in files:
                raise BadInput(f"{order}:{number}: {entry} is named twice", "delete one of the two lines")
            if pick is not None:
                files[name] = pick_line(pick[1])
                continue
            path = directory / (name + SUFFIX)
            if not path.is_file():
                raise BadInput(f"{order}:{number}: names {entry}, and there is no file {path}",
                               "delete the line, or bring the file back (`git checkout -- patches/`)")
            files[name] = path.read_bytes()
        lock = directory / LOCK
        return cls(upstream, directory, files, lock=lock.read_text(encoding="ascii", errors="replace") if lock.is_file() else None)

    @property
    def names(self) -> list[str]:
        return list(self.files)

    @cached_property
    def patches(self) -> dict[str, PatchFile]:
        """The parsed patches, in order; a pick only once it was obtained."""
        found = {name: self.obtained.get(name) if name in self.picks else mail.read(name, data) for name, data in self.files.items()}
        return {name: patch for name, patch in found.items() if patch is not None}

    @cached_property
    def picks(self) -> dict[str, str]:
        """Names of the lines that pick an upstream commit, and its hash."""
        return {name: sha for name, data in self.files.items() if (sha := picked_commit(data))}

    def resolve(self, entry: str) -> str:
        """A patch's name from what a user typed: with or without ``.patch``."""
        name = patch_name(entry)
        if name not in self.files:
            known = ", ".join(self.files) or "none"
            raise BadInput(f"{self.upstream} has no patch {entry!r}; its series: {known}",
                           question(near(name, self.files))
                           + "use one of these names (`python3 build.py status` lists them)")
        return name

    def depends_on(self, name: str) -> list[str]:
        """What a patch declares in its ``Depends-On:`` trailers, directly."""
        if name in self.picks:
            return []
        values = self.patches[name].trailers("Depends-On")
        needed = [patch_name(word) for value in values for word in value.replace(",", " ").split()]
        if missing := [each for each in needed if each not in self.files]:
            raise BadInput(f"{name}.patch depends on {', '.join(missing)}, which the series does not have",
                           f"add the patch to {self.directory / 'series'}, or take the name out of its `Depends-On:` trailer")
        return needed


def entry_name(where: str, entry: str) -> str:
    """The name of a series line. BadInput for a pick whose hash is not whole: a short one may mean another commit tomorrow."""
    pick = PICK.fullmatch(entry)
    if pick is None:
        return patch_name(entry)
    sha, name = pick[1], pick[2]
    if not re.fullmatch(r"[0-9a-f]{40}", sha):
        raise BadInput(f"{where}: `pick {sha}`: expected the 40 hex digits of an upstream commit", f"git -C work/<upstream> rev-parse {sha}")
    return name or f"pick-{sha[:12]}"


def pick_line(sha: str) -> bytes:
    """What stands in a series for the bytes of a picked commit."""
    return f"pick {sha}\n".encode()


def picked_commit(data: bytes) -> str:
    """The hash of a pick's bytes; "" for a patch file."""
    match = re.fullmatch(rb"pick ([0-9a-f]{40})\n", data)
    return match[1].decode() if match else ""


def patch_name(entry: str) -> str:
    """The name of a patch: its file name without the ending."""
    return entry.removesuffix(SUFFIX)
