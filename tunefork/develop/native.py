"""The native digest: one hash over everything that decides what a native build makes. The same digest, the same binaries."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tunefork.develop.version import READ_ONLY, work_digest
from tunefork.patchset.git import Git
from tunefork.patchset.series.scope import NATIVE_PATHS


def native_digest(checkout: Path, upstream: str, facts: Mapping[str, str | None]) -> str:
    """A digest of a checkout's native inputs, as they are in the work tree, and of the facts a build depends on.

    facts: torch and ROCm version, architectures, build options: what is no file of the tree.
    """
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True).encode())
    digest.update(inputs(checkout, NATIVE_PATHS[upstream]).encode())
    return digest.hexdigest()


def inputs(checkout: Path, paths: Sequence[str]) -> str:
    """A digest of some paths of a work tree: committed content by git's hashes, then edits and untracked files."""
    git = Git(checkout)
    committed = hashlib.sha256(git("ls-tree", "HEAD", "--", *paths)).hexdigest()
    status = git("status", "--porcelain=v1", "-z", "--untracked-files=all", "--", *paths, env=READ_ONLY)
    if not status:
        return committed
    return work_digest(checkout, committed, status, paths)
