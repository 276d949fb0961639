"""Archives from strangers: every entry of a tar or zip file checked before anything of it is used.

Refused are names that leave the archive's folder, links that lead out of it, devices and pipes, and names that collide. What
remains has content, a name and an executable bit: no owner, date, setuid or other mode bit survives.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from tunefork.base.errors import SourceError
from tunefork.base.typed import typed

COPY_BYTES = 1 << 20
# What reading a damaged archive raises; the last two are zipfile's for an unknown compression and for encryption.
DAMAGED = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, NotImplementedError, RuntimeError)


class Content(Protocol):
    """What an entry's bytes are read from."""

    def read(self, size: int = -1, /) -> bytes: ...


class UnsafeArchive(SourceError):
    """An archive holds an entry that no honest source or wheel has."""


@dataclass(frozen=True)
class Entry:
    """A file (``content`` is read before the next entry is asked for) or a symbolic link (``link`` is its target).

    path: relative, with "/", without "." and "..", in the archive's own bytes.  size: of the content, in bytes.
    """

    path: bytes
    size: int
    executable: bool = False
    link: bytes | None = None
    content: Content = field(default_factory=io.BytesIO, compare=False)


@dataclass(frozen=True)
class _Member:
    """What tar and zip both know of an entry. kind: "file", "directory", "link" or what else it is, in words."""

    name: bytes
    kind: str
    size: int
    executable: bool
    target: bytes
    content: IO[bytes]


def entries(archive: Path) -> Iterator[Entry]:
    """The files of an archive in its order, then its symbolic links; folders are implied by what is in them.

    SourceError when the archive is damaged, UnsafeArchive at the first entry that is refused.
    """
    seen = _Names(archive)
    links: dict[bytes, bytes] = {}
    members = _zip(archive) if archive.suffix in (".whl", ".zip") else _tar(archive)
    with _damage(archive):
        for member in members:
            path = seen.add(member)
            if member.kind == "link":
                links[path] = member.target
            elif member.kind == "file":
                yield Entry(path, member.size, member.executable, None, _Content(archive, member.content))
    for path, target in links.items():
        if not target:
            raise seen.refusal(path, "is a link to nothing")
        if not _stays_inside(path, links):
            raise seen.refusal(path, f"is a link that leads out of the archive, to {_shown(target)}")
        yield Entry(path, len(target), link=target)


def unpack(archive: Path, into: Path) -> None:
    """Write an archive's files to ``into``, a folder that does not exist yet; a failure leaves none.

    Modes are 777 and 666 less the user's umask; a folder without files is not made.
    """
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{into.name}-", dir=into.parent) as scratch:
        root = Path(scratch) / "tree"
        root.mkdir()
        for entry in entries(archive):
            path = root / os.fsdecode(entry.path)  # byte for byte, whatever the locale
            path.parent.mkdir(parents=True, exist_ok=True)
            if entry.link is not None:
                path.symlink_to(os.fsdecode(entry.link))
                continue
            # O_EXCL: an entry never writes over, or through, something that another one made.
            sink = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o777 if entry.executable else 0o666)
            with os.fdopen(sink, "wb") as file:
                shutil.copyfileobj(entry.content, file, COPY_BYTES)
        root.rename(into)


@contextmanager
def _damage(archive: Path) -> Iterator[None]:
    """What the libraries raise for a damaged archive, as our error."""
    try:
        yield
    except DAMAGED as error:
        raise SourceError(f"{archive.name} is damaged: {error}", f"remove {typed(archive)} and run the command again") from error


@dataclass(frozen=True)
class _Content:
    """A member's bytes; damage that shows only while they are read is our error too."""

    archive: Path
    stream: IO[bytes]

    def read(self, size: int = -1, /) -> bytes:
        with _damage(self.archive):
            return self.stream.read(size)


class _Names:
    """The names met so far, so that none is used twice and none lies below something that is not a folder."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive
        self.leaves: set[bytes] = set()
        self.folders: set[bytes] = {b""}

    def add(self, member: _Member) -> bytes:
        """The member's clean path, or UnsafeArchive."""
        name = member.name
        parts = [part for part in name.split(b"/") if part not in (b"", b".")]
        path = b"/".join(parts)
        if name.startswith(b"/"):
            raise self.refusal(name, "is an absolute path")
        if b".." in parts:
            raise self.refusal(name, 'contains ".."')
        if b"\0" in name:
            raise self.refusal(name, "contains a NUL byte")
        if member.kind not in ("file", "directory", "link"):
            raise self.refusal(name, f"is {member.kind}")
        parents = [b"/".join(parts[:depth]) for depth in range(1, len(parts) + (member.kind == "directory"))]
        if member.kind != "directory" and (path in self.leaves or path in self.folders):
            raise self.refusal(name, "is there twice")
        if any(parent in self.leaves for parent in parents):
            raise self.refusal(name, "lies below an entry that is no folder")
        self.folders.update(parents)
        if member.kind != "directory":
            self.leaves.add(path)
        return path

    def refusal(self, name: bytes, why: str) -> UnsafeArchive:
        return UnsafeArchive(f"{self.archive.name}: entry {_shown(name)} {why}; nothing of it is used",
                             f"remove {typed(self.archive)}, and find out who made it before you fetch it again")


def _tar(archive: Path) -> Iterator[_Member]:
    """The members of a tar file, compressed or not. Names that are not UTF-8 keep their bytes."""
    with tarfile.open(archive, "r:*", encoding="utf-8", errors="surrogateescape") as tar:
        for info in tar:
            # A hard link is read as the file it names.
            size = _hard_link_size(tar, info) if info.islnk() else info.size
            content = tar.extractfile(info) if info.isreg() or info.islnk() else None
            yield _Member(
                _bytes(info.name), _tar_kind(info), size, bool(info.mode & stat.S_IXUSR), _bytes(info.linkname),
                content or io.BytesIO(),
            )  # fmt: skip
        # tarfile stops at the mark of the end; the checksum of the compressed stream comes after it.
        while tar.fileobj is not None and tar.fileobj.read(COPY_BYTES):
            continue


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.isreg() or info.islnk():
        return "file"
    if info.isdir():
        return "directory"
    return "link" if info.issym() else "a device or pipe"


def _hard_link_size(tar: tarfile.TarFile, info: tarfile.TarInfo) -> int:
    """The size of the file that a hard link names; TarError unless that is an earlier regular file of the archive."""
    try:
        named = tar.getmember(info.linkname)
    except KeyError:
        named = info
    if not named.isreg() or named.offset >= info.offset:
        raise tarfile.ReadError(f"{info.name!r} is a hard link to {info.linkname!r}, which is no earlier file of it")
    return named.size


def _zip(archive: Path) -> Iterator[_Member]:
    """The members of a zip file; the upper half of external_attr is the Unix mode, 0 where the maker had none."""
    with zipfile.ZipFile(archive) as zipped:
        for info in zipped.infolist():
            mode = info.external_attr >> 16
            # zipfile decodes a name without the UTF-8 flag as cp437, which maps every byte: this gives the bytes back.
            name = info.filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")
            kind = "file" if stat.S_IFMT(mode) in (0, stat.S_IFREG) else "a device or pipe"
            if info.is_dir():
                kind = "directory"
            elif stat.S_ISLNK(mode):
                kind = "link"
            with closing(zipped.open(info)) as content:
                target = content.read() if kind == "link" else b""
                yield _Member(name, kind, info.file_size, bool(mode & stat.S_IXUSR), target, content)


def _stays_inside(path: bytes, links: dict[bytes, bytes]) -> bool:
    """Whether following a link, and every link on its way, never leaves the archive's folder."""
    if links[path].startswith(b"/"):
        return False
    where = path.split(b"/")[:-1]
    rest = links[path].split(b"/")
    for _ in range(1000):  # links that go in circles end here
        if not rest:
            return True
        part, *rest = rest
        if part in (b"", b"."):
            continue
        if part == b"..":
            if not where:
                return False
            where.pop()
            continue
        target = links.get(b"/".join((*where, part)))
        if target is None:
            where.append(part)
        elif target.startswith(b"/"):
            return False
        else:
            rest = target.split(b"/") + rest
    return False


def _bytes(name: str) -> bytes:
    return name.encode("utf-8", "surrogateescape")


def _shown(name: bytes) -> str:
    return repr(name.decode("utf-8", "replace"))
