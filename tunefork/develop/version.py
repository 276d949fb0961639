"""The version of an installed tree: each revision of a series has its own, because vLLM's compile cache is keyed on it.

Two versions are kept apart. The distribution's (``0.33.0+tunefork.cpu``, what pip and importlib.metadata see) is constant, so that
switching a variant needs no reinstall. The tree's (``0.33.0+p<series hash>.cpu``, what ``vllm.__version__`` says) is a file that git
ignores, ``vllm/_version.py``, and is written anew for every revision. docs/decisions/0010 says why.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tunefork.base.files import write_atomically
from tunefork.base.upstream_facts.vllm import VERSION_FILE
from tunefork.patchset.checkout.applied import AppliedTree
from tunefork.patchset.git import Git

READ_ONLY = {"GIT_OPTIONAL_LOCKS": "0"}  # `git status` otherwise rewrites the index, and with it a file's mtime


@dataclass(frozen=True)
class Revision:
    """What a checkout holds. series: AppliedTree.series_hash.  work: 8 hex digits of what differs from it, or ""."""

    series: str
    work: str

    def __str__(self) -> str:
        return f"p{self.series}" + (f".w{self.work}" if self.work else "")


def revision(tree: AppliedTree) -> Revision:
    """The revision of a checkout: the applied series, and a digest of commits and edits on top of it."""
    git = Git(tree.path)
    head = git.text("rev-parse", "HEAD^{tree}")
    status = git("status", "--porcelain=v1", "-z", "--untracked-files=all", env=READ_ONLY)
    if head == tree.tree and not status:
        return Revision(tree.series_hash, "")
    return Revision(tree.series_hash, work_digest(tree.path, head, status)[:8])


def work_digest(checkout: Path, committed: str, status: bytes, paths: Sequence[str] = ()) -> str:
    """A digest of a work tree, or of some paths of it: what is committed, the edits of tracked files, and untracked files.

    committed: names the committed content.  status: of `git status --porcelain=v1 -z --untracked-files=all`, for the same paths.
    """
    digest = hashlib.sha256(committed.encode())
    edits = ("diff", "--binary", "--no-ext-diff", "--no-textconv", "--submodule=diff", "HEAD", "--", *paths)
    digest.update(Git(checkout)(*edits, env=READ_ONLY))
    for entry in status.split(b"\0"):
        if entry.startswith(b"?? "):
            digest.update(entry)
            digest.update(file_digest(checkout / entry[3:].decode("utf-8", "surrogateescape")).encode())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, or of a link's target; of nothing for anything else (a nested repository)."""
    if path.is_symlink():
        return hashlib.sha256(str(path.readlink()).encode("utf-8", "surrogateescape")).hexdigest()
    if not path.is_file():
        return hashlib.sha256().hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def distribution_version(upstream_version: str, target: str) -> str:
    """The constant version of the editable install. For cpu it must contain "cpu": vLLM's platform detection looks for that."""
    return f"{upstream_version}+tunefork.{target}"


def tree_version(upstream_version: str, at: Revision, target: str) -> str:
    """The version of one revision of a tree, as ``vllm.__version__`` says it."""
    return f"{upstream_version}+{at}.{target}"


def version_file(checkout: Path, package: str) -> Path:
    """The generated file that holds a tree's version."""
    return checkout / package / VERSION_FILE


def read_version(checkout: Path, package: str) -> str | None:
    """The version in a checkout's generated file; None where there is none."""
    path = version_file(checkout, package)
    found = re.search(r"^__version__ = .*?'([^']+)'", path.read_text(), re.MULTILINE) if path.is_file() else None
    return found[1] if found else None


def write_version(checkout: Path, package: str, version: str) -> bool:
    """Write the generated file; False, and the file untouched, where it already says this version."""
    release, _, local = version.partition("+")
    parts = (*(int(part) for part in release.split(".") if part.isdigit()), *([local] if local else []))
    content = (
        "# Written by Tunefork's develop: one version per series revision. Not tracked.\n"
        f"__version__ = version = '{version}'\n"
        f"__version_tuple__ = version_tuple = {parts!r}\n"
        "__commit_id__ = commit_id = None\n"
    ).encode()
    path = version_file(checkout, package)
    if path.is_file() and path.read_bytes() == content:
        return False
    write_atomically(path, content)
    # Bytecode is taken for current by the source's size and its mtime in whole seconds; two versions have the same size.
    for bytecode in (path.parent / "__pycache__").glob("_version.*.pyc"):
        bytecode.unlink(missing_ok=True)
    return True
