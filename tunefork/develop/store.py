"""The artefact store: compiled files, addressed by the digest of what they were made from, shared by all variants and checkouts.

``<cache>/artefacts/<digest>/`` holds the files and ``manifest.json`` (path -> sha256). It appears in one rename, with everything on
the disk; every use hashes what it copies. Files are copied out, never linked: a build that overwrites a file in place (vLLM's
own does) would otherwise change the store and every other variant. docs/decisions/0011 says more.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.errors import BuildError
from tunefork.base.files import replacing, sync_folder
from tunefork.base.layout import Layout

MANIFEST = "manifest.json"
CHUNK = 1 << 22


class DamagedArtefact(BuildError):
    """A file of the store is not what its manifest says; the artefact has been removed."""


class OtherBytes(Exception):
    """What was copied has another hash."""


@dataclass(frozen=True)
class Artefact:
    """One complete artefact. files: path below ``folder`` -> sha256."""

    digest: str
    folder: Path
    files: dict[str, str]


def find(layout: Layout, digest: str) -> Artefact | None:
    """The artefact of a digest, or None. Its files are verified when they are placed."""
    folder = layout.cache / "artefacts" / digest
    try:
        files = json.loads((folder / MANIFEST).read_bytes())["files"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Artefact(digest, folder, files)


def add(layout: Layout, digest: str, fill: Callable[[Path], None]) -> Artefact:
    """Make the artefact of a digest: ``fill`` writes its files into the empty folder it is given.

    Two processes may do this at once: the first to finish wins, the other's work is dropped.
    """
    shelf = layout.cache / "artefacts"
    scratch: Path | None = None
    try:
        shelf.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{digest[:12]}-", dir=shelf))
        fill(scratch)
        files = {str(path.relative_to(scratch)): sync_and_hash(path) for path in sorted(scratch.rglob("*")) if path.is_file()}
        manifest = scratch / MANIFEST
        manifest.write_text(json.dumps({"digest": digest, "files": files}, indent=1))
        sync_and_hash(manifest)
        publish(scratch, shelf / digest)
    except OSError as error:
        raise unwritten(error, shelf, "set TUNEFORK_CACHE to {}") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
    found = find(layout, digest)
    if found is None:
        raise BuildError(f"the artefact {digest[:12]} vanished from {shelf}", "run the command again")
    return found


def publish(scratch: Path, final: Path) -> None:
    """Give a finished folder its name, unless another process was first; a folder without manifest is replaced."""
    if final.exists() and not (final / MANIFEST).is_file():
        shutil.rmtree(final)
    try:
        scratch.rename(final)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
    sync_folder(final.parent)


def place(artefact: Artefact, into: Path) -> None:
    """Copy an artefact's files to the same paths below ``into``, each in one step and verified as it is copied."""
    for name, sha256 in artefact.files.items():
        try:
            copied = copy_verified(artefact.folder / name, into / name, sha256)
        except FileNotFoundError:
            copied = False
        except OSError as error:
            raise unwritten(error, into, "develop in a clone on {}") from error
        if not copied:
            shutil.rmtree(artefact.folder, ignore_errors=True)
            raise DamagedArtefact(
                f"{artefact.folder / name} is not what its manifest says; the artefact was removed",
                "run the same command again: it makes the artefact anew",
            )


def copy_verified(source: Path, target: Path, sha256: str) -> bool:
    """Copy a file if its bytes have this hash; the target appears whole or not at all."""
    digest = hashlib.sha256()
    try:
        with replacing(target) as fresh:
            with source.open("rb") as reader, fresh.open("wb") as writer:
                while chunk := reader.read(CHUNK):
                    digest.update(chunk)
                    writer.write(chunk)
                writer.flush()
                os.fsync(writer.fileno())
            if digest.hexdigest() != sha256:
                raise OtherBytes
            shutil.copymode(source, fresh)
    except OtherBytes:
        return False
    return True


def sync_and_hash(path: Path) -> str:
    """Put a file's bytes on the disk; sha256 of them."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def unwritten(error: OSError, where: Path, elsewhere: str) -> BuildError:
    """A full or read-only disk, in one line. elsewhere: what helps beside that: a sentence with {} for the place."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return BuildError(
            f"no room to write compiled files below {where}: {error.strerror}",
            f"make room (`python3 build.py clean --cache` drops what can be made again), or {elsewhere.format('a larger disk')}",
        )
    return BuildError(f"cannot write below {where}: {error}", f"make it writable, or {elsewhere.format('a disk that is')}")
